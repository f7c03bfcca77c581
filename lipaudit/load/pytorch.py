"""Weights (safetensors, or a checkpoint judged to be data only) and `--arch` → an exported program.

The file is read as data; the architecture is the user's own Python and runs with the user's consent.  Weights
must match it exactly: a missing or unexpected tensor is refused, because a layer left at its random
initialisation would be certified as if it were the model.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lipaudit.errors import InputRefused, UsageError
from lipaudit.load import LoadedModel, ModelFile
from lipaudit.load.architecture import Built, build_module, differing
from lipaudit.load.export import export_module, hash_weights, single_output
from lipaudit.load.filling import fill
from lipaudit.load.fold import first_line
from lipaudit.load.preprocessing import METADATA_KEY, Preprocessing, parse_metadata
from lipaudit.load.safety import check_legacy_checkpoint, check_zip_checkpoint
from lipaudit.load.settle import refuse_training, settle
from lipaudit.load.sniff import Kind
from lipaudit.load.verify import check_export, run_module

__all__ = ["load_weights", "state_dict_of"]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
"""Keys under which training scripts store the state dict, most telling first."""
_State = dict[str, Tensor]


def load_weights(
    path: Path,
    data: bytes,
    kind: Kind,
    *,
    arch: str | None,
    input_shape: tuple[int, ...] | None,
    default_shape: tuple[int, ...] | None = None,
) -> LoadedModel:
    """Load the weights whose bytes are `data` into the module that `arch` builds.

    Raises:
        LipauditError: see `lipaudit.load.load_model`.
    """
    notes: list[str] = []
    state, preprocessing = _read(data, kind, path.name, notes)
    _refuse_broken(state, path.name)
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
        format="safetensors" if kind is Kind.SAFETENSORS else "checkpoint",
        loader=f"torch {torch.__version__}",
        trust="runs the --arch file",
        preprocessing=preprocessing,
        conversion=comparison.as_dict(),
        weights_sha256=hash_weights(state),
        notes=tuple(notes),
        architecture=built.label,
        reference=lambda x: np.concatenate(
            [run_module(network, row[None].astype(example.numpy().dtype)).reshape(1, -1) for row in x]
        ),
    )


def _network(built: Built, shape: tuple[int, ...], state: _State, name: str, notes: list[str]) -> nn.Module:
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


def _read(data: bytes, kind: Kind, name: str, notes: list[str]) -> tuple[_State, Preprocessing | None]:
    if kind is Kind.SAFETENSORS:
        return _read_safetensors(data, name)
    if kind is Kind.ZIP_CHECKPOINT:
        check_zip_checkpoint(data, name)
    else:
        check_legacy_checkpoint(data, name)
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (
        RuntimeError,
        pickle.UnpicklingError,
        ValueError,
        KeyError,
        EOFError,
        TypeError,
        AttributeError,
    ) as error:
        raise InputRefused(
            f"{name} cannot be read as a checkpoint: {first_line(error)}",
            hint="re-save the weights: safetensors.torch.save_file(model.state_dict(), …)",
        ) from None
    return state_dict_of(content, name, notes), None


def _read_safetensors(data: bytes, name: str) -> tuple[_State, Preprocessing | None]:
    from safetensors import SafetensorError  # noqa: PLC0415 - only needed here
    from safetensors.torch import load  # noqa: PLC0415

    try:
        state = load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise InputRefused(f"{name} is a damaged safetensors file: {first_line(error)}") from None
    if not state:
        raise InputRefused(f"{name} holds no tensors")
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    text = (header.get("__metadata__") or {}).get(METADATA_KEY)
    return state, None if text is None else parse_metadata(text)


def state_dict_of(content: Any, name: str, notes: list[str]) -> _State:  # noqa: ANN401 - a checkpoint's content
    """Find the state dict in what a training script saved; say in `notes` what was taken.

    Raises:
        InputRefused: nothing in it looks like one.
    """
    where = ""
    for _ in range(6):
        if isinstance(content, (list, tuple)) and content and isinstance(content[0], Mapping):
            notes.append(f"{name}{where} is a list of {len(content)} stages; the first was taken")
            content, where = content[0], f"{where}[0]"
            continue
        if not isinstance(content, Mapping):
            break
        tensors = {str(key): value.detach() for key, value in content.items() if isinstance(value, Tensor)}
        wrapper = next(
            (key for key in _WRAPPERS if isinstance(content.get(key), (Mapping, list, tuple))), None
        )
        if wrapper is None and tensors:
            ignored = [str(key) for key in content if str(key) not in tensors]
            if ignored:
                notes.append(
                    f"{name}{where}: entries that are no tensors were ignored: {', '.join(ignored[:5])}"
                )
            return tensors
        if wrapper is None:
            break
        content, where = content[wrapper], f"{where}[{wrapper!r}]"
    kind = type(content).__name__
    keys = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else ""
    raise InputRefused(
        f"{name}{where} is a {kind}{f' with keys {keys}' if keys else ''}, not a state dict",
        hint="save torch.save(model.state_dict(), …) or a dict with a key 'state_dict'",
    )


def _refuse_broken(state: _State, name: str) -> None:
    for key, value in state.items():
        if value.is_quantized or value.layout is not torch.strided:
            raise InputRefused(f"{name}: tensor {key!r} is quantized or sparse", hint="audit the float model")
        if value.is_complex():
            raise InputRefused(f"{name}: tensor {key!r} is complex, which is not supported")
        if value.is_floating_point() and not bool(torch.isfinite(value.float()).all()):
            raise InputRefused(
                f"{name}: tensor {key!r} holds NaN or infinity",
                hint="the training diverged, or the file is damaged",
            )


def _listing(state: _State) -> str:
    shown = [f"{key} {list(value.shape)}" for key, value in list(state.items())[:4]]
    return f"{len(state)} tensors: {', '.join(shown)}{', …' if len(state) > len(shown) else ''}"


def _widen(module: nn.Module, notes: list[str]) -> torch.dtype:
    """One float type for the whole module: float64 if any tensor has it, else float32; widening is exact."""
    kinds = {v.dtype for v in (*module.parameters(), *module.buffers()) if v.is_floating_point()}
    if torch.float64 in kinds:
        if len(kinds) > 1:
            notes.append("the network was widened to float64, which is exact")
        module.double()
        return torch.float64
    module.float()
    return torch.float32
