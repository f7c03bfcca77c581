"""A sum of one value with itself is a multiple of it: c₁x + c₂x = (c₁ + c₂)x.

As two inputs their gains would be those of a map that may be given two different values; read as one, the
norm is |c₁ + c₂|, it folds into the layer before it, and whoever limits layers sees it.  The factors are
added as fractions, so that their sum is rounded once.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import torch

from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node
from lipaudit.ops.arithmetic import Affine, Sum
from lipaudit.passes.edit import edited

__all__ = ["collect_terms"]


def collect_terms(graph: LayerGraph) -> LayerGraph:
    """The same function with such sums as one factor each."""
    collected = {node.name: found for node in graph if (found := _collected(node, graph)) is not None}
    return edited(graph, collected) if collected else graph


def _collected(node: Node, graph: LayerGraph) -> Node | None:
    if not isinstance(node.op, Sum) or len(node.inputs) < 2 or len(set(node.inputs)) > 1:
        return None
    total = sum(map(Fraction, node.op.factors))
    try:
        factor = float(total)
    except OverflowError:
        return None
    scale = torch.tensor(factor, dtype=torch.float64, device=graph.device)
    op = Affine(scale, torch.zeros_like(scale), int(total != Fraction(factor)), name=node.op.name)
    return replace(node, op=op, inputs=node.inputs[:1])
