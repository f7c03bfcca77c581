"""A torch.export archive (`.pt2`) → an exported program at one static shape.

    bytes ── archive ──▶ JSON, tensors ── steps ──▶ admitted calls ── program ──▶ a module ──▶ torch.export

The module runs the stored calls one by one; the program it is exported to is compared with that, as the
one of `--arch` is with its module.  All shapes are computed without numbers first, so that nothing in the
file can ask for more memory than a network needs, and must be those that the file states.

The leading axis is the batch: open or 1 is taken as it is; a fixed N > 1 is set to 1 where that gives what
the batch of N gives; where the output does not have that axis, the whole tensor is one sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipaudit.errors import ConversionMismatch, InputRefused, UsageError
from lipaudit.load import LoadedModel, ModelFile
from lipaudit.load.archive import DTYPES, Archive, damaged, read_archive
from lipaudit.load.export import export_module, hash_weights, single_output
from lipaudit.load.preprocessing import METADATA_KEY, Preprocessing, parse_metadata
from lipaudit.load.program import LARGEST, Program, check_sizes
from lipaudit.load.reference import module_on_samples
from lipaudit.load.separate import check_separate
from lipaudit.load.steps import Step, read_steps
from lipaudit.load.verify import check_export, compare, probes, run_module

__all__ = ["Saved", "load_exported", "read_exported"]

_ONE = "the network must map one tensor to one tensor of scores"
_CALLS = "the saved program, call by call"
_EXTENT = 1 << 31
_SAVED = "the batch of the exported program"
_Array = np.ndarray[Any, Any]
_Open = tuple[int | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """A program as it was saved, its ends found.

    Args:
        steps: its calls.
        tensors: constants by the names that the calls use.
        titles: names of the model's parameters and buffers, by the names that the calls use.
        ends: names of input and output.
        dtype: of the input.
        shape: of the input; None where an axis is open.
        stated: shapes of all values.
    """

    steps: tuple[Step, ...]
    tensors: Mapping[str, Tensor]
    titles: Mapping[str, str]
    ends: tuple[str, str]
    dtype: torch.dtype
    shape: _Open
    stated: Mapping[str, _Open]


def read_exported(data: bytes, name: str) -> tuple[Archive, Saved]:
    """The archive and the program in it, before anything is computed.

    Raises:
        UnsafeInput: it wants to call what networks do not need.
        InputRefused: it is damaged, or no function of one tensor.
    """
    archive = read_archive(data, name)
    try:
        return archive, _saved(archive, name)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError):
        raise damaged(name) from None


def load_exported(
    path: Path,
    data: bytes,
    *,
    input_shape: tuple[int, ...] | None,
    default_shape: tuple[int, ...] | None = None,
) -> LoadedModel:
    """Load the archive whose bytes are `data`.

    Args:
        path: for names.
        data: its bytes.
        input_shape: one sample's shape, where the program leaves axes open.
        default_shape: one sample's shape, taken where nobody says and the program leaves axes open.

    Raises:
        LipauditError: see `lipaudit.load.load_model`.
    """
    name = path.name
    archive, saved = read_exported(data, name)
    text = archive.extra.get(METADATA_KEY)
    metadata = None if text is None else parse_metadata(text)
    shape = _input_shape(saved.shape, input_shape, metadata, default_shape)
    notes: list[str] = []
    network, sample, reference = _network(saved, shape, name, notes)
    single_output(network, sample, name)
    program, comparison = check_export(
        network, lambda: export_module(network, sample, name), tuple(sample.shape), name
    )
    return LoadedModel(
        program=program,
        input_shape=tuple(sample.shape),
        files=(ModelFile.of(name, data),),
        format="torch.export",
        loader=f"torch {torch.__version__}, the archive read by lipaudit",
        trust="data only",
        preprocessing=metadata,
        conversion=replace(comparison, reference=_CALLS).as_dict(),
        titles=network.titles,
        weights_sha256=hash_weights({saved.titles[key]: value for key, value in saved.tensors.items()}),
        notes=tuple(notes),
        reference=reference,
    )


def _saved(archive: Archive, name: str) -> Saved:
    module = archive.program["graph_module"]
    graph, signature = module["graph"], module["signature"]
    tensors: dict[str, Tensor] = {}
    titles: dict[str, str] = {}
    inputs: list[str] = []
    for spec in signature["input_specs"]:
        ((kind, inner),) = spec.items()
        if kind == "user_input":
            inputs += _user_input(inner["arg"], name)
        elif kind in _HELD:
            target = inner[_HELD[kind]]
            held = archive.weights if target in archive.weights else archive.constants
            titles[inner["arg"]["name"]] = target
            tensors[inner["arg"]["name"]] = _finite(held[target], target, name)
        elif kind != "constant_input" or "as_none" not in inner["value"]:
            raise InputRefused(f"{name} takes a {kind[:40]!a}, which is not supported", hint=_ONE)
    if len(inputs) != 1:
        listed = ", ".join(i[:40] for i in inputs[:6]) or "none"
        raise InputRefused(
            f"{name} takes {len(inputs)} inputs ({listed}); exactly one is supported", hint=_ONE
        )
    stated = {key: _axes(meta["sizes"]) for key, meta in graph["tensor_values"].items()}
    meta = graph["tensor_values"][inputs[0]]
    return Saved(
        steps=read_steps(graph, name),
        tensors=tensors,
        titles=titles,
        ends=(inputs[0], _output(signature["output_specs"], name)),
        dtype=_float_type(DTYPES.get(meta["dtype"]), name),
        shape=stated[inputs[0]],
        stated=stated,
    )


_HELD = {
    "parameter": "parameter_name",
    "buffer": "buffer_name",
    "tensor_constant": "tensor_constant_name",
}
"""Kinds of inputs that are stored, and under which key their name stands."""

_MUTATIONS = {
    "buffer_mutation": "buffer_name",
    "parameter_mutation": "parameter_name",
    "user_input_mutation": "user_input_name",
}


def _user_input(argument: Mapping[str, Any], name: str) -> list[str]:
    ((kind, inner),) = argument.items()
    if kind == "as_none":
        return []
    if kind != "as_tensor":
        raise InputRefused(f"{name} takes an argument that is no tensor ({kind[3:40]!a})", hint=_ONE)
    return [str(inner["name"])]


def _output(specs: list[Mapping[str, Any]], name: str) -> str:
    found = []
    for spec in specs:
        ((kind, inner),) = spec.items()
        if kind in _MUTATIONS:
            raise InputRefused(
                f"{name} changes {str(inner[_MUTATIONS[kind]])[:60]!a} when it runs (training mode?)",
                hint="call model.eval() before torch.export.export; what remembers cannot be certified",
            )
        if kind != "user_output" or "as_tensor" not in inner["arg"]:
            raise InputRefused(f"{name} returns something that is no tensor ({kind[:40]!a})", hint=_ONE)
        found.append(str(inner["arg"]["as_tensor"]["name"]))
    if len(found) != 1:
        listed = ", ".join(f[:40] for f in found[:6]) or "none"
        raise InputRefused(
            f"{name} returns {len(found)} tensors ({listed}); exactly one is supported", hint=_ONE
        )
    return found[0]


def _axes(sizes: list[Mapping[str, Any]]) -> _Open:
    found = tuple(size.get("as_int") for size in sizes)
    if not all(n is None or (type(n) is int and 0 <= n < _EXTENT) for n in found):
        raise ValueError(found)
    return found


def _float_type(dtype: torch.dtype | None, name: str) -> torch.dtype:
    if dtype not in (torch.float32, torch.float64):
        kind = str(dtype).removeprefix("torch.")
        raise InputRefused(
            f"{name} takes {kind} numbers, not float32 or float64",
            hint="export the network from float images to float scores (model.float())",
        )
    return dtype


def _finite(value: Tensor, target: str, name: str) -> Tensor:
    """A mask of -inf is a constant, a weight of it is damage; the outputs tell in the first case."""
    if (value.is_floating_point() or value.is_complex()) and bool(torch.isnan(value).any()):
        raise InputRefused(
            f"{name}: tensor {target[:80]!r} holds NaN", hint="the training diverged, or the file is damaged"
        )
    return value


def _input_shape(
    stated: _Open,
    given: tuple[int, ...] | None,
    metadata: Preprocessing | None,
    default: tuple[int, ...] | None,
) -> tuple[int | None, ...]:
    """The program's own input shape with its open axes filled, the batch axis excepted."""
    if not stated:
        raise InputRefused("the program's input is a single number", hint="a network takes a tensor")
    known = "the metadata's" if given is None and metadata is not None else "the given"
    given = given or (None if metadata is None else metadata.input_shape)
    if given is None:
        given = default if None in stated[1:] and default and len(default) == len(stated) - 1 else None
    if given is None:
        if None in stated[1:]:
            raise UsageError(
                f"the program's input has open axes: {_shown(stated)}",
                hint="state the shape of one sample, without the batch axis: --input-shape 3,32,32",
            )
        return stated
    if _fits(stated, given):
        return given  # a program without a batch axis
    if not _fits(stated[1:], given):
        clash = f"{known} input shape {list(given)} contradicts the program's {_shown(stated)}"
        if known == "the given":
            raise UsageError(clash, hint="leave --input-shape out: the program knows its shape")
        raise InputRefused(clash, hint=f"correct {METADATA_KEY} in the archive")
    return (stated[0], *given)


