"""An ONNX file → an exported program that was compared with onnxruntime on the file.

    the graph that was read apart ─▶ one float input, one float output ─▶ fold constants ─▶ torch modules
    (our rules, else onnx2torch) ─▶ torch.export ─▶ outputs compared with onnxruntime's on the reference
    (the file's graph with its external data inside)

The leading axis is the batch: symbolic or 1 is taken as it is; a fixed N > 1 is set to 1 where every sample
of the batch-N graph gives what the batch-1 graph gives; where the output does not have that axis, the whole
tensor is one sample.
"""

from __future__ import annotations

import contextlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from lipaudit.errors import ConversionMismatch, InputRefused
from lipaudit.load import LoadedModel, ModelFile
from lipaudit.load.blame import first_line
from lipaudit.load.convert import Converted, convert
from lipaudit.load.export import export_module, hash_weights, single_output
from lipaudit.load.fold import reference_session
from lipaudit.load.interface import ends, metadata_of, static_shape
from lipaudit.load.locate import first_difference
from lipaudit.load.onnx_file import count_stored, stored_weights
from lipaudit.load.reading import Contents
from lipaudit.load.reference import Reading, on_samples
from lipaudit.load.verify import Comparison, compare, probes, refuse_coupling, run_reference

__all__ = ["load_onnx"]

_Array = np.ndarray[Any, Any]
_FLOATS = {onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.DOUBLE: torch.float64}


class _OneSample(nn.Module):
    """Put a batch axis of 1 around a graph that has none."""

    def __init__(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network
        self._shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """(1, *shape) → (1, *outputs)."""
        y: Tensor = self.network(x.reshape(self._shape))
        return y if y.dim() > 1 and y.shape[0] == 1 else y.reshape(1, *y.shape)


def load_onnx(
    path: Path,
    data: bytes,
    contents: Contents,
    *,
    input_shape: tuple[int, ...] | None,
    default_shape: tuple[int, ...] | None = None,
) -> LoadedModel:
    """Load an ONNX file.

    Args:
        path: where it lies, for messages.
        data: its bytes.
        contents: the graphs that were read of them.
        input_shape: one sample's shape, where the graph leaves axes open.
        default_shape: one sample's shape, taken where nobody says and the graph leaves axes open.

    Raises:
        LipauditError: see `lipaudit.load.load_model`.
    """
    model = onnx.ModelProto.FromString(contents.graph)
    source, target = ends(model, path.name)
    session = _session(contents.reference, path.name)
    shape = static_shape(model, source, input_shape, default_shape)
    reading = _reading(source, target, session, shape)
    notes: list[str] = []
    try:
        converted, program, comparison = _convert_and_verify(model, session, reading, path.name)
    except InputRefused as error:
        if reading.batch == 1 or default_shape is not None:
            raise
        # Nobody has samples for it: its first axis may be no batch at all.
        reading = Reading((reading.batch, *reading.shape[1:]), whole=True)
        with contextlib.suppress(InputRefused):
            converted, program, comparison = _convert_and_verify(model, session, reading, path.name)
            notes.append(f"it is not read sample by sample: {error.message}")
        if not notes:
            raise
    stored = stored_weights(model)
    return LoadedModel(
        program=program,
        input_shape=(1, *reading.shape) if reading.whole else reading.shape,
        files=(ModelFile.of(path.name, data), *contents.files),
        format="onnx",
        loader=f"onnx2torch {version('onnx2torch')} + onnx {onnx.__version__}",
        trust=contents.trust,
        preprocessing=metadata_of(model),
        conversion=comparison.as_dict(),
        titles=converted.titles,
        weights_sha256=hash_weights(stored),
        parameters=count_stored(stored[key] for key in converted.stored if key in stored),
        notes=(*contents.notes, *converted.notes, *notes),
        reference=on_samples(session, reading, path.name),
    )


def _session(data: bytes, name: str) -> Any:  # noqa: ANN401 - onnxruntime has no types
    try:
        return reference_session(data)
    except Exception as error:  # noqa: BLE001 - onnxruntime raises many kinds
        raise InputRefused(
            f"onnxruntime cannot load {name}: {first_line(error)}",
            hint="a graph that its reference runtime refuses cannot be checked",
        ) from None


def _reading(
    source: onnx.ValueInfoProto,
    target: onnx.ValueInfoProto,
    session: Any,  # noqa: ANN401
    shape: tuple[int, ...],
) -> Reading:
    """How samples lie in the graph's input."""
    batch = shape[0]
    if len(shape) == 1:
        return Reading(shape, whole=True)
    if batch == 1:
        return Reading(shape)
    dtype = helper.tensor_dtype_to_np_dtype(source.type.tensor_type.elem_type)
    output = run_reference(session, np.zeros(shape, dtype=dtype), target.name)
    if output.ndim > 0 and output.shape[0] == batch:
        return Reading((1, *shape[1:]), batch=batch)
    return Reading(shape, whole=True)


def _convert_and_verify(
    model: onnx.ModelProto,
    session: Any,  # noqa: ANN401
    reading: Reading,
    name: str,
) -> tuple[Converted, torch.export.ExportedProgram, Comparison]:
    """The graph as modules, and exported, compared with onnxruntime."""
    converted = convert(model, reading.shape, reading.batch, name)
    network: nn.Module = converted.network
    notes = converted.notes
    source = session.get_inputs()[0].name
    kind = next(v.type.tensor_type.elem_type for v in model.graph.input if v.name == source)
    dtype = _FLOATS[kind]
    if reading.whole:
        network = _OneSample(network, reading.shape)
        notes.append(f"the graph has no batch axis: its input of shape {list(reading.shape)} is one sample")
    if reading.batch > 1:
        notes.append(f"the graph's fixed batch of {reading.batch} was set to 1, checked sample by sample")
    example = torch.zeros((1, *reading.shape) if reading.whole else reading.shape, dtype=dtype)
    single_output(network, example, name)
    program = export_module(network, example, name)
    alone = probes(reading.shape, torch.zeros(0, dtype=dtype).numpy().dtype)
    try:
        comparison = _verify(program, session, reading, name, dtype)
    except ConversionMismatch as error:
        if reading.batch > 1:
            raise InputRefused(
                f"{name} has a fixed batch of {reading.batch} that cannot be set to 1: {error.message}",
                hint="export the model with batch size 1 or with a dynamic batch axis",
            ) from None
        where = first_difference(converted.network, converted.nodes, model, source, alone["normal"])
        error.message += f"; the first node that differs is {where}" if where else ""
        raise
    if reading.batch == 1 and not reading.whole:
        refuse_coupling(lambda x: run_reference(session, x, name), alone, name)
    return converted, program, comparison


def _verify(
    program: torch.export.ExportedProgram,
    session: Any,  # noqa: ANN401
    reading: Reading,
    name: str,
    dtype: torch.dtype,
) -> Comparison:
    """Outputs of the exported program equal onnxruntime's, sample by sample."""
    network = program.module()
    sample = (1, *reading.shape) if reading.whole else reading.shape

    def ours(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with torch.no_grad():
            rows = torch.from_numpy(x).reshape(reading.batch, *sample)
            return np.concatenate([network(row).numpy().reshape(-1) for row in rows])

    fed = (reading.batch, *reading.shape[1:]) if not reading.whole else reading.shape
    return compare(
        ours,
        lambda x: run_reference(session, x, name),
        probes(fed, torch.zeros(0, dtype=dtype).numpy().dtype),
        name,
    )
