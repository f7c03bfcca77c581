"""An ONNX file → an exported program that was compared with onnxruntime on the file.

    read, embed external data ─▶ one float input, one float output ─▶ fold constants ─▶ torch modules
    (our rules, else onnx2torch) ─▶ torch.export ─▶ outputs compared with onnxruntime's on the original bytes
    (on the same graph with its external data embedded, where it has some)

The leading axis is the batch: symbolic or 1 is taken as it is; a fixed N > 1 is set to 1 where every sample
of the batch-N graph gives what the batch-1 graph gives; where the output does not have that axis, the whole
tensor is one sample.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import checker, helper, inliner, numpy_helper
from torch import Tensor, nn

from lipaudit.errors import ConversionMismatch, InputRefused, UsageError
from lipaudit.load import LoadedModel, ModelFile
from lipaudit.load.convert import convert
from lipaudit.load.export import export_module, hash_weights, single_output
from lipaudit.load.external import embed
from lipaudit.load.fold import first_line, reference_session
from lipaudit.load.locate import first_difference
from lipaudit.load.preprocessing import METADATA_KEY, Preprocessing, parse_metadata
from lipaudit.load.reference import Reading, on_samples
from lipaudit.load.verify import Comparison, compare, probes, refuse_coupling, run_reference

__all__ = ["load_onnx"]

_Array = np.ndarray[Any, Any]
_FLOATS = {onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.DOUBLE: torch.float64}
_STANDARD = frozenset({"", "ai.onnx"})
_HARMLESS = ("topologically sorted", "Field 'shape' of 'type' is required")
"""Complaints of the checker that do not matter: nodes are sorted and shapes inferred here."""
_PROTO_LIMIT = (1 << 31) - 1


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
    *,
    input_shape: tuple[int, ...] | None,
    arch: str | None,
    default_shape: tuple[int, ...] | None = None,
) -> LoadedModel:
    """Load the ONNX file whose bytes are `data`.

    Args:
        path: where it lies; external data is looked for beside it.
        data: its bytes.
        input_shape: one sample's shape, where the graph leaves axes open.
        arch: must be None.
        default_shape: one sample's shape, taken where nobody says and the graph leaves axes open.

    Raises:
        LipauditError: see `lipaudit.load.load_model`.
    """
    if arch is not None:
        raise UsageError(f"{path.name} is an ONNX graph: --arch is for files that hold weights only")
    model = onnx.ModelProto.FromString(data)
    extra = embed(model, path.parent)
    original = _reference_bytes(model, data, bool(extra), path.name)
    _check(model, path.name)
    if model.functions:
        model = inliner.inline_local_functions(model)
    source, target = _ends(model, path.name)
    metadata = _metadata(model)
    session = _session(original, path.name)
    shape = input_shape
    if shape is None and (metadata is None or metadata.input_shape is None):
        shape = _where_open(source, default_shape)
    reading = _reading(source, target, session, shape, metadata)
    notes: list[str] = []
    try:
        program, comparison, notes = _convert_and_verify(model, session, reading, path.name)
    except InputRefused as error:
        if reading.batch == 1 or default_shape is not None:
            raise
        # Nobody has samples for it: its first axis may be no batch at all.
        reading = Reading((reading.batch, *reading.shape[1:]), whole=True)
        with contextlib.suppress(InputRefused):
            program, comparison, notes = _convert_and_verify(model, session, reading, path.name)
            notes.append(f"it is not read sample by sample: {error.message}")
        if not notes:
            raise
    shape = (1, *reading.shape) if reading.whole else reading.shape
    files = [(path.name, data), *((Path(name).name, content) for name, content in extra.items())]
    return LoadedModel(
        program=program,
        input_shape=shape,
        files=tuple(ModelFile.of(name, content) for name, content in files),
        format="onnx",
        loader=f"onnx2torch {version('onnx2torch')} + onnx {onnx.__version__}",
        trust="data only",
        preprocessing=metadata,
        conversion=comparison.as_dict(),
        weights_sha256=hash_weights(_weights(model)),
        notes=tuple(notes),
        reference=on_samples(session, reading, path.name),
    )


def _reference_bytes(model: onnx.ModelProto, data: bytes, embedded: bool, name: str) -> bytes:  # noqa: FBT001
    if not embedded:
        return data
    if model.ByteSize() > _PROTO_LIMIT:
        raise InputRefused(f"{name} with its external data is larger than 2 GiB, which is not supported yet")
    return bytes(model.SerializeToString())


def _check(model: onnx.ModelProto, name: str) -> None:
    """Refuse what no converter should see."""
    redefined = sorted({function.name for function in model.functions if function.domain in _STANDARD})
    if redefined:
        raise InputRefused(
            f"{name} redefines standard operators: {', '.join(redefined[:5])}",
            hint="runtimes do not agree on which definition counts: give the function a domain of its own",
        )
    called = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    foreign = sorted(
        {f"{node.domain}.{node.op_type}" for node in _with_inner(called) if node.domain not in _STANDARD}
        - {f"{function.domain}.{function.name}" for function in model.functions}
    )
    if foreign:
        raise InputRefused(
            f"{name} uses operators outside of the ONNX standard: {', '.join(foreign[:5])}",
            hint="only neural networks of standard operators can be analysed (no trees, no custom kernels)",
        )
    if model.graph.sparse_initializer:
        raise InputRefused(f"{name} stores sparse weights, which is not supported", hint="store them dense")
    quantized = sorted(
        {n.op_type for n in model.graph.node if "Quantize" in n.op_type or n.op_type.endswith("Integer")}
        | {n.op_type for n in model.graph.node if n.op_type.startswith("QLinear")}
    )
    if quantized:
        raise InputRefused(
            f"{name} is quantized ({', '.join(quantized[:4])}), and rounding has no Lipschitz constant",
            hint="audit the float model it was made from",
        )
    try:
        checker.check_model(model)
    except (checker.ValidationError, RuntimeError, ValueError) as error:
        if not any(harmless in str(error) for harmless in _HARMLESS):
            raise InputRefused(
                f"{name} is not a valid ONNX graph: {first_line(error)}", hint="export it again"
            ) from None
    limits = _limits(model)
    for tensor_name, value in _weights(model).items():
        infinite_limit = tensor_name in limits and not np.isnan(value).any()
        if value.dtype.kind == "f" and not np.isfinite(value).all() and not infinite_limit:
            raise InputRefused(
                f"{name}: tensor {tensor_name!r} holds NaN or infinity",
                hint="the training diverged, or the file is damaged",
            )


def _with_inner(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes, and those of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _with_inner(graph.node)


def _limits(model: onnx.ModelProto) -> set[str]:
    """Constants that are read as limits of Clip only, where infinity means none."""
    limits = {name for node in model.graph.node if node.op_type == "Clip" for name in node.input[1:3]}
    return limits - {
        name
        for node in model.graph.node
        for index, name in enumerate(node.input)
        if node.op_type != "Clip" or index == 0
    }


def _weights(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    """Initialisers and the values of Constant nodes, by name."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                found[node.output[0]] = numpy_helper.to_array(attribute.t)
    return found


