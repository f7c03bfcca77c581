"""Weights (safetensors, or a checkpoint judged to be data only) and `--arch` → an exported program.

The file is read as data; the architecture is the user's own Python and runs with the user's consent.  Weights
must match it exactly: a missing or unexpected tensor is refused, because a layer left at its random
initialisation would be certified as if it were the model.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from lipaudit.errors import InputRefused, UsageError
from lipaudit.load import LoadedModel, ModelFile
from lipaudit.load.architecture import Built, build_module, differing
from lipaudit.load.export import export_module, hash_weights, single_output
from lipaudit.load.filling import double, fill
from lipaudit.load.reading import DATA_ONLY, Contents
from lipaudit.load.reference import module_on_samples
from lipaudit.load.settle import refuse_training, settle
from lipaudit.load.sniff import Kind
from lipaudit.load.tensors import State, weights_of
from lipaudit.load.verify import check_export, run_module

__all__ = ["load_weights"]

_RUNS_ARCH = "runs the --arch file"


def load_weights(
    path: Path,
    data: bytes,
    reading: Contents,
    *,
    arch: str | None,
    input_shape: tuple[int, ...] | None,
    default_shape: tuple[int, ...] | None = None,
) -> LoadedModel:
    """Load weights into the module that `arch` builds.

    Args:
        path: of the file.
        data: its bytes.
        reading: what was read of them.
        arch: who builds the module.
        input_shape: of one sample.
        default_shape: taken where nobody says.

    Raises:
        LipauditError: see `lipaudit.load.load_model`.
    """
    notes = list(reading.notes)
    state, preprocessing = weights_of(reading, data, path.name)
    if arch is None:
        raise UsageError(
            f"{path.name} holds weights only ({_listing(state)}): the architecture is missing",
            hint="name what builds the module: --arch file.py:factory or --arch package.module:factory",
        )
    stated = None if preprocessing is None else preprocessing.input_shape
    shape = _sample_shape(input_shape or stated or default_shape, path.name)
    built = build_module(arch)
    network = _network(built, shape, state, path.name, notes)
    _refuse_drawn(network, _network(build_module(arch, seed=1), shape, state, path.name, []), path.name)
    dtype = _widen(network, notes)
    example = torch.zeros(1, *shape, dtype=dtype)
    single_output(network, example, path.name)
    refuse_training(network, path.name)
    program, comparison = check_export(
        network, lambda: export_module(network, example, path.name), (1, *shape), path.name
    )
    files = [ModelFile.of(path.name, data)]
    if built.source is not None:
        files.append(ModelFile.of(*built.source))
    return LoadedModel(
        program=program,
        input_shape=(1, *shape),
        files=tuple(files),
        format="safetensors" if reading.kind is Kind.SAFETENSORS else "checkpoint",
        loader=f"torch {torch.__version__}",
        trust=_RUNS_ARCH if reading.trust == DATA_ONLY else f"{_RUNS_ARCH}; {reading.trust}",
        preprocessing=preprocessing,
        conversion=comparison.as_dict(),
        weights_sha256=hash_weights(state),
        notes=tuple(notes),
        architecture=built.label,
        reference=module_on_samples(lambda x: run_module(network, x), example.numpy().dtype),
    )


def _network(built: Built, shape: tuple[int, ...], state: State, name: str, notes: list[str]) -> nn.Module:
    """The factory's module with the file's weights, ready to run."""
    module = settle(built.module, torch.zeros(1, *shape), name, notes)
    return fill(module, state, name, notes, built.hint)


def _refuse_drawn(network: nn.Module, again: nn.Module, name: str) -> None:
    """Tensors that are in no file must not depend on the seed."""
    drawn = differing(network, again)
    if drawn:
        raise InputRefused(
            f"{name} does not hold tensors that the architecture draws at random: {', '.join(drawn[:5])}",
            hint="make them parameters or persistent buffers, and save them with the weights",
        )


def _sample_shape(given: tuple[int, ...] | None, name: str) -> tuple[int, ...]:
    """Shape of one sample, checked."""
    if given is None:
        raise UsageError(
            f"{name} does not say which input its network takes",
            hint="state the shape of one sample, without the batch axis: --input-shape 3,32,32",
        )
    if not given or min(given) < 1:
        raise UsageError(f"input shape {list(given)} must hold positive integers", hint="e.g. 3,32,32")
    return given


def _listing(state: State) -> str:
    shown = [f"{key} {list(value.shape)}" for key, value in list(state.items())[:4]]
    return f"{len(state)} tensors: {', '.join(shown)}{', …' if len(state) > len(shown) else ''}"


def _widen(module: nn.Module, notes: list[str]) -> torch.dtype:
    """One float type for the whole module: float64 if any tensor has it, else float32; widening is exact."""
    tensors = (*module.parameters(), *module.buffers())
    kinds = {v.dtype.to_real() for v in tensors if v.is_floating_point() or v.is_complex()}
    if torch.float64 in kinds:
        if len(kinds) > 1:
            notes.append("the network was widened to float64, which is exact")
        double(module)
        return torch.float64
    module.float()
    return torch.float32
