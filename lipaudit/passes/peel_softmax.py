"""A final softmax, log-softmax or sigmoid is not part of the margin argument.

All three keep the order of the logits (softmax and log-softmax over all classes, sigmoid entry by
entry), so the predicted class, and every perturbation that changes it, is the same without them.  The
Lipschitz bound is then that of the logits; the report says so.
"""

from __future__ import annotations

import math
from dataclasses import replace

from lipaudit.graph.graph import LayerGraph
from lipaudit.ops.activation import Elementwise
from lipaudit.ops.shape import Relayout
from lipaudit.ops.softmax import Softmax
from lipaudit.passes.edit import edited

__all__ = ["peel_softmax"]


def peel_softmax(graph: LayerGraph) -> LayerGraph:
    """The graph up to its logits."""
    last = graph.node(graph.output)
    # A reshape of the probabilities does not change their order.
    while last is not None and isinstance(last.op, Relayout) and _is_view(graph, last.name):
        last = graph.node(last.inputs[0])
    if last is None:
        return graph
    over_all = isinstance(last.op, Softmax) and last.op.terms == math.prod(last.shape) > 1
    head = over_all and isinstance(last.op, Softmax) and last.op.name in ("softmax", "log_softmax")
    if not head and not (isinstance(last.op, Elementwise) and last.op.name in ("sigmoid", "logsigmoid")):
        return graph
    note = f"the final {last.op.name} was peeled off: bounds and margins are those of the logits"
    return replace(edited(graph, output=last.inputs[0], note=note), head=last.op.name)


def _is_view(graph: LayerGraph, name: str) -> bool:
    node = graph.node(name)
    return node is not None and isinstance(node.op, Relayout) and node.op.name == "reshape"
