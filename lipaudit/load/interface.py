"""What an ONNX graph takes and gives: one float input, one float output, and the input's static shape."""

from __future__ import annotations

import onnx
from onnx import helper

from lipaudit.errors import InputRefused, UsageError
from lipaudit.load.preprocessing import METADATA_KEY, Preprocessing, parse_metadata

__all__ = ["FLOATS", "STANDARD", "ends", "metadata_of", "static_shape", "with_input_shape"]

STANDARD = frozenset({"", "ai.onnx"})
"""Names of the domain of ONNX's own operators."""
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
"""Element types of images and scores."""


_MANY = {
    "input": "export the part of the network that has one input (onnx.utils.extract_model)",
    "output": "name the output that holds the class scores: --logits NAME",
}


def ends(model: onnx.ModelProto, name: str) -> tuple[onnx.ValueInfoProto, onnx.ValueInfoProto]:
    """The one real input and the one output."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    outputs = list(model.graph.output)
    for kind, values in (("input", inputs), ("output", outputs)):
        if len(values) != 1:
            names = ", ".join(value.name for value in values) or "none"
            raise InputRefused(
                f"{name} has {len(values)} {kind}s ({names}); exactly one is supported",
                hint=_MANY[kind] if values else "is the graph complete?",
            )
        element = values[0].type.tensor_type.elem_type
        if not values[0].type.HasField("tensor_type") or element not in FLOATS:
            known = element in onnx.TensorProto.DataType.values()
            what = onnx.TensorProto.DataType.Name(element).lower() if known and element else "no tensor"
            raise InputRefused(
                f"{name}: {kind} {values[0].name!r} is {what}, not float32 or float64",
                hint="export the network from float images to float scores",
            )
    return inputs[0], outputs[0]


def metadata_of(model: onnx.ModelProto) -> Preprocessing | None:
    """The preprocessing that the model states."""
    text = next((entry.value for entry in model.metadata_props if entry.key == METADATA_KEY), None)
    return None if text is None else parse_metadata(text)


def static_shape(
    model: onnx.ModelProto,
    source: onnx.ValueInfoProto,
    given: tuple[int, ...] | None,
    default: tuple[int, ...] | None,
) -> tuple[int, ...]:
    """Static shape of the graph's input, its batch axis included.

    Args:
        model: whose metadata may state the shape of one sample.
        source: the graph's input.
        given: one sample's shape, as the user states it.
        default: taken where nobody says and the graph leaves axes open.

    Raises:
        UsageError: axes stay open, or `given` contradicts the graph.
        InputRefused: the metadata do.
    """
    metadata = metadata_of(model)
    if given is None and (metadata is None or metadata.input_shape is None):
        given = _where_open(source, default)
    return _input_shape(source, given, metadata)


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


def with_input_shape(model: onnx.ModelProto, shape: tuple[int, ...]) -> onnx.ModelProto:
    """A copy whose input has this shape; stale shapes are removed, the standard domain has one name."""
    static = onnx.ModelProto()
    static.CopyFrom(model)
    graph = static.graph
    stored = {tensor.name for tensor in graph.initializer}
    source = next(value for value in graph.input if value.name not in stored)
    kind = source.type.tensor_type.elem_type
    del graph.input[:], graph.value_info[:]
    graph.input.append(helper.make_tensor_value_info(source.name, kind, shape))
    graph.output[0].type.tensor_type.ClearField("shape")
    versions = {("" if o.domain in STANDARD else o.domain): o.version for o in model.opset_import}
    del static.opset_import[:]
    static.opset_import.extend(helper.make_opsetid(domain, number) for domain, number in versions.items())
    for node in graph.node:
        node.domain = "" if node.domain in STANDARD else node.domain
    return static
