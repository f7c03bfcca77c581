"""The matrix inequality of a region, one Hermitian matrix per frequency.

Let y = Hx + Gz, u = Wx + Vz, z = φ(u) entrywise with slopes in [0, 1] (differences of two inputs, so without
biases).  For every diagonal Λ ≥ 0:  (u − z)ᵀΛz ≥ 0.  Hence ‖y‖² ≤ ρ‖x‖² whenever the quadratic form

    ρ‖x‖² − ‖y‖² − 2(u − z)ᵀΛz                                                                  (1)

is non-negative for all x and z; taking Schur complements, if ρ > 0 and

    M = [S  Gᵀ; G  I] − FFᵀ/ρ ⪰ 0,      S = 2Λ − ΛV − (ΛV)ᵀ,      F = [−ΛW; H].                     (2)

**Convolutions.**  All maps are regrouped for the coarsest stride, so that they are stride-1 convolutions of
cells; put the images on a cycle of N cells per axis, where N ≥ (cells of any image) + (largest offset).  Then
every map T of the region is P·C·E with a circulant C, E the embedding of the image and P the restriction
(cells outside meet zeros only, and do not wrap onto the image).  (1) is linear in W and V, each beside a
diagonal that commutes with E and P, and ‖y‖ = ‖P(…)‖ ≤ ‖…‖: if (1) holds for the circulants, it does so on
the embedded x and z.  Circulants are diagonal in frequency: (2) at every ω of the grid suffices.  A region
whose padding is circular and whose strides divide its images is itself such a circulant, with N its cells.

**Rounding.**  D·M·D ⪰ 0 for D of powers of two says the same; with it all diagonals are near 1.  A stored
tap errs by γ_m relatively (m = its ulps and the products with Λ, 1/√ρ and factors), a symbol of T taps on D
axes by 2γ_{2T+2} + 16Du more (`spectral.symbol`); so ‖Q̂ − Q‖ ≤ e_Q = (…)‖Σ|Q_t|‖_F for the off-diagonal
part Q of the first matrix, and e_F alike.  With f = ‖Σ|F_t|‖_F(1 + γ), q likewise:

    ‖M̂ − M‖ ≤ 2e_Q + (2f + e_F)e_F + 2γ_{2x+2}f² + 4u(‖diag‖_F + 2q + f²).

Fazlyab, Robey, Hassani, Morari, Pappas (2019), "Efficient and accurate estimation of Lipschitz constants for
deep neural networks", NeurIPS; Pauli, Gramlich, Allgöwer (2023), L4DC, for convolutions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import torch
from torch import Tensor

from lipaudit.blocks.wiring import Map, Term, Value, Wiring
from lipaudit.rounding import UNIT, gamma
from lipaudit.spectral.checker import positive
from lipaudit.spectral.symbol import twiddles

__all__ = ["CHUNK_ENTRIES", "Layout", "Pencil", "layout"]

CHUNK_ENTRIES = 3_000_000
"""Complex entries of the matrices in work at a time."""
LARGEST_TAPS = 40_000_000
"""Entries of all taps together."""
_TINY = 2.0**-500


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where each atom's channels and phases stand, and the grid; none of it depends on Λ and ρ.

    Args:
        wires: the region.
        grid: cells per axis.
        sizes: per hidden unit its rows, then the output's.
        columns: the source's channels and phases.
        blocks: (to, from, offset, matrix): to a hidden unit (from 0) or last the output, from an atom.
        ulps: roundings of an entry.
        taps: every offset, (t, D) int64.
        first: V and G without factors, (t, rows, rows), a matrix per offset.
        entry: W and H, (t, rows, columns).
    """

    wires: Wiring
    grid: tuple[int, ...]
    sizes: tuple[int, ...]
    columns: int
    blocks: tuple[tuple[int, int, tuple[int, ...], Tensor], ...]
    ulps: int
    taps: Tensor = field(init=False)
    first: Tensor = field(init=False)
    entry: Tensor = field(init=False)

    def __post_init__(self) -> None:
        offsets = sorted({block[2] for block in self.blocks})
        place = {offset: i for i, offset in enumerate(offsets)}
        first = self.blocks[0][3].new_zeros(len(offsets), self.rows, self.rows)
        entry = first.new_zeros(len(offsets), self.rows, self.columns)
        for to, atom, offset, matrix in self.blocks:
            if atom:
                first[place[offset], self.part(to), self.part(atom - 1)] += matrix
            else:
                entry[place[offset], self.part(to)] += matrix
        taps = torch.tensor(offsets, dtype=torch.int64).reshape(len(offsets), -1)
        for name, value in (("taps", taps), ("first", first), ("entry", entry)):
            object.__setattr__(self, name, value)

    def part(self, unit: int) -> slice:
        """The rows of a hidden unit, or of the output, which is the last."""
        end = sum(self.sizes[: unit + 1])
        return slice(end - self.sizes[unit], end)

    def symbols(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """V and G, and W and H, at 2π·points/N: complex128 (b, rows, rows) and (b, rows, columns)."""
        cos, sin = twiddles(self.taps, 2 * points, self.grid)
        cos, sin = cos.to(self.first.device), sin.to(self.first.device)
        made = [
            torch.complex(cos @ table.flatten(1), sin @ table.flatten(1)).reshape(-1, *table.shape[1:])
            for table in (self.first, self.entry)
        ]
        return made[0], made[1]

    @property
    def rows(self) -> int:
        """Rows of M."""
        return sum(self.sizes)

    @property
    def points(self) -> Tensor:
        """Half of the grid's frequencies, (b, D) int64: the other half gives conjugates."""
        axes = [torch.arange(n) for n in self.grid[:-1]]
        axes += [torch.arange(n // 2 + 1) for n in self.grid[-1:]]
        if not axes:
            return torch.zeros(1, 0, dtype=torch.int64)
        return torch.cartesian_prod(*axes).reshape(-1, len(axes))

    @property
    def cost(self) -> float:
        """Float operations of one look at one frequency, whose symbols are known."""
        p = float(self.rows)
        return 2 * p**3 + 5 * p * p * self.columns

    @property
    def proof_cost(self) -> float:
        """Float operations of one proof, symbols included."""
        symbol = 4.0 * len(self.taps) * self.rows * (self.rows + self.columns)
        return (self.cost + symbol) * len(self.points)

    @property
    def is_output(self) -> Tensor:
        """(rows,) bool: which rows of M are the output's."""
        return torch.arange(self.rows, device=self.blocks[0][3].device) >= self.rows - self.sizes[-1]

    def per_row(self, multipliers: Sequence[Tensor]) -> Tensor:
        """Λ (hidden channels) spread over the phases, 1 for the output: (rows,)."""
        parts = [
            m[:, None].expand(-1, size // len(m)).reshape(-1)
            for m, size in zip(multipliers, self.sizes[:-1], strict=True)
        ]
        return torch.cat([*parts, self.blocks[0][3].new_ones(self.sizes[-1])])


def layout(wires: Wiring) -> Layout | None:
    """Resolutions, phases and the grid; None where they do not fit one grid."""
    values = [*(h.pre for h in wires.hidden), wires.output]
    factors = [(Fraction(1),) * wires.axes]
    for value in values:
        if value is None:
            return None
        found = {_resolution(term, factors[term.atom]) for term in value.terms}
        if len(found) != 1:
            return None
        factors.append(found.pop())
    coarsest = [math.lcm(*(f[axis].numerator for f in factors)) for axis in range(wires.axes)]
    ratios = [tuple(int(c / f) for c, f in zip(coarsest, factor, strict=True)) for factor in factors]
    shapes = [wires.shape, *(value.shape for value in values if value is not None)]
    cells = [
        [Fraction(n, m) for n, m in zip(wires.image(s), r, strict=True)]
        for s, r in zip(shapes, ratios, strict=True)
    ]
    blocks = []
    for to, value in enumerate(values):
        for term in value.terms if value is not None else ():
            if not term.is_tame:
                return None
            for offset, matrix in _regrouped(term, ratios[term.atom], ratios[to + 1], wires.axes):
                blocks.append((to, term.atom, offset, matrix))
    if sum(b[3].numel() for b in blocks) > LARGEST_TAPS:
        return None
    grid = _grid(wires, values, cells, [b[2] for b in blocks])
    if grid is None:
        return None
    sizes = [wires.channels(s) * math.prod(r) for s, r in zip(shapes, ratios, strict=True)]
    ulps = max(term.roundings for value in values if value is not None for term in value.terms)
    return Layout(wires, grid, tuple(sizes[1:]), sizes[0], tuple(blocks), ulps)


def _resolution(term: Term, factor: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
    if term.map is None:
        return factor
    if term.map.writes:
        return tuple(f / s for f, s in zip(factor, term.map.stride, strict=True))
    return tuple(f * s for f, s in zip(factor, term.map.stride, strict=True))


def _regrouped(
    term: Term, source: tuple[int, ...], target: tuple[int, ...], axes: int
) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Offsets in cells and matrices (channels × phases of the target, of the source)."""
    matrices, offsets = term.matrices(), term.offsets(axes).tolist()
    stride = term.map.stride if term.map is not None else (1,) * axes
    writes = term.map is not None and term.map.writes
    fine, coarse = (target, source) if writes else (source, target)
    found: dict[tuple[int, ...], Tensor] = {}
    shape = (matrices.shape[1], math.prod(target), matrices.shape[2], math.prod(source))
    for offset, matrix in zip(offsets, matrices, strict=True):
        for phase in itertools.product(*(range(r) for r in coarse)):
            steps = [s * r + o for s, r, o in zip(stride, phase, offset, strict=True)]
            moved = tuple((-1 if writes else 1) * (step // r) for step, r in zip(steps, fine, strict=True))
            inside = _flat([step % r for step, r in zip(steps, fine, strict=True)], fine)
            here = _flat(phase, coarse)
            row, column = (inside, here) if writes else (here, inside)
            whole = found.setdefault(moved, matrix.new_zeros(shape))
            whole[:, row, :, column] = matrix
    for moved, whole in found.items():
        yield moved, whole.reshape(shape[0] * shape[1], -1)


def _flat(index: Sequence[int], sizes: Sequence[int]) -> int:
    result = 0
    for i, n in zip(index, sizes, strict=True):
        result = result * n + i
    return result


def _grid(
    wires: Wiring,
    values: Sequence[Value | None],
    cells: Sequence[Sequence[Fraction]],
    offsets: Sequence[tuple[int, ...]],
) -> tuple[int, ...] | None:
    """Cells of the cycle per axis; None where a circular map would meet another one's zeros."""
    maps = [term.map for value in values if value is not None for term in value.terms if term.map is not None]
    if not any(m.circular for m in maps):
        reach = [max(abs(o[axis]) for o in offsets) for axis in range(wires.axes)]
        return tuple(math.ceil(max(c[axis] for c in cells)) + r for axis, r in enumerate(reach))
    same = all(tuple(c) == tuple(cells[0]) and all(x.denominator == 1 for x in c) for c in cells)
    if not same or not all(m.circular or _stays_inside(m) for m in maps):
        return None
    return tuple(int(c) for c in cells[0])


def _stays_inside(linear_map: Map) -> bool:
    """Whether a map without circular padding never reads beyond the image, if that has s times the cells."""
    reach = torch.tensor(linear_map.stride).reshape(1, -1)
    inside = (linear_map.offsets >= 0) & (linear_map.offsets < reach)
    return not linear_map.writes and bool(inside.all())


@dataclass(slots=True, eq=False)
class Pencil:
    """M(ω) for multipliers Λ and ρ, ready to be looked at or proved.

    Args:
        layout: of the region.
        multipliers: per hidden unit Λ per channel, positive.
        rho: ρ; 1 for looking.
    """

    layout: Layout
    multipliers: Sequence[Tensor]
    rho: float = 1.0
    left: Tensor = field(init=False)
    scale: Tensor = field(init=False)
    diagonal: Tensor = field(init=False)

    def __post_init__(self) -> None:
        weights, self.scale = self._factors()
        is_output = self.layout.is_output
        self.diagonal = torch.where(is_output, 1.0, 2 * weights * self.scale * self.scale)
        self.left = torch.where(is_output, 1.0, -weights * self.scale)

    def _factors(self) -> tuple[Tensor, Tensor]:
        """Λ and the powers of two D, per row; both 1 for the output."""
        weights = self.layout.per_row(self.multipliers)
        scale = torch.exp2(-torch.round(torch.log2(2 * weights.detach()) / 2))
        return weights, torch.where(self.layout.is_output, 1.0, scale)

    def error(self) -> float:
        """Bound on ‖M̂ − M‖ at every frequency."""
        plan, count = self.layout, len(self.layout.taps)
        entries = plan.rows * (plan.rows + plan.columns) + count + 32
        widen = 1 + 8 * gamma(entries)
        # Terms that meet in one tap are summed before: as many roundings more.
        summed = plan.ulps + 8 + len(plan.blocks)
        factor = (2 * gamma(2 * count + 2) + 16 * self.layout.wires.axes * UNIT + gamma(summed)) * widen
        q = float(torch.linalg.vector_norm(self._size(first=True))) * widen
        f = float(torch.linalg.vector_norm(self._size(first=False))) * widen
        e_q, e_f = factor * q, factor * f
        diagonal = float(torch.linalg.vector_norm(self.diagonal)) * widen
        total = 2 * e_q + (2 * f + e_f) * e_f + 2 * gamma(2 * plan.columns + 2) * f * f
        return (total + 4 * UNIT * (diagonal + 2 * q + f * f)) * (1 + 32 * UNIT) + _TINY

    def _size(self, *, first: bool) -> Tensor:
        """Σ_t of the terms' sizes, before any of them cancel."""
        plan = self.layout
        weights, scale = self._factors()
        total = weights.new_zeros(plan.rows, plan.rows if first else plan.columns)
        for to, atom, _, matrix in plan.blocks:
            rows = plan.part(to)
            left = weights[rows] * scale[rows]
            if first and atom:
                columns = plan.part(atom - 1)
                total[rows, columns] += left[:, None] * matrix.abs() * scale[columns]
            elif not first and not atom:
                total[rows] += left[:, None] * matrix.abs() / math.sqrt(self.rho)
        return total

    def parts(self, symbols: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """diag + Q + Qᴴ and F from `Layout.symbols`: complex128 (b, rows, rows) and (b, rows, columns)."""
        first, entry = symbols
        Q = self.left[:, None] * first * self.scale
        F = self.left[:, None] * entry / math.sqrt(self.rho)
        return Q + Q.mH + torch.diag(self.diagonal).to(Q.dtype), F

    def proved(self, points: Tensor) -> Tensor:
        """(b,) bool: at which frequencies M ⪰ 0 is proved.  What holds for ρ holds for a larger one."""
        plan, error = self.layout, self.error()
        size = max(1, CHUNK_ENTRIES // (plan.rows * (plan.rows + plan.columns)))
        found = []
        for part in points.split(size):
            S, F = self.parts(plan.symbols(part))
            found.append(positive(S - F @ F.mH, error))
        return torch.cat(found).cpu()
