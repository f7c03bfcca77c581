"""where(x > c, x, softplus(x)): how torch's exporter writes a softplus with its threshold.

It is torch's own function: the identity above the threshold, which lies e^(−βc)/β above the true one at c.
That step counts as in `activation`, where it is a forward error, twice; a lower threshold than is allowed
there is left as it is.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node, Unsupported
from lipaudit.ops.activation import SMALLEST_THRESHOLD, Elementwise
from lipaudit.passes.edit import edited
from lipaudit.rounding import div_up

__all__ = ["guarded_softplus"]

GREATER = ("aten.gt.Tensor", "aten.gt.Scalar", "aten.ge.Tensor", "aten.ge.Scalar")


def guarded_softplus(graph: LayerGraph) -> LayerGraph:
    """The same function with each such choice as one activation."""
    for node in graph.nodes:
        whole = _whole(graph, node)
        if whole is not None:
            graph = edited(graph, {node.name: replace(node, op=whole[0], inputs=(whole[1],))})
    return graph


def _whole(graph: LayerGraph, node: Node) -> tuple[Elementwise, str] | None:
    """The activation, and what it reads."""
    if getattr(node.op, "target", "") != "aten.where.self" or len(node.inputs) != 3:
        return None
    choice, inside = graph.node(node.inputs[0]), graph.node(node.inputs[2])
    source = node.inputs[1]
    if choice is None or inside is None or not choice.inputs == inside.inputs == (source,):
        return None
    if not isinstance(inside.op, Elementwise) or inside.op.name != "softplus":
        return None
    if not node.shape == choice.shape == inside.shape == graph.shape_of(source):
        return None
    beta, threshold = inside.op.parameters
    limit = _limit(choice)
    if limit is None or beta * limit < SMALLEST_THRESHOLD:
        return None
    jump = div_up(math.exp(-beta * limit) * (1 + 1e-9), beta)
    least = min(threshold, beta * limit)
    return replace(inside.op, jump=max(inside.op.jump, jump), parameters=(beta, least)), source


def _limit(choice: Node) -> float | None:
    """c of x > c, or None: the constant may stand on either side, which its values tell."""
    op = choice.op
    if not isinstance(op, Unsupported) or op.target not in GREATER or len(op.constants) != 1:
        return None
    limit = op.constants[0]
    if not abs(limit) < 1e6:
        return None
    full = torch.ones(choice.shape, dtype=torch.float64)
    above, below = op.forward(full * (limit + 1)), op.forward(full * (limit - 1))
    return limit if bool(above.all()) and not bool(below.any()) else None