def _fits(stated: _Open, given: tuple[int, ...]) -> bool:
    return len(stated) == len(given) and all(a in (None, b) for a, b in zip(stated, given, strict=True))


def _shown(shape: _Open) -> str:
    return f"[{', '.join('?' if n is None else str(n) for n in shape)}]"


_Parts = tuple[Program, Tensor, Callable[[_Array], _Array]]


def _network(saved: Saved, shape: _Open, name: str, notes: list[str]) -> _Parts:
    """The program for one sample (leading 1), an example input, and the program as saved."""
    batch, sample = shape[0], tuple(n for n in shape[1:] if n is not None)
    axes = (1 if batch is None else batch, *sample)
    if math.prod(axes) > LARGEST or 0 in axes:
        raise InputRefused(
            f"{name} takes an input of shape {_shown(axes)}, of no or too many numbers",
            hint="is the file damaged, or --input-shape wrong?",
        )
    own = torch.zeros(axes, dtype=saved.dtype)
    out = check_sizes(saved.steps, saved.tensors, saved.ends, own, saved.stated, name)

    def made(inner: tuple[int, ...] | None = None) -> Program:
        return Program(saved.steps, saved.tensors, saved.ends, saved.titles, saved.dtype, inner)

    kind = own.numpy().dtype
    if len(shape) == 1 or (batch not in (None, 1) and out[:1] != (batch,)):
        whole = own.unsqueeze(0)
        notes.append(f"the program has no batch axis: its input of shape {list(own.shape)} is one sample")
        network = made(tuple(own.shape))
        return network, whole, _answers(network, kind)
    network = made()
    if batch is None:
        return network, own, module_on_samples(lambda x: run_module(network, x), kind)
    if batch == 1:
        return network, own, _answers(network, kind)
    _check_batch(saved, network, own, name)
    notes.append(f"the program's fixed batch of {batch} was set to 1, checked sample by sample")
    return network, own[:1].clone(), _answers(network, kind, batch or 1)


