"""MaxMin: concat(max(a, b), min(a, b)) is a permutation of (a, b) at every point.

**Rule.**  Let a and b be copies of disjoint sets of cells of one tensor x (each cell once), of equal shape.
Then x ↦ (a, b) has norm ≤ 1, and (a, b) ↦ (max(a, b), min(a, b)) sorts each pair, which is 1-Lipschitz
(Hardy, Littlewood, Pólya 1934, sec. 10.2).  So the whole has constant ≤ 1; gains would say √2·√2.

**Reductions.**  The same with maximum and minimum over an axis of m ≥ 2 entries: they are two different
entries of the sorted fibre.  (For m = 1 both are x, and the constant is √2: not this rule.)

**Signs.**  −max(−a, −b) is min(a, b), exactly.  Signs that do not cancel so are not this rule.

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
from lipaudit.ops.arithmetic import Affine, Extremum
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
    if not isinstance(node.op, Concat) or len(node.inputs) != 2 or len(node.op.parts) != 2:
        return None
    # Views between max, min and the concatenation keep the cells apart.
    first, second = (_extremum(graph, name) for name in node.inputs)
    if first is None or second is None or first.largest == second.largest:
        return None
    source = _pair_source(graph, first, second) or _group_source(first, second)
    if source is None:
        return None
    return source, subfunction(graph, source, node)


@dataclass(frozen=True, slots=True, eq=False)
class _Extreme:
    """A maximum or minimum of values; `dims` and `terms` if over axes of one."""

    largest: bool
    of: tuple[str, ...]
    shape: Shape
    dims: frozenset[int] = frozenset()
    terms: int = 0


def _extremum(graph: LayerGraph, name: str) -> _Extreme | None:
    """The extremum behind a value, past views and one sign."""
    node, negative = graph.node(name), False
    while node is not None and not isinstance(node.op, Extremum | ReduceExtremum):
        shape = graph.shape_of(node.inputs[0])
        if isinstance(node.op, Affine):
            if negative or not _is_minus(node, shape):
                return None
            negative = True
        elif not isinstance(node.op, Relayout) or not _is_view(node, shape):
            return None
        node = graph.node(node.inputs[0])
    if node is None or not isinstance(node.op, Extremum | ReduceExtremum):
        return None
    of = [_without_minus(graph, name) if negative else name for name in node.inputs]
    known = tuple(name for name in of if name is not None)
    if len(known) < len(of):
        return None
    largest = node.op.largest != negative
    if isinstance(node.op, ReduceExtremum):
        return _Extreme(largest, known, node.shape, frozenset(node.op.dims), node.op.terms)
    return _Extreme(largest, known, node.shape)


def _is_view(node: Node, shape: Shape) -> bool:
    whole = isinstance(node.op, Relayout) and math.prod(shape) == math.prod(node.shape)
    return whole and isinstance(node.op, Relayout) and node.op.most_copies(shape) == 1


def _is_minus(node: Node, shape: Shape) -> bool:
    op = node.op
    if not isinstance(op, Affine) or op.ulps or shape != node.shape:
        return False
    return bool((op.scale == -1).all()) and not bool(op.shift.any())


def _without_minus(graph: LayerGraph, name: str) -> str | None:
    """x of a value −x."""
    node = graph.node(name)
    minus = node is not None and _is_minus(node, graph.shape_of(node.inputs[0]))
    return node.inputs[0] if node is not None and minus else None


def _group_source(first: _Extreme, second: _Extreme) -> str | None:
    """Maximum and minimum over the same axes of one tensor, at least two entries each."""
    same = first.of == second.of and first.dims == second.dims
    return first.of[0] if same and min(first.terms, second.terms) >= 2 else None


def _pair_source(graph: LayerGraph, first: _Extreme, second: _Extreme) -> str | None:
    """max(a, b) and min(a, b) of two disjoint selections of one tensor."""
    if set(first.of) != set(second.of) or len(set(first.of)) != 2 or first.dims or second.dims:
        return None
    left, right = first.of
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
