"""Graphs of opset 6, written in opset 7, the oldest that onnxruntime runs.

Between the two, broadcasting stopped being an attribute.  In opset 6 `broadcast = 1` lays B along A from axis
`axis` on (from the end where it is not given), and A's shape is the result's; in opset 7 B gets trailing axes
of length 1.  A slope of PRelu belongs to axis 1.  Dropout and batch normalisation lose their `is_test`.

onnx's own version converter is not used: onnx 1.23 adds one axis too many, which changes the result's shape.
Nothing older than opset 6 is read: nobody is left to compare with.

ONNX, docs/Changelog.md, "Version 6" and "Version 7".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx
from onnx import helper, shape_inference

from lipaudit.errors import InputRefused

__all__ = ["OLDEST", "to_opset_7"]

OLDEST = 7
"""What onnxruntime promises to run."""

_Shapes = Mapping[str, tuple[int, ...]]
_HINT = "export the model again with opset 13 or newer"


def to_opset_7(model: onnx.ModelProto, opset: int, name: str) -> onnx.ModelProto:
    """A copy of a graph of opset 6 in opset 7.

    Args:
        model: without functions.
        opset: its version.
        name: of the file, for messages.

    Raises:
        InputRefused: an older opset, training mode, or a shape that broadcasting needs is not known.
    """
    if opset < 6:
        raise InputRefused(f"{name} is written for opset {opset}; 6 is the oldest that is read", hint=_HINT)
    shapes = _shapes(model, name)
    newer = onnx.ModelProto()
    newer.CopyFrom(model)
    del newer.graph.node[:], newer.graph.value_info[:]
    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        rewrite = _REWRITES.get(node.op_type) if not node.domain else None
        newer.graph.node.extend([copy] if rewrite is None else rewrite(copy, shapes, name))
    for entry in newer.opset_import:
        entry.version = OLDEST if entry.domain in {"", "ai.onnx"} else entry.version
    return newer


def _shapes(model: onnx.ModelProto, name: str) -> dict[str, tuple[int, ...]]:
    """What inference knows; 0 for an open axis."""
    try:
        graph = shape_inference.infer_shapes(model).graph
    except (RuntimeError, ValueError, shape_inference.InferenceError):
        raise InputRefused(f"{name}: the shapes of its graph contradict each other", hint=_HINT) from None
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            found.setdefault(value.name, tuple(d.dim_value for d in value.type.tensor_type.shape.dim))
    return found


def _take(node: onnx.NodeProto, attribute: str, default: int | None = None) -> int | None:
    """An attribute's value; it is removed."""
    for index, found in enumerate(node.attribute):
        if found.name == attribute:
            value = int(found.i)
            del node.attribute[index]
            return value
    return default


def _shape(node: onnx.NodeProto, operand: str, shapes: _Shapes, name: str) -> tuple[int, ...]:
    if operand not in shapes:
        raise InputRefused(
            f"{name}: {node.op_type} {node.name!r} of opset 6 needs the shape of {operand!r}, which is not "
            "known",
            hint=_HINT,
        )
    return shapes[operand]


def _binary(node: onnx.NodeProto, shapes: _Shapes, name: str) -> list[onnx.NodeProto]:
    spread, axis = _take(node, "broadcast", 0), _take(node, "axis")
    _take(node, "consumed_inputs")
    first, second = (_shape(node, operand, shapes, name) for operand in node.input)
    if not spread:
        pairs = zip(first, second, strict=False)
        if len(first) != len(second) or any(n and m and n != m for n, m in pairs):
            raise InputRefused(
                f"{name}: {node.op_type} {node.name!r} of opset 6 takes shapes {list(first)} and "
                f"{list(second)} without broadcast",
                hint="the graph is damaged: export it again",
            )
        return [node]
    start = len(first) - len(second) if axis is None else axis % len(first)
    return _widened(node, 1, second, len(first) - start, name)


def _prelu(node: onnx.NodeProto, shapes: _Shapes, name: str) -> list[onnx.NodeProto]:
    x, slope = (_shape(node, operand, shapes, name) for operand in node.input)
    return [node] if slope in {(), (1,)} else _widened(node, 1, slope, len(x) - 1, name)


def _widened(
    node: onnx.NodeProto, operand: int, shape: tuple[int, ...], axes: int, name: str
) -> list[onnx.NodeProto]:
    """The operand gets axes of length 1 at its end, up to `axes` in all."""
    if axes < len(shape):
        raise InputRefused(
            f"{name}: {node.op_type} {node.name!r} broadcasts a shape {list(shape)} beyond the last axis",
            hint="the graph is damaged: export it again",
        )
    if axes == len(shape):
        return [node]
    wide = f"{node.input[operand]}/widened for {node.output[0]}"
    added = list(range(len(shape), axes))
    inner = helper.make_node("Unsqueeze", [node.input[operand]], [wide], axes=added)
    node.input[operand] = wide
    return [inner, node]


def _gemm(node: onnx.NodeProto, shapes: _Shapes, name: str) -> list[onnx.NodeProto]:
    del shapes, name
    _take(node, "broadcast")
    return [node]


def _dropout(node: onnx.NodeProto, shapes: _Shapes, name: str) -> list[onnx.NodeProto]:
    del shapes
    if not _take(node, "is_test", 0):
        raise InputRefused(
            f"{name}: Dropout {node.name!r} is in training mode", hint="export it in eval mode"
        )
    return [node]


def _batch_norm(node: onnx.NodeProto, shapes: _Shapes, name: str) -> list[onnx.NodeProto]:
    """With one output it is in test mode, whatever `is_test` says."""
    del shapes
    _take(node, "consumed_inputs")
    if not _take(node, "is_test", 0) and sum(map(bool, node.output)) > 1:
        raise InputRefused(
            f"{name}: BatchNormalization {node.name!r} is in training mode", hint="export it in eval mode"
        )
    del node.output[1:]
    return [node]


def _average_pool(node: onnx.NodeProto, shapes: _Shapes, name: str) -> list[onnx.NodeProto]:
    """Whether padded cells count is not said before opset 7."""
    del shapes
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if any(given.get("pads", [])) or given.get("auto_pad", b"NOTSET") not in {b"NOTSET", b"VALID"}:
        raise InputRefused(
            f"{name}: AveragePool {node.name!r} of opset 6 pads, and whether padded cells count is not said",
            hint=_HINT,
        )
    return [node]


def _upsample(node: onnx.NodeProto, shapes: _Shapes, name: str) -> list[onnx.NodeProto]:
    del shapes
    raise InputRefused(f"{name}: Upsample {node.name!r} of opset 6 was experimental", hint=_HINT)


_REWRITES: dict[str, Callable[[onnx.NodeProto, _Shapes, str], list[onnx.NodeProto]]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow"), _binary),
    **dict.fromkeys(("And", "Or", "Xor", "Equal", "Greater", "Less"), _binary),
    "PRelu": _prelu,
    "Gemm": _gemm,
    "Dropout": _dropout,
    "BatchNormalization": _batch_norm,
    "AveragePool": _average_pool,
    "Upsample": _upsample,
}
"""Operators that changed in opset 7; recurrent ones did, too, and are not converted anyway."""
