"""A linear part of a graph as a block diagonal matrix, found cell by cell.

Two input cells are *joined* if some step sums over both (a product with a constant sums over some axes, a sum
of tensors over their equal places).  Let the classes of that relation be closed under transitivity.  Then

    every output cell depends on the input cells of one class only,

so the map is a direct sum of the matrices of its classes, and its norm is the largest of theirs.

Proof.  By induction over the steps each cell of each value has such a class: a move hands the class on, a sum
joins the classes of its terms, a constant 0 has none. ∎  The entries of constants are not looked at.

The matrices of all classes are read off together: the j-th cells of all classes are set to 1, everything
else to 0, and what the part makes of that holds the j-th columns of all of them.  Each run's rounding error
is bounded by the errors that the steps promise, so the sum of squares bounds ‖M − fl M‖_F².
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.bound import Bound
from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node, Shape
from lipaudit.ops.arithmetic import Affine, Sum
from lipaudit.ops.concat import Concat
from lipaudit.ops.contraction import Contraction, indices_of
from lipaudit.ops.linear import Linear
from lipaudit.ops.shape import Relayout
from lipaudit.passes.edit import subfunction
from lipaudit.rounding import add_up, div_down, mul_up, sqrt_up
from lipaudit.spectral.maps import Dense, LinearMap
from lipaudit.spectral.schur import schur_bound
from lipaudit.spectral.search import largest_norm

__all__ = ["Blocks", "blocks_between", "carried_error", "is_linear", "source_of"]

LARGEST = 2**27
"""Entries of all matrices together: 1 GiB."""
WIDEST = 8192
"""Columns of one matrix, each of which takes a run."""
AT_ONCE = 2**24
"""Entries of the inputs of the runs that are made together, and of the matrices that are proved together."""


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """The part between two values.

    Args:
        function: of one sample.
        shape: of its input.
        columns: (cells,) of the input: how many cells of its class come before.
        class_in: (cells,) the class of each input cell, counted from 0.
        class_out: (cells,) the class of each output cell; −1 for a constant 0.
        rounding: c with ‖fl f(x) − f(x)‖ ≤ c(‖x‖ + 1) for computed x.
    """

    function: Callable[[Tensor], Tensor]
    shape: Shape
    columns: Tensor
    class_in: Tensor
    class_out: Tensor
    rounding: float

    def weighed(self, weights: Tensor, device: torch.device) -> Tensor:
        """Weights of the output cells for weights of the input cells: ‖f(x) − f(y)‖_w′ ≤ ‖x − y‖_w.

        The least weight of a class goes to its output, divided by g², where g bounds the norms of all classes
        that have the same weight and as many rows.  Cells that are constant weigh infinitely much.
        """
        classes = int(self.class_in.max()) + 1
        least = torch.full((classes,), torch.inf, dtype=torch.float64)
        least = least.scatter_reduce(0, self.class_in, weights.flatten(), "amin")
        matrices, error = self.matrices(device)
        per_chunk = max(1, AT_ONCE // max(1, math.prod(matrices.shape[1:])))
        rows = torch.bincount(self.class_out[self.class_out >= 0], minlength=classes).double()
        alike, group = torch.unique(torch.stack([least, rows]), dim=1, return_inverse=True)
        heavy = torch.full((classes,), torch.inf, dtype=torch.float64)
        for index, weight in enumerate(alike[0].tolist()):
            chosen = matrices[(group == index).to(device)]
            norm = add_up(largest_norm(chosen.split(per_chunk)), error)
            if norm > 0 and weight < math.inf:
                heavy[group == index] = div_down(weight, mul_up(norm, norm))
        return torch.where(self.class_out >= 0, heavy[self.class_out.clamp(min=0)], torch.inf)

    def matrices(self, device: torch.device) -> tuple[Tensor, float]:
        """(classes, rows, columns) float64, filled up with zeros, and a bound of ‖M − fl M‖_F."""
        classes, width = int(self.class_in.max()) + 1, int(self.columns.max()) + 1
        live = (self.class_out >= 0).nonzero().flatten()
        rows, height = places(self.class_out[live], classes)
        made = torch.zeros(classes, height, width, dtype=torch.float64, device=device)
        at_once = max(1, AT_ONCE // len(self.class_in))
        squares = []
        for start in range(0, width, at_once):
            stop = min(start + at_once, width)
            chosen = ((self.columns >= start) & (self.columns < stop)).nonzero().flatten()
            x = torch.zeros(stop - start, len(self.class_in), dtype=torch.float64, device=device)
            x[(self.columns[chosen] - start).to(device), chosen.to(device)] = 1.0
            squares += [float(n) for n in x.sum(1)]
            y = torch.vmap(lambda row: self.function(row.reshape(self.shape)).flatten())(x)
            index = (self.class_out[live].to(device), rows.to(device))
            made[index[0], index[1], start:stop] = y[:, live.to(device)].T
        errors = [mul_up(self.rounding, add_up(sqrt_up(n), 1.0)) for n in squares]
        return made, sqrt_up(add_up(*(mul_up(e, e) for e in errors)))


def places(classes: Tensor, count: int) -> tuple[Tensor, int]:
    """For each entry, how many of its class come before it; and how many a class has at most."""
    order = torch.argsort(classes, stable=True)
    sizes = torch.bincount(classes, minlength=count)
    starts = sizes.cumsum(0) - sizes
    found = torch.empty_like(classes)
    found[order] = torch.arange(len(classes)) - starts[classes[order]]
    return found, int(sizes.max()) if len(classes) else 0


def is_linear(node: Node) -> bool:
    """Whether `_classes` knows this step, and it adds no constant."""
    op = node.op
    if isinstance(op, Relayout):
        return op.attributes.get("mode") != "constant"
    if isinstance(op, Affine):
        return not bool(op.shift.any()) and not (op.shift_size is not None and bool(op.shift_size.any()))
    if isinstance(op, Linear):
        return op.bias is None or not bool(op.bias.any())
    if isinstance(op, Concat):
        return not any(part is not None and bool(part.any()) for part in op.parts)
    return isinstance(op, Contraction | Sum)


def source_of(graph: LayerGraph, name: str) -> str | None:
    """The one value from which linear steps alone lead to `name`; None if there are several."""
    ends: set[str] = set()
    waiting, seen = [name], {name}
    while waiting:
        at = waiting.pop()
        node = graph.node(at)
        if node is None or not is_linear(node):
            ends.add(at)
            continue
        fresh = set(node.inputs) - seen
        seen |= fresh
        waiting += fresh
    end = ends.pop()
    return None if ends or end == name else end


def between(graph: LayerGraph, source: str, end: Node) -> list[Node]:
    """The nodes after the value `source` that `end` needs, in order."""
    needed, wanted = [], {end.name}
    for node in reversed(graph.nodes):
        if node.name in wanted and node.name != source:
            needed.append(node)
            wanted.update(name for name in node.inputs if name != source)
    return needed[::-1]


def blocks_between(graph: LayerGraph, source: str, end: Node) -> Blocks | None:
    """The linear part from `source` to `end`; None if its matrices are too large."""
    shape = graph.shape_of(source)
    cells = math.prod(shape)
    found = {source: torch.arange(cells).reshape(shape)}
    joined: list[tuple[Tensor, Tensor]] = []
    steps = between(graph, source, end)
    for node in steps:
        found[node.name] = _classes(node, [found[name] for name in node.inputs], joined)
    roots = _closed(cells, joined)
    _, class_in = torch.unique(roots, return_inverse=True)
    last = found[end.name].flatten()
    class_out = torch.where(last >= 0, class_in[last.clamp(min=0)], -1)
    count = int(class_in.max()) + 1
    columns, width = places(class_in, count)
    _, height = places(class_out[class_out >= 0], count)
    if width > WIDEST or count * width * height > LARGEST:
        return None
    _, rounding = carried_error(graph, source, steps)
    return Blocks(subfunction(graph, source, end), shape, columns, class_in, class_out, rounding)


def _classes(node: Node, inputs: Sequence[Tensor], joined: list[tuple[Tensor, Tensor]]) -> Tensor:
    """A member of the class of each output cell, −1 for constants; sums add to `joined`."""
    op = node.op
    if isinstance(op, Relayout):
        # Cells are numbered from 1 where 0 marks constants.
        return op.trace((inputs[0] + 1).double()).long() - 1
    if isinstance(op, Concat):
        parts = [None if part is None else torch.full(part.shape, -1) for part in op.parts]
        return Concat(op.dim, tuple(parts), op.stack).forward(*inputs)
    if isinstance(op, Affine):
        return inputs[0].expand(node.shape)
    if isinstance(op, Sum):
        first = inputs[0].expand(node.shape)
        for other in inputs[1:]:
            first = _join(torch.stack([first, other.expand(node.shape)], -1), joined)
        return first
    if isinstance(op, Linear):
        return _join(inputs[0], joined)[..., None].expand(node.shape)
    if not isinstance(op, Contraction):
        msg = f"{node.name} is no linear step"
        raise TypeError(msg)
    live, constant, result = indices_of(op.equation)
    summed = [place for place, index in enumerate(live) if index not in result]
    kept = [place for place, index in enumerate(live) if index in result]
    rows = inputs[0].reshape(op.live).permute(*kept, *summed)
    whole = _join(rows.reshape([op.live[place] for place in kept] + [-1]), joined)
    made = "".join(index for index in result if index not in live)
    sizes = dict(zip(constant, op.weight.shape, strict=True))
    ones = torch.ones([sizes[index] for index in made], dtype=torch.float64)
    names = "".join(live[place] for place in kept)
    spread = torch.einsum(f"{names},{made}->{result}", whole.double(), ones)
    return spread.long().reshape(op.result)


def _join(cells: Tensor, joined: list[tuple[Tensor, Tensor]]) -> Tensor:
    """All that lie along the last axis become one class; one of them for each, −1 if there is none."""
    chosen = cells.amax(-1)
    others = chosen[..., None].expand(cells.shape)
    different = (cells >= 0) & (cells != others)
    if bool(different.any()):
        joined.append((cells[different], others[different]))
    return chosen


def _closed(cells: int, joined: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """(cells,) the smallest member of each cell's class under the transitive closure."""
    roots = torch.arange(cells)
    if not joined:
        return roots
    left, right = (torch.cat(side) for side in zip(*joined, strict=True))
    while True:
        least = torch.minimum(roots[left], roots[right])
        lower = roots.scatter_reduce(0, roots[left], least, "amin").scatter_reduce(
            0, roots[right], least, "amin"
        )
        lower = lower[lower]
        if torch.equal(lower, roots):
            return roots
        roots = lower


