"""Where a converted graph first differs from the original one.

Every node was compared by itself before (`nodes`), so what is left are faults between nodes: a wrong wire, a
constant that was folded wrongly.  Both graphs are run on one input; the values on the wires are compared by
bisection over the topological order, which finds the first one that differs: what stands before it agrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper
from torch import fx

from lipaudit.load.fold import reference_session
from lipaudit.load.nodes import calls

__all__ = ["first_difference"]

_TOLERANCE = 1e-3
_Array = np.ndarray[Any, Any]


def first_difference(
    network: fx.GraphModule, wired: list[onnx.NodeProto], original: onnx.ModelProto, source: str, x: _Array
) -> str:
    """The first node whose output differs, as text for a message; "" if none can be named.

    Args:
        network: as wired by onnx2torch.
        wired: its nodes, in order.
        original: the graph as given; left as it is.
        source: name of its input.
        x: an input on which the graphs differ.
    """
    ours = _values(network, wired, source, x)
    made = {output for node in original.graph.node for output in node.output}
    names = [(node, name) for node in wired for name in node.output[:1] if name in ours and name in made]
    low, high = 0, len(names)
    # Before `low` all agree; at `high` something differs, or it is the end.
    while low < high:
        middle = (low + high) // 2
        tried = [name for _, name in names[low : middle + 1]]
        theirs = _reference(original, source, x, tried)
        if any(_differs(ours[name], theirs[name]) for name in tried if name in theirs):
            high = middle
        else:
            low = middle + 1
    if low == len(names):
        return ""
    node, name = names[low]
    theirs = _reference(original, source, x, [name])
    return f"{node.op_type} {node.name!r}" if name in theirs and _differs(ours[name], theirs[name]) else ""


def _values(
    network: fx.GraphModule, wired: list[onnx.NodeProto], source: str, x: _Array
) -> Mapping[str, _Array]:
    """What runs along our wires."""
    values: dict[str, Any] = {source: torch.from_numpy(x)}
    with torch.no_grad():
        for node, (args, kwargs), module in calls(network, wired, source):
            operands = [values[a] if isinstance(a, str) else a for a in args]
            named = {k: values[a] if isinstance(a, str) else a for k, a in kwargs.items()}
            result = module(*operands, **named)
            results = result if isinstance(result, tuple | list) else [result]
            values.update(zip(node.output, results, strict=False))
    return {name: value.numpy() for name, value in values.items()}


def _reference(original: onnx.ModelProto, source: str, x: _Array, names: list[str]) -> Mapping[str, _Array]:
    """What onnxruntime has on the wires of those names."""
    model = onnx.ModelProto()
    model.CopyFrom(original)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    try:
        found = reference_session(model.SerializeToString()).run(names, {source: x})
    except Exception:  # noqa: BLE001 - the message will name no node then
        return {}
    return dict(zip(names, found, strict=True))


def _differs(ours: _Array, theirs: _Array) -> bool:
    if ours.shape != theirs.shape:
        return True
    one, other = ours.astype(np.float64), theirs.astype(np.float64)
    size = float(np.abs(other).max(initial=0.0))
    with np.errstate(invalid="ignore"):
        apart = np.abs(one - other)
    return bool((np.isnan(one) != np.isnan(other)).any() or (np.nan_to_num(apart) > _TOLERANCE * size).any())
