"""A move that is written twice is one move: equal slices, views and permutations of one value.

Two relayouts of the same value that copy the same cell to every place (and fill in no constants) compute
the same tensor, so readers of the second may read the first.  Rules that ask whether two nodes read the
same value (MaxMin) then see it.
"""

from __future__ import annotations

import torch

from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node
from lipaudit.ops.shape import Relayout
from lipaudit.passes.edit import edited

__all__ = ["merge_moves"]


def merge_moves(graph: LayerGraph) -> LayerGraph:
    """The same function without repeated moves."""
    first: dict[tuple[object, ...], list[Node]] = {}
    aliases: dict[str, str] = {}
    for node in graph:
        if not isinstance(node.op, Relayout):
            continue
        source = aliases.get(node.inputs[0], node.inputs[0])
        known = first.setdefault((source, node.shape, node.op.name), [])
        shape = graph.shape_of(source)
        twin = next((other for other in known if _same(other, node, shape)), None)
        if twin is None:
            known.append(node)
        else:
            aliases[node.name] = twin.name
    return edited(graph, aliases=aliases) if aliases else graph


def _same(a: Node, b: Node, shape: tuple[int, ...]) -> bool:
    if not isinstance(a.op, Relayout) or not isinstance(b.op, Relayout):
        return False
    cells = a.op.sources(shape)
    return bool((cells >= 0).all()) and torch.equal(cells, b.op.sources(shape))
