"""Reading a part of a graph as linear pieces: what each cell is on the two sides of a line, and on it.

Every value between a tensor z and a node is written down, cell by cell, as

    Σ cₖ z[iₖ]  below, on and above the line t·z = 0,   t with two entries z[lo], z[hi],

as far as moves, constant factors, sums, comparisons with 0 or with each other, `where`, products with a
comparison's outcome and concatenations go.  Anything else, an offset, two different lines in one cell, or a
product of constants that float64 would round, ends the reading: what is returned is exact.

A comparison is not believed by its name: it is run on −1, 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node, Op, Unsupported
from lipaudit.ops.arithmetic import Affine, Sum
from lipaudit.ops.concat import Concat
from lipaudit.ops.shape import Relayout

__all__ = ["Line", "Pieces", "Term", "is_comparison", "is_step", "read_pieces"]

COMPARISONS = tuple(
    f"aten.{name}.{kind}" for name in ("gt", "ge", "lt", "le") for kind in ("Scalar", "Tensor")
)
NEGATIONS = ("aten.logical_not.default", "aten.bitwise_not.default")
WHERE, PRODUCT = "aten.where.self", "aten.mul.Tensor"
LARGEST_EXPONENT = 100
"""Factors lie within 2^±300: nothing over- or underflows in a few products."""


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """`factor` ∘ z[`cells`]: flat indices into z (int64) and float64 factors, of one shape."""

    cells: Tensor
    factor: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """For each cell the line at_lo·z[lo] + at_hi·z[hi] = 0, lo < hi; its first factor except 0 is > 0."""

    lo: Tensor
    hi: Tensor
    at_lo: Tensor
    at_hi: Tensor

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Line:
        """The same function of all four."""
        return Line(function(self.lo), function(self.hi), function(self.at_lo), function(self.at_hi))

    def same(self, other: Line) -> bool:
        """Whether they are equal in every cell."""
        pairs = zip(self.parts(), other.parts(), strict=True)
        return all(torch.equal(a, b) for a, b in pairs)

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All four."""
        return self.lo, self.hi, self.at_lo, self.at_hi