def _ends(model: onnx.ModelProto, name: str) -> tuple[onnx.ValueInfoProto, onnx.ValueInfoProto]:
    """The one real input and the one output."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    outputs = list(model.graph.output)
    for kind, values in (("input", inputs), ("output", outputs)):
        if len(values) != 1:
            names = ", ".join(value.name for value in values) or "none"
            raise InputRefused(
                f"{name} has {len(values)} {kind}s ({names}); exactly one is supported",
                hint=f"export the part of the network that has one {kind} (onnx.utils.extract_model)",
            )
        element = values[0].type.tensor_type.elem_type
        if not values[0].type.HasField("tensor_type") or element not in _FLOATS:
            known = element in onnx.TensorProto.DataType.values()
            what = onnx.TensorProto.DataType.Name(element).lower() if known and element else "no tensor"
            raise InputRefused(
                f"{name}: {kind} {values[0].name!r} is {what}, not float32 or float64",
                hint="export the network from float images to float scores",
            )
    return inputs[0], outputs[0]


def _metadata(model: onnx.ModelProto) -> Preprocessing | None:
    text = next((entry.value for entry in model.metadata_props if entry.key == METADATA_KEY), None)
    return None if text is None else parse_metadata(text)


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
    given: tuple[int, ...] | None,
    metadata: Preprocessing | None,
) -> Reading:
    """How samples lie in the graph's input."""
    shape = _input_shape(source, given, metadata)
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


def _where_open(source: onnx.ValueInfoProto, shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """`shape` if the graph leaves axes open that it can fill, else None."""
    dims = [dim.dim_value or None for dim in source.type.tensor_type.shape.dim][1:]
    if shape is None or None not in dims or len(dims) != len(shape):
        return None
    return shape if all(a in (None, b) for a, b in zip(dims, shape, strict=True)) else None


def _input_shape(
    source: onnx.ValueInfoProto, given: tuple[int, ...] | None, metadata: Preprocessing | None
) -> tuple[int, ...]:
    """Static shape of the graph's input, its batch axis included."""
    kind = source.type.tensor_type
    stored = given is None and metadata is not None
    if given is None and metadata is not None:
        given = metadata.input_shape
    if not kind.HasField("shape"):
        if given is None:
            raise UsageError(
                f"input {source.name!r} has no shape in the graph", hint="state it: --input-shape 1,28,28"
            )
        return (1, *given)
    dims = [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in kind.shape.dim
    ]
    if not dims:
        raise InputRefused(f"input {source.name!r} is a single number", hint="a network takes a tensor")
    stated = [str(dim) if dim else "?" for dim in dims]
    axes: list[int | None] = [1, *given] if given is not None else [1] + [None] * (len(dims) - 1)
    if given is not None and (
        len(axes) != len(dims) or any(a not in (None, b) for a, b in zip(dims[1:], axes[1:], strict=False))
    ):
        if len(given) == len(dims) and all(a in (None, b) for a, b in zip(dims, given, strict=True)):
            return tuple(given)  # a graph without a batch axis
        clash = f"input shape {list(given)} contradicts the graph's [{', '.join(stated)}]"
        if stored:
            raise InputRefused(
                f"{METADATA_KEY} in the model's metadata: {clash}", hint="correct the metadata"
            )
        raise UsageError(clash, hint="leave --input-shape out: the graph knows its shape")
    shape = [dim if dim is not None else axis for dim, axis in zip(dims, axes, strict=True)]
    if None in shape or (len(dims) == 1 and dims[0] is None):
        raise UsageError(
            f"input {source.name!r} has open axes: [{', '.join(stated)}]",
            hint="state the shape of one sample, without the batch axis: --input-shape 3,32,32",
        )
    return tuple(n for n in shape if n is not None)


def _convert_and_verify(
    model: onnx.ModelProto,
    session: Any,  # noqa: ANN401
    reading: Reading,
    name: str,
) -> tuple[torch.export.ExportedProgram, Comparison, list[str]]:
    """The exported program, compared with onnxruntime."""
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
    return program, comparison, notes


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