def _answers(network: Program, kind: Any, batch: int = 1) -> Callable[[_Array], _Array]:  # noqa: ANN401
    """The program as saved on n samples (leading n), one by one: rows of scores; a fixed batch is filled."""

    def run(x: _Array) -> _Array:
        fed = (np.repeat(row[None].astype(kind), batch, axis=0) for row in x)
        return np.concatenate([run_module(network, sample)[:1].reshape(1, -1) for sample in fed])

    return run


def _check_batch(saved: Saved, network: Program, batch: Tensor, name: str) -> None:
    """Refuse a fixed batch that cannot be set to 1."""
    try:
        check_sizes(saved.steps, saved.tensors, saved.ends, batch[:1], {}, name)
        compare(
            lambda x: np.concatenate([run_module(network, x[i : i + 1]) for i in range(len(x))]),
            lambda x: run_module(network, x),
            probes(tuple(batch.shape), batch.numpy().dtype),
            name,
            _SAVED,
        )
        check_separate(saved.steps, saved.tensors, saved.ends, batch)
    except (ConversionMismatch, InputRefused) as error:
        raise InputRefused(
            f"{name} has a fixed batch that cannot be set to 1: {error.message}",
            hint="export the model with batch size 1 or with a dynamic batch axis",
        ) from None
