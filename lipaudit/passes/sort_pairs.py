"""MaxMin: concat(max(a, b), min(a, b)) is a permutation of (a, b) at every point.

**Rule.**  Let a and b be copies of disjoint sets of cells of one tensor x (each cell once), of equal shape.
Then x ↦ (a, b) has norm ≤ 1, and (a, b) ↦ (max(a, b), min(a, b)) sorts each pair, which is 1-Lipschitz
(Hardy, Littlewood, Pólya 1934, sec. 10.2).  So the whole has constant ≤ 1; gains would say √2·√2.

**Reductions.**  The same with maximum and minimum over an axis of m ≥ 2 entries: they are two different
entries of the sorted fibre.  (For m = 1 both are x, and the constant is √2: not this rule.)

Premises are checked on the graph: the cells behind a and b are found by pushing indices through the
moves between x and them (`Relayout.sources`), and must be disjoint.  Max and min may stand in either
order, concatenated or stacked; broadcasting between a and b is excluded by the equal shapes.

MaxMin / GroupSort: Chernodub, Nowicki (2016), arXiv 1604.01682; Anil, Lucas, Grosse (2019), ICML.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import BoundMap, Gain, Node, Shape
from lipaudit.ops.arithmetic import Extremum
from lipaudit.ops.concat import Concat
from lipaudit.ops.reduction import ReduceExtremum
from lipaudit.ops.shape import Relayout
from lipaudit.ops.spec import Exact
from lipaudit.passes.edit import edited, subfunction

__all__ = ["PairSort", "sort_pairs"]


@dataclass(frozen=True, slots=True, eq=False)
class PairSort(Exact):
    """The recognised part of the graph as one op with gain 1."""

    function: Callable[[Tensor], Tensor]
    name: str = "max_min"

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        return self.function(xs[0])

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """1."""
        del shapes, spectral
        return Gain.of(1.0, "sorting")


def sort_pairs(graph: LayerGraph) -> LayerGraph:
    """The same function with every MaxMin as one op."""
    for name in [node.name for node in graph if isinstance(node.op, Concat)]:
        node = graph.node(name)
        found = None if node is None else _sorted_source(graph, node)
        if node is not None and found is not None:
            source, function = found
            graph = edited(graph, {name: replace(node, op=PairSort(function), inputs=(source,))})
    return graph


def _sorted_source(graph: LayerGraph, node: Node) -> tuple[str, Callable[[Tensor], Tensor]] | None:
    if not isinstance(node.op, Concat) or len(node.inputs) != 2 or None not in node.op.parts:
        return None
    if any(part is not None for part in node.op.parts):
        return None
    # Views between max, min and the concatenation keep the cells apart.
    first, second = (_past_views(graph, name) for name in node.inputs)
    if first is None or second is None:
        return None
    source = _pair_source(graph, first, second) or _group_source(first, second)
    if source is None:
        return None
    return source, subfunction(graph, source, node)


def _past_views(graph: LayerGraph, name: str) -> Node | None:
    node = graph.node(name)
    while node is not None and isinstance(node.op, Relayout):
        shape = graph.shape_of(node.inputs[0])
        if math.prod(shape) != math.prod(node.shape) or node.op.most_copies(shape) != 1:
            return None
        node = graph.node(node.inputs[0])
    return node


def _group_source(first: Node, second: Node) -> str | None:
    """Maximum and minimum over the same axes of one tensor, at least two entries each."""
    a, b = first.op, second.op
    if not isinstance(a, ReduceExtremum) or not isinstance(b, ReduceExtremum):
        return None
    same = first.inputs == second.inputs and set(a.dims) == set(b.dims)
    return first.inputs[0] if same and a.largest != b.largest and a.terms >= 2 else None


def _pair_source(graph: LayerGraph, first: Node, second: Node) -> str | None:
    """max(a, b) and min(a, b) of two disjoint selections of one tensor."""
    a, b = first.op, second.op
    if not isinstance(a, Extremum) or not isinstance(b, Extremum) or a.largest == b.largest:
        return None
    if set(first.inputs) != set(second.inputs) or len(set(first.inputs)) != 2:
        return None
    left, right = first.inputs
    if graph.shape_of(left) != graph.shape_of(right) or graph.shape_of(left) != first.shape:
        return None
    for source in _ancestors(graph, left):
        cells = [_cells(graph, source, name) for name in (left, right)]
        if cells[0] is None or cells[1] is None:
            continue
        both = torch.cat([c.flatten() for c in cells if c is not None])
        if bool((both >= 0).all()) and len(both.unique()) == len(both):
            return source
    return None


def _ancestors(graph: LayerGraph, name: str) -> list[str]:
    """The value and what it was moved from, nearest first."""
    found = [name]
    node = graph.node(name)
    while node is not None and isinstance(node.op, Relayout):
        found.append(node.inputs[0])
        node = graph.node(node.inputs[0])
    return found


def _cells(graph: LayerGraph, source: str, name: str) -> Tensor | None:
    """Which cells of `source` the value `name` copies, if only moves lie between them."""
    path: list[Node] = []
    while name != source:
        node = graph.node(name)
        if node is None or not isinstance(node.op, Relayout):
            return None
        path.append(node)
        name = node.inputs[0]
    shape = graph.shape_of(source)
    cells = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64).reshape(shape)
    for node in reversed(path):
        if isinstance(node.op, Relayout):
            cells = node.op.trace(cells)
    return cells.long() - 1
