"""A concatenation of moves of one tensor is a move: space-to-depth by slices, rolls, channels beside zeros.

If every part of a concatenation (or stack) copies cells of one tensor x, or is constant, so does the whole,
and its norm is √(the most copies of one cell), counted by `Relayout`.  As parts their gains would be combined
as if each could take all of x: four slices with four different quarters of the cells would read 2, and
together they are a permutation.

Only the nearest common x is taken, so that what lies before it keeps its own nodes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node
from lipaudit.ops.concat import Concat
from lipaudit.ops.shape import Relayout
from lipaudit.passes.edit import edited, subfunction

__all__ = ["join_moves"]

LONGEST = 16
"""Moves in a row that are looked at."""


def join_moves(graph: LayerGraph) -> LayerGraph:
    """The same function with such concatenations as one move each."""
    for name in [node.name for node in graph if isinstance(node.op, Concat)]:
        node = graph.node(name)
        joined = None if node is None else _joined(graph, node)
        if joined is not None:
            graph = edited(graph, {name: joined})
    return graph


def _joined(graph: LayerGraph, node: Node) -> Node | None:
    paths = [_path(graph, name) for name in node.inputs]
    source = next((name for name in paths[0] if all(name in path for path in paths[1:])), None)
    if source is None or not isinstance(node.op, Concat):
        return None
    parts = [[graph.node(name) for name in path[: path.index(source)]][::-1] for path in paths]
    concat = node.op

    def trace(cells: Tensor) -> Tensor:
        values = []
        for steps in parts:
            value = cells
            for step in steps:
                if step is not None and isinstance(step.op, Relayout):
                    value = step.op.trace(value)
            values.append(value)
        fills = (None if p is None else torch.zeros(p.shape, device=cells.device) for p in concat.parts)
        return replace(concat, parts=tuple(fills)).forward(*values)

    op = Relayout("join", subfunction(graph, source, node), trace)
    return replace(node, op=op, inputs=(source,))


def _path(graph: LayerGraph, name: str) -> list[str]:
    """The value, and what it was moved from, nearest first."""
    found = [name]
    node = graph.node(name)
    while node is not None and isinstance(node.op, Relayout) and len(found) <= LONGEST:
        found.append(node.inputs[0])
        node = graph.node(node.inputs[0])
    return found