def carried_error(graph: LayerGraph, source: str, steps: Sequence[Node]) -> tuple[float, float]:
    """How much linear steps enlarge a value at most, and c with rounding ≤ c(‖x‖ + 1).

    Returns:
        (gain, c); both loose, from absolute values.
    """
    one = torch.ones((), dtype=torch.float64)
    sizes, errors = {source: 1.0}, {source: 0.0}
    for node in steps:
        shapes = tuple(graph.shape_of(name) for name in node.inputs)
        gains = [bound.value for bound in node.op.gain(shapes, _cheap).per_input]
        size = sum(g * sizes[name] for g, name in zip(gains, node.inputs, strict=True))
        carried = sum(g * errors[name] for g, name in zip(gains, node.inputs, strict=True))
        norms = tuple(one * (sizes[name] + errors[name]) for name in node.inputs)
        own = float(node.op.error(shapes, norms, one * (size + carried)))
        sizes[node.name], errors[node.name] = size, carried + own
    return sizes[steps[-1].name], 1.001 * errors[steps[-1].name]


def _cheap(linear_map: LinearMap) -> Bound:
    """‖|T|‖ of a matrix, which needs no proof."""
    if not isinstance(linear_map, Dense):
        return Bound.unbounded("not a matrix")
    return Bound.computed(schur_bound(linear_map), "schur")
