"""What an ONNX file says of sizes, held against what it holds and what can be meant.

A few bytes can claim a tensor of 2^60 numbers, a function that calls itself, or a million nodes.  Nothing
here runs the graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]

from lipaudit.errors import InputRefused

__all__ = [
    "NODE_LIMIT",
    "byte_size",
    "check_functions",
    "check_tensors",
    "check_text",
    "nodes_of",
    "tensors_of",
]

NODE_LIMIT = 20_000
"""Nodes with all functions inlined; exporting so many takes PyTorch minutes.  Published networks have up to a
few thousand."""

_MANY = 10**12
"""Where counting stops: doubling functions make numbers without end."""

_T = onnx.TensorProto
_FIELDS: dict[int, tuple[str, int]] = {
    _T.FLOAT: ("float_data", 1),
    _T.COMPLEX64: ("float_data", 2),
    _T.DOUBLE: ("double_data", 1),
    _T.COMPLEX128: ("double_data", 2),
    _T.INT64: ("int64_data", 1),
    _T.UINT32: ("uint64_data", 1),
    _T.UINT64: ("uint64_data", 1),
    _T.STRING: ("string_data", 1),
}
"""Where numbers are kept that are not raw, and how many fields each takes; all others are in int32_data."""
_BITS: dict[int, int] = {
    **dict.fromkeys((_T.COMPLEX128,), 128),
    **dict.fromkeys((_T.DOUBLE, _T.INT64, _T.UINT64, _T.COMPLEX64), 64),
    **dict.fromkeys((_T.FLOAT, _T.INT32, _T.UINT32), 32),
    **dict.fromkeys((_T.FLOAT16, _T.BFLOAT16, _T.INT16, _T.UINT16), 16),
    **dict.fromkeys((_T.INT8, _T.UINT8, _T.BOOL), 8),
    **{getattr(_T, f"FLOAT8{kind}"): 8 for kind in ("E4M3FN", "E4M3FNUZ", "E5M2", "E5M2FNUZ")},
}


def nodes_of(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes, and those of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from nodes_of(graph.node)


def tensors_of(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: those in attributes, subgraphs and functions included."""
    yield from _stored(model.graph)
    every = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    for node in nodes_of(every):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                if sparse.HasField("values"):
                    yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _stored(graph)


def _stored(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices


def byte_size(tensor: onnx.TensorProto) -> int:
    """Bytes that a tensor's numbers take raw.

    Raises:
        InputRefused: a type without such a size, or a negative extent.
    """
    if tensor.data_type not in _BITS:
        raise InputRefused(
            f"tensor {tensor.name!r} has the element type {_type_name(tensor)}, which is not supported",
            hint="store weights as floats",
        )
    return math.prod(_extents(tensor)) * _BITS[tensor.data_type] // 8


def _type_name(tensor: onnx.TensorProto) -> str:
    known = tensor.data_type in _T.DataType.values()
    return _T.DataType.Name(tensor.data_type) if known else f"number {tensor.data_type}"


def _extents(tensor: onnx.TensorProto) -> list[int]:
    if any(extent < 0 for extent in tensor.dims):
        raise InputRefused(f"tensor {tensor.name!r} has a negative extent: {list(tensor.dims)[:8]}")
    return list(tensor.dims)


def check_tensors(model: onnx.ModelProto) -> None:
    """Hold the shape of every stored tensor against the numbers it holds.

    Raises:
        InputRefused: the first that does not fit.
    """
    for tensor in tensors_of(model):
        if tensor.data_type == _T.STRING:
            held, wanted, unit = len(tensor.string_data), math.prod(_extents(tensor)), "texts"
        elif tensor.HasField("raw_data"):
            held, wanted, unit = len(tensor.raw_data), byte_size(tensor), "bytes"
        else:
            byte_size(tensor)  # refuses types that are not known
            field, each = _FIELDS.get(tensor.data_type, ("int32_data", 1))
            held, wanted, unit = len(getattr(tensor, field)), math.prod(_extents(tensor)) * each, "numbers"
        if held != wanted:
            raise InputRefused(
                f"tensor {tensor.name!r} of shape {list(tensor.dims)[:8]} holds {held} {unit}, not {wanted}",
                hint="the file is damaged: export it again",
            )


def check_text(message: Message) -> None:
    """Refuse names that are not UTF-8: protobuf hands those out as bytes, which are no names.

    Raises:
        InputRefused: the first field that holds one.
    """
    for field, value in message.ListFields():
        values = [value] if isinstance(value, (str, bytes, Message)) else value
        if field.type == field.TYPE_STRING and not all(isinstance(text, str) for text in values):
            raise InputRefused(
                f"the graph is damaged: a {field.name} in it is not text",
                hint="repeat the download or export",
            )
        if field.type == field.TYPE_MESSAGE:
            for inner in values:
                check_text(inner)


def check_functions(model: onnx.ModelProto) -> None:
    """Count the nodes that inlining makes, without inlining.

    Raises:
        InputRefused: too many, or a function that calls itself.
    """
    bodies = {(f.domain, f.name, f.overload): list(nodes_of(f.node)) for f in model.functions}
    sizes: dict[tuple[str, str, str], int] = {}
    waiting = [(key, False) for key in bodies]
    open_: set[tuple[str, str, str]] = set()
    while waiting:
        key, done = waiting.pop()
        if done:
            open_.discard(key)
            sizes[key] = min(_MANY, sum(sizes.get(_callee(node), 1) for node in bodies[key]))
            continue
        if key in sizes:
            continue
        if key in open_:
            raise InputRefused(f"function {key[1]!r} calls itself", hint="such a graph has no end")
        open_.add(key)
        waiting.append((key, True))
        called = {_callee(node) for node in bodies[key]} & bodies.keys()
        if called & open_:
            raise InputRefused(f"function {key[1]!r} calls itself", hint="such a graph has no end")
        waiting += [(other, False) for other in called if other not in sizes]
    total = sum(sizes.get(_callee(node), 1) for node in nodes_of(model.graph.node))
    if total > NODE_LIMIT:
        shown = total if total < _MANY else "more than 10^12"
        raise InputRefused(
            f"the graph has {shown} nodes; {NODE_LIMIT} are supported",
            hint="is it a neural network?",
        )


def _callee(node: onnx.NodeProto) -> tuple[str, str, str]:
    return node.domain, node.op_type, node.overload