Sides = tuple[tuple[Term, ...], tuple[Term, ...], tuple[Term, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """A value: its terms below, on and above `line` (None: the same everywhere)."""

    sides: Sides
    line: Line | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """The outcome of a comparison: 0, 1 or −1 per cell below, on and above `line`."""

    values: tuple[Tensor, Tensor, Tensor]
    line: Line


Value = Pieces | Mask


def is_comparison(op: Op) -> bool:
    """Whether an op compares."""
    return isinstance(op, Unsupported) and op.target in COMPARISONS


def is_step(op: Op) -> bool:
    """Whether an op may stand in such a part of a graph."""
    known = (*COMPARISONS, *NEGATIONS, WHERE, PRODUCT)
    return type(op) in STEPS and (not isinstance(op, Unsupported) or op.target in known)


def read_pieces(graph: LayerGraph, nodes: list[Node], source: str) -> Pieces | None:
    """The value of the last of `nodes` as pieces over the value `source`; None if it cannot be read.

    Args:
        graph: that holds them.
        nodes: in graph order; all inputs are among them, or `source`.
        source: the name of z.
    """
    shape = graph.shape_of(source)
    cells = torch.arange(prod(shape)).reshape(shape)
    whole = (Term(cells, torch.ones(shape, dtype=torch.float64)),)
    values: dict[str, Value] = {source: Pieces((whole, whole, whole))}
    for node in nodes:
        if not is_step(node.op):
            return None
        found = STEPS[type(node.op)](node, graph, values)
        if found is None:
            return None
        values[node.name] = found
    last = values[nodes[-1].name]
    return last if isinstance(last, Pieces) else None


def _mapped(value: Value, function: Callable[[Tensor], Tensor]) -> Value:
    """A move applied to everything that is known of a value."""
    line = None if value.line is None else value.line.mapped(function)
    if isinstance(value, Mask):
        below, on, above = (function(v) for v in value.values)
        return replace(value, values=(below, on, above), line=line or value.line)
    return Pieces(_each(value, lambda term: Term(function(term.cells), function(term.factor))), line)


def _each(value: Pieces, change: Callable[[Term], Term]) -> Sides:
    below, on, above = (tuple(change(term) for term in side) for side in value.sides)
    return below, on, above


def _moved(node: Node, graph: LayerGraph, values: Mapping[str, Value]) -> Value | None:
    if not isinstance(node.op, Relayout):
        return None
    sources = node.op.sources(graph.shape_of(node.inputs[0]))
    if bool((sources < 0).any()):
        return None
    return _mapped(values[node.inputs[0]], lambda t: t.flatten()[sources.flatten()].reshape(sources.shape))


def _scaled(node: Node, graph: LayerGraph, values: Mapping[str, Value]) -> Value | None:
    op, value = node.op, values[node.inputs[0]]
    if not isinstance(op, Affine) or op.ulps or graph.shape_of(node.inputs[0]) != node.shape:
        return None
    scale, shift = op.scale.cpu().expand(node.shape), op.shift.cpu().expand(node.shape)
    if isinstance(value, Mask):
        below, on, above = (v * scale + shift for v in value.values)
        whole = all(bool(((v == 0) | (v.abs() == 1)).all()) for v in (below, on, above))
        return Mask((below, on, above), value.line) if whole else None
    if bool(shift.any()):
        return None
    exact = all(_is_exact(term.factor, scale) for side in value.sides for term in side)
    return replace(value, sides=_times(value, scale)) if exact else None


def _times(value: Pieces, scale: Tensor) -> Sides:
    return _each(value, lambda term: Term(term.cells, term.factor * scale))


def _is_exact(one: Tensor, other: Tensor) -> bool:
    """Whether the product is not rounded: one of two factors is 0 or ± a power of two, both of sane size."""
    sane = all(
        bool(((x == 0) | ((x.abs() >= 2.0**-LARGEST_EXPONENT) & (x.abs() <= 2.0**LARGEST_EXPONENT))).all())
        for x in (one, other)
    )
    simple = [(x == 0) | (torch.frexp(x).mantissa.abs() == 0.5) for x in (one, other)]
    return sane and bool((simple[0] | simple[1]).all())


def _added(node: Node, graph: LayerGraph, values: Mapping[str, Value]) -> Value | None:
    if not isinstance(node.op, Sum) or any(graph.shape_of(name) != node.shape for name in node.inputs):
        return None
    parts: list[Pieces] = []
    for name, factor in zip(node.inputs, node.op.factors, strict=True):
        part, scale = values[name], torch.tensor(factor, dtype=torch.float64)
        if isinstance(part, Mask) or not all(_is_exact(t.factor, scale) for side in part.sides for t in side):
            return None
        parts.append(replace(part, sides=_times(part, scale)))
    return _sum(parts)


def _sum(parts: list[Pieces]) -> Pieces | None:
    """Terms of all, if they know at most one line."""
    lines = [part.line for part in parts if part.line is not None]
    if any(not lines[0].same(line) for line in lines[1:]):
        return None
    below, on, above = (tuple(term for part in parts for term in part.sides[k]) for k in range(3))
    return Pieces((below, on, above), lines[0] if lines else None)


def _joined(node: Node, graph: LayerGraph, values: Mapping[str, Value]) -> Value | None:
    del graph
    op, parts = node.op, [values[name] for name in node.inputs]
    if not isinstance(op, Concat) or any(part is not None for part in op.parts):
        return None
    pieces = [part for part in parts if isinstance(part, Pieces)]
    lines = [part.line for part in pieces if part.line is not None]
    if len(pieces) < len(parts) or len(lines) < len(parts):
        return None
    join = torch.stack if op.stack else torch.cat
    sides: list[tuple[Term, ...]] = []
    for k in range(3):
        most = max(len(part.sides[k]) for part in pieces)
        rows = [_padded(part, k, most) for part in pieces]
        sides.append(
            tuple(
                Term(join([r[i].cells for r in rows], op.dim), join([r[i].factor for r in rows], op.dim))
                for i in range(most)
            )
        )
    lo, hi, at_lo, at_hi = (
        join(list(t), op.dim) for t in zip(*(line.parts() for line in lines), strict=True)
    )
    return Pieces((sides[0], sides[1], sides[2]), Line(lo, hi, at_lo, at_hi))


def _padded(part: Pieces, side: int, most: int) -> tuple[Term, ...]:
    """The terms of one side, and zeros."""
    terms = part.sides[side]
    cells = part.line.lo if part.line is not None else terms[0].cells
    nothing = Term(cells, torch.zeros(cells.shape, dtype=torch.float64))
    return (*terms, *[nothing] * (most - len(terms)))


def _chosen(node: Node, graph: LayerGraph, values: Mapping[str, Value]) -> Value | None:
    """Comparisons, their negations, and what is chosen by them."""
    op = node.op
    if not isinstance(op, Unsupported) or any(graph.shape_of(name) != node.shape for name in node.inputs):
        return None
    parts = [values[name] for name in node.inputs]
    if op.target in COMPARISONS:
        return _compared(node, op, parts)
    return CHOICES[op.target](parts)


def _negated(parts: list[Value]) -> Value | None:
    mask = parts[0]
    return _complement(mask) if isinstance(mask, Mask) and _is_binary(mask) else None


def _product(parts: list[Value]) -> Value | None:
    if len(parts) != 2:
        return None
    mask, other = parts if isinstance(parts[0], Mask) else parts[::-1]
    return _masked(mask, other) if isinstance(mask, Mask) and isinstance(other, Pieces) else None


def _where(parts: list[Value]) -> Value | None:
    """Three live operands are the condition and what it chooses from, in this order."""
    if len(parts) != 3:
        return None
    mask, first, second = parts
    if not isinstance(mask, Mask) or isinstance(first, Mask) or isinstance(second, Mask):
        return None
    chosen = [_masked(mask, first), _masked(_complement(mask), second)]
    known = [part for part in chosen if part is not None]
    return _sum(known) if len(known) == 2 and _is_binary(mask) else None


def _complement(mask: Mask) -> Mask:
    below, on, above = (1 - v for v in mask.values)
    return replace(mask, values=(below, on, above))


def _is_binary(mask: Mask) -> bool:
    return all(bool(((v == 0) | (v == 1)).all()) for v in mask.values)


def _masked(mask: Mask, value: Pieces) -> Pieces | None:
    if value.line is not None and not value.line.same(mask.line):
        return None
    sides = [
        tuple(Term(term.cells, term.factor * chosen) for term in side)
        for side, chosen in zip(value.sides, mask.values, strict=True)
    ]
    return Pieces((sides[0], sides[1], sides[2]), mask.line)


def _compared(node: Node, op: Unsupported, parts: list[Value]) -> Mask | None:
    """What it says where its left side, less its right one, is −1, 0 and 1."""
    linear = [part for part in parts if isinstance(part, Pieces) and part.line is None]
    zero = torch.zeros(node.shape, dtype=torch.float64)
    if len(linear) < len(parts) or (len(parts) == 1 and op.constants != (0.0,)):
        return None
    if len(parts) == 2:
        terms = (*linear[0].sides[0], *(Term(t.cells, -t.factor) for t in linear[1].sides[0]))
        said = [op.forward(zero + v, zero) for v in (-1.0, 0.0, 1.0)]
    elif len(parts) == 1:
        terms = linear[0].sides[0]
        said = [op.forward(zero + v) for v in (-1.0, 0.0, 1.0)]
    else:
        return None
    found = _line(terms)
    if found is None:
        return None
    line, turned = found
    below, on, above = (value.to(torch.float64) for value in said)
    return Mask((torch.where(turned, above, below), on, torch.where(turned, below, above)), line)


def _line(terms: tuple[Term, ...]) -> tuple[Line, Tensor] | None:
    """The line where a linear value vanishes, and where its sign was turned."""
    cells = torch.stack([term.cells for term in terms])
    factors = torch.stack([term.factor for term in terms])
    lo, hi = cells.min(0).values, cells.max(0).values
    used = factors != 0
    each = [((cells == end) & used) for end in (lo, hi)]
    if bool((lo == hi).any()) or bool((each[0] | each[1] | ~used).logical_not().any()):
        return None
    if any(bool((e.sum(0) > 1).any()) for e in each):
        return None
    at_lo, at_hi = ((factors * e).sum(0) for e in each)
    leading = torch.where(at_lo != 0, at_lo, at_hi)
    if bool((leading == 0).any()):
        return None
    sign = leading.sign()
    return Line(lo, hi, at_lo * sign, at_hi * sign), sign < 0


STEPS: dict[type, Callable[[Node, LayerGraph, Mapping[str, Value]], Value | None]] = {
    Relayout: _moved,
    Affine: _scaled,
    Sum: _added,
    Concat: _joined,
    Unsupported: _chosen,
}
CHOICES: dict[str, Callable[[list[Value]], Value | None]] = {
    **dict.fromkeys(NEGATIONS, _negated),
    WHERE: _where,
    PRODUCT: _product,
}
