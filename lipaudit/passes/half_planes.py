"""Pairs of entries that are mapped linearly on either side of a line.

Householder activations are, and max and min written with `where`.

**Rule.**  Let a pair z = (z₁, z₂) go to Az where t·z < 0 and to Bz where t·z > 0 (2×2 matrices and t as
stored; on the line, each entry as on one of the sides).  With D = B − A, R = Dttᵀ/tᵀt and J = D − R,

    g(z) = Az + [t·z > 0]·Rz        has constant max(‖A‖, ‖A + R‖),
    the stored function is g(z) + [t·z > 0]·Jz,     and ‖Jz‖ ≤ ‖J‖_F ‖z‖.

Proof.  R vanishes on the line, so g is continuous.  A segment crosses the line at most once, at p, and
‖g(x) − g(y)‖ ≤ ‖A‖‖x − p‖ + ‖A + R‖‖p − y‖.  Of disjoint pairs the squares add up: the largest constant
counts.  By symmetry g(z) = Bz − [t·z < 0]·Rz may be taken; the smaller constant is.  A, B, t and R are
rational; the largest eigenvalue of MᵀM, (s + √(s² − 4 det²M))/2 with s = ‖M‖_F², is rounded up.

**The jump.**  J = 0 says that the pieces agree on the line: max and min written with `where` do.  A
Householder activation, z ↦ z or (I − 2vvᵀ)z with v = (sin θ/2, −cos θ/2), agrees for real sines; with
those of float32 the pieces part by 1e-7 ‖z‖, and the function f of the stored numbers has no Lipschitz
constant.  With c the constant of g and j = ‖J‖_F, for all z and z'

    ‖f(z') − f(z)‖ ≤ c‖z' − z‖ + j‖z'‖ + j‖z‖ ≤ (c + j)‖z' − z‖ + 2j‖z‖.

So c + j is the gain, and 2j‖z‖ counts as the layer's rounding error: a radius around z, from which that error
is taken first, is one for f itself.  A note says so.  A jump of more than 2⁻²¹ of the constant is more than
float32 rounds, and is refused.

**Rounding.**  With D nodes, no more than 2D + 8 roundings lie between z and a value, so each entry errs
by γ·Σ|c||z|.  Where rounding puts z on the wrong side, |t·z| ≤ γ(|t₁| + |t₂|)‖z‖ and what underflows, and
the pieces of g differ there by ‖Rz‖ ≤ ‖D‖_F |t·z|/‖t‖ ≤ 2γ‖D‖_F ‖z‖.

Householder activations: Singla, Singla, Feizi (2021), arXiv 2108.04062, sec. 5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import inf, prod, sqrt

import torch
from torch import Tensor

from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import BoundMap, Gain, Node, Shape, Unsupported
from lipaudit.ops.concat import Concat
from lipaudit.passes.edit import edited, subfunction
from lipaudit.passes.pieces import Line, Pieces, Term, is_comparison, is_step, read_pieces
from lipaudit.rounding import UNDERFLOW, add_up, gamma, sqrt_up, up

__all__ = ["LARGEST_JUMP", "HalfPlanes", "half_planes"]

LARGEST_JUMP = 2.0**-21
"""Relative to the constant: eight roundings of float32."""
LARGEST_PART = 64
"""Nodes in a part of a graph that is read."""
MOST_CELLS = 1 << 24
MOST_KINDS = 4096
"""Pairs of different constants; there are as many as channels."""


@dataclass(frozen=True, slots=True, eq=False)
class HalfPlanes:
    """The recognised part of the graph as one op.

    Args:
        function: what runs, as it was written.
        constant: of the continuous function g.
        jump: ‖J‖_F, the largest of all pairs.
        rough: by how much rounding may move a value, relative to ‖z‖.
    """

    function: Callable[[Tensor], Tensor]
    constant: float
    jump: float
    rough: float
    name: str = "half_planes"

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        return self.function(xs[0])

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """c + j."""
        del shapes, spectral
        return Gain.of(add_up(self.constant, self.jump), "half-planes")

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """2j‖z‖, and what is rounded."""
        del out
        return add_up(self.jump, self.jump, self.rough) * 1.001 * norms[0] + sqrt(prod(shapes[0])) * UNDERFLOW


def half_planes(graph: LayerGraph) -> LayerGraph:
    """The same function with every such part as one op."""
    for name in [node.name for node in graph if isinstance(node.op, Concat)]:
        node = graph.node(name)
        if node is None:
            continue
        for source, nodes in _parts(graph, node):
            pieces = read_pieces(graph, nodes, source)
            kinds = None if pieces is None else _kinds(pieces)
            if kinds is not None:
                graph = _rewritten(graph, node, (source, nodes), kinds)
                break
    return graph


def _parts(graph: LayerGraph, end: Node) -> list[tuple[str, list[Node]]]:
    """Values from which all of `end` is made by a few known steps, nearest first, with those steps."""
    reached = {end.name}
    order: list[Node] = []
    for node in reversed(graph.nodes):
        if node.name in reached and is_step(node.op) and len(order) < LARGEST_PART:
            order.append(node)
            reached.update(node.inputs)
    if not any(is_comparison(node.op) for node in order):
        return []
    found = []
    for source in dict.fromkeys(name for node in order for name in node.inputs):
        part = _between(graph, source, end)
        if part is not None and prod(graph.shape_of(source)) <= MOST_CELLS:
            found.append((source, part))
    return found


def _between(graph: LayerGraph, source: str, end: Node) -> list[Node] | None:
    """The nodes from `source` to `end` in order, if all are steps and nothing else enters."""
    wanted = {end.name}
    part: list[Node] = []
    for node in reversed(graph.nodes):
        if node.name in wanted and node.name != source:
            if not is_step(node.op) or len(part) >= LARGEST_PART:
                return None
            part.append(node)
            wanted.update(node.inputs)
    return None if INPUT in wanted and source != INPUT else part[::-1]


def _rewritten(graph: LayerGraph, node: Node, part: tuple[str, list[Node]], kinds: Tensor) -> LayerGraph:
    source, nodes = part
    function = subfunction(graph, source, node)
    constant = jump = size = 0.0
    for row in kinds.tolist():
        found = _constants(*map(Fraction, row))
        constant, jump, size = (max(old, new) for old, new in zip((constant, jump, size), found, strict=True))
    op: HalfPlanes | Unsupported = HalfPlanes(
        function, constant, jump, gamma(2 * len(nodes) + 8) * size * 1.001
    )
    note = ""
    if not constant < inf or jump > LARGEST_JUMP * constant:
        why = f"its two pieces differ by {jump:.1e} of their input on the line between them: a jump"
        op = Unsupported("half_planes", why, function)
    elif jump > 0:
        note = (
            f"{node.name}: rounded constants part its two pieces by {jump:.1e} of its input at most; the "
            "bound is that of the continuous function, and the difference counts as rounding"
        )
    return edited(graph, {node.name: replace(node, op=op, inputs=(source,))}, note=note)


def _kinds(pieces: Pieces) -> Tensor | None:
    """t, A and B of all pairs, each kind once: (kinds, 10).  None unless the cells are disjoint pairs."""
    if pieces.line is None or not pieces.line.lo.numel():
        return None
    line = pieces.line.mapped(torch.flatten)
    rows = [_row(side, line) for side in pieces.sides]
    below, on, above = rows
    if below is None or on is None or above is None:
        return None
    if not bool(((on == below).all(1) | (on == above).all(1)).all()):
        return None
    order = torch.argsort(line.lo * (int(line.hi.max()) + 1) + line.hi, stable=True)
    if len(order) % 2:
        return None
    ends = torch.stack([line.lo, line.hi], 1)[order].reshape(-1, 2, 2)
    tests = torch.stack([line.at_lo, line.at_hi], 1)[order].reshape(-1, 2, 2)
    lone = len(ends[:, 0].flatten().unique()) == ends[:, 0].numel()
    if not lone or not torch.equal(ends[:, 0], ends[:, 1]) or not torch.equal(tests[:, 0], tests[:, 1]):
        return None
    table = torch.cat([tests[:, 0], *(m[order].reshape(-1, 4) for m in (below, above))], 1)
    kinds = table.unique(dim=0)
    return kinds if len(kinds) <= MOST_KINDS else None


def _row(side: tuple[Term, ...], line: Line) -> Tensor | None:
    """Factors of z[lo] and z[hi] in each output cell, (cells, 2).

    None if other cells enter, or if two terms of one cell would have to be added.
    """
    total = torch.zeros(len(line.lo), 2, dtype=torch.float64)
    for term in side:
        cells, factor = term.cells.flatten(), term.factor.flatten()
        at = torch.stack([cells == line.lo, cells == line.hi], 1)
        if not bool(at.any(1)[factor != 0].all()):
            return None
        added = torch.where(at, factor[:, None], 0.0)
        if bool(((added != 0) & (total != 0)).any()):
            return None
        total = total + added
    return total


def _constants(*row: Fraction) -> tuple[float, float, float]:
    """Constant and jump of one kind of pair, and the size that roundings are relative to; all rounded up."""
    t, a, b = row[:2], row[2:6], row[6:]
    length = t[0] ** 2 + t[1] ** 2
    d = [y - x for x, y in zip(a, b, strict=True)]
    along = [(d[2 * i] * t[0] + d[2 * i + 1] * t[1]) / length for i in range(2)]
    r = [along[i] * t[j] for i in range(2) for j in range(2)]
    from_a = max(_norm(a), _norm([x + y for x, y in zip(a, r, strict=True)]))
    from_b = max(_norm(b), _norm([x - y for x, y in zip(b, r, strict=True)]))
    jump = _frobenius([x - y for x, y in zip(d, r, strict=True)])
    size = up(sum((abs(x) for x in (*a, *b)), Fraction(0)))
    return min(from_a, from_b), jump, add_up(size, 2 * _frobenius(d))


def _norm(m: list[Fraction] | tuple[Fraction, ...]) -> float:
    """‖M‖ of a 2×2 matrix."""
    s, determinant = sum((x * x for x in m), Fraction(0)), m[0] * m[3] - m[1] * m[2]
    root = sqrt_up(up(s * s - 4 * determinant**2))
    return sqrt_up(up((s + Fraction(root)) / 2)) if root < inf else inf


def _frobenius(m: list[Fraction]) -> float:
    return sqrt_up(up(sum((x * x for x in m), Fraction(0))))
