"""Cells of frequencies, and what has to be proved at their centres so that σ₁(K̂(ω)) ≤ τ on all of them.

Let d_i be the degree of the symbol along axis i, D(δ) = Σ d_i|δ_i|/2 and S = sup_ω σ₁(K̂(ω)).

**Lemma.**  arccos(σ₁(ω)/S) changes by at most D(δ) when ω changes by δ.
Proof.  For a unit vector v, p(t) = ‖K̂(ω + tδ)v‖² is bounded by S² and of exponential type B = Σ d_i|δ_i|,
so f = p − S²/2 obeys f'² + B²f² ≤ B²S⁴/4 (Bernstein–Szegő; Duffin and Schaeffer), that is,
½arccos(2p/S² − 1) = arccos(√p/S) is B/2-Lipschitz in t.  With v the top right singular vector at ω,
arccos(σ₁(ω + δ)/S) ≤ arccos(‖K̂(ω + δ)v‖/S) ≤ arccos(σ₁(ω)/S) + D(δ); exchange the two frequencies. ∎

**All frequencies.**  If cells with centres c and half-widths δ cover the torus and each has D(δ) < π/2 and

    σ₁(K̂(c)) ≤ τ·cos D(δ),    then S ≤ τ.

Proof.  Some cell holds a maximiser; there the lemma gives σ₁(K̂(c)) ≥ S·cos D(δ). ∎

**A grid** of N_i points per axis with maximum M.  Let cos A = ∏cos(πd_i/(2N_i)), which is at most M/S (proved
in `low_resolution`).  If each cell's grid points lie within δ of its centre, a grid point, and

    σ₁(K̂(c)) ≤ τ·cos(A + D(δ)),  A + D(δ) < π/2,    or D = 0 and σ₁(K̂(c)) ≤ τ,    then M ≤ τ.

Proof.  In the cell that holds the grid's maximiser, arccos(σ₁(c)/S) ≤ arccos(M/S) + D ≤ A + D, so
σ₁(c) ≥ S·cos(A + D) ≥ M·cos(A + D); with D = 0, M = σ₁(c). ∎
(Pruning a grid by its own running maximum, as if it were S, gives bounds below the truth.)

**Flat symbols.**  H = K̂K̂ᴴ = R₀ + oscillation with ‖oscillation‖ ≤ ρ = Σ_{m≠0}‖R[m]‖ (see `gram_symbol`).
In both cases the claim may also be

    σ₁(K̂(c))² ≤ τ² − 2ρ(A' + D)²,   A' = Σπd_i/(2N_i) for a grid and 0 for the continuum.

Proof.  Let v be the top left vector at the maximiser and p(ω) = vᴴH(ω)v ≤ S².  Its oscillation is bounded by
ρ, so by Bernstein's inequality |p''| ≤ B²ρ along δ, which is 4ρ per D².  At the supremum p' = 0 and p(c) ≥
S² − 2ρD²; so some grid point has M² ≥ S² − 2ρA'².  For the grid's maximiser let q = S² − p ≥ 0: q₀ ≤ 2ρA'²
and q'' ≤ 4ρ give |q'| ≤ √(8ρq₀) there, so q(c) ≤ (√q₀ + √(2ρ)·D)² ≤ 2ρ(A' + D)² and p(c) ≥ S² − q(c). ∎
Kernels near orthogonal have a small ρ, and cells of theirs are large.

A claim that a cell has met stays met when τ grows; real kernels have K̂(−ω) = conj K̂(ω), so half a torus is
enough.  `Domain.holds` is the proof for one τ, cells that fail being divided; `branch` finds τ.

Duffin, Schaeffer (1937), "Some inequalities concerning functions of exponential type", Bull. AMS 43;
Borwein, Erdélyi (1995), Polynomials and Polynomial Inequalities, ch. 5.
This module imports nothing of the search that proposes τ.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lipaudit.rounding import UNIT
from lipaudit.spectral.checker import Gram
from lipaudit.spectral.gram_symbol import GramSymbol, gram_symbol
from lipaudit.spectral.method import Effort
from lipaudit.spectral.symbol import Symbol

__all__ = ["FINEST", "LEAST", "USUAL", "Cells", "Domain", "boxes", "joined"]

FINEST = 2**20
"""Steps of a starting cell of the continuum; dividing one further would gain less than 1e-11."""
USUAL = 2000
"""Points of a large grid that are visited, usually."""
CHUNK = 4_000_000
"""Complex entries of matrices and temporaries at a time (64 MB): larger chunks leave the caches."""
LEAST = 2.0**-500
"""Claims below it would underflow when squared; weights are normalised: no norm is nearly as small."""
FEWEST_CELLS = 400
"""Cells of the continuum visited whatever they cost."""
OVERHEAD = 4e6
"""Operations that visiting a cell is worth beside its matrices."""
SAFE = 1 - 256 * UNIT
"""Sines, cosines and their angles err by less, relative to values that stay above 0.01."""
FRONT = 16
"""Centres that failed and are looked at again."""
WIDEST = 1.2
"""A + D of the boxes that a proof begins with, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Boxes of grid steps: `lower` and `size` (b, D) int64, and the group each is about (b,)."""

    lower: Tensor
    size: Tensor
    group: Tensor

    def __len__(self) -> int:
        return len(self.lower)

    def __getitem__(self, which: Tensor | slice) -> Cells:
        return Cells(self.lower[which], self.size[which], self.group[which])

    def divided(self, weight: Tensor, parts: int) -> Cells:
        """Cut along every axis that counts at least half as much as the longest (size × weight)."""
        reach = torch.where(self.size > 1, self.size * weight, 0.0)
        cut = (reach >= reach.amax(dim=1, keepdim=True) / 2) & (reach > 0)
        cells = self
        for axis in range(self.size.shape[1]):
            piece = torch.where(cut[:, axis], -(-cells.size[:, axis] // parts), cells.size[:, axis])
            pieces = []
            for k in range(parts):
                left = torch.minimum(cells.size[:, axis] - k * piece, piece)
                lower, size, kept = cells.lower.clone(), cells.size.clone(), left > 0
                lower[:, axis] += k * piece
                size[:, axis] = left
                pieces.append((Cells(lower, size, cells.group)[kept], cut[kept]))
            cells = joined([part for part, _ in pieces])
            cut = torch.cat([which for _, which in pieces])
        return cells


def joined(parts: Sequence[Cells]) -> Cells:
    """All of them in a row."""
    return Cells(*(torch.cat([getattr(p, name) for p in parts]) for name in ("lower", "size", "group")))


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """The frequencies that are spoken of: a grid, or the continuum.

    Args:
        H: the function of the frequency.
        grid: steps per axis.
        shift: half steps by which a grid is shifted (0 or 1 per axis); None for the continuum.
        memory: bytes that matrices may take at a time.
        between, joint: A and A' of a grid, rounded up; 0 for the continuum.
    """

    H: GramSymbol
    grid: tuple[int, ...]
    shift: tuple[int, ...] | None
    memory: int
    between: float = field(default=0.0, init=False)
    joint: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        if self.shift is None:
            return
        angles = [math.pi * d / (2 * n) for d, n in zip(self.H.symbol.degrees, self.grid, strict=True)]
        cosine = math.prod(math.cos(min(angle, math.pi / 2)) for angle in angles)
        object.__setattr__(self, "between", math.acos(max(cosine * SAFE, 0.0)) / SAFE)
        object.__setattr__(self, "joint", sum(angles) / SAFE)

    @classmethod
    def of_grid(
        cls, symbol: Symbol, grid: tuple[int, ...], shift: tuple[int, ...] = (), *, memory: int
    ) -> Domain:
        """The frequencies ω = (2πl + πσ)/N, N per axis; σ per axis, 0 or 1, none by default."""
        grid = tuple(n if d else 1 for n, d in zip(grid, symbol.degrees, strict=True))
        spans = _spans(grid, shift or (0,) * len(grid))
        return cls(gram_symbol(symbol, math.prod(spans) / 2), grid, shift or (0,) * len(grid), memory)

    @classmethod
    def of_all(cls, symbol: Symbol, *, memory: int) -> Domain:
        """All frequencies."""
        grid = tuple(4 * d * FINEST if d else 1 for d in symbol.degrees)
        return cls(gram_symbol(symbol, USUAL), grid, None, memory)

    @property
    def spans(self) -> list[int]:
        """Points per axis of a half of the grid."""
        return _spans(self.grid, self.shift or (0,) * len(self.grid))

    @property
    def weight(self) -> Tensor:
        """What a step along an axis counts, (D,) float64."""
        return torch.tensor(self.H.symbol.degrees, dtype=torch.float64) / torch.tensor(self.grid)

    @property
    def parts(self) -> int:
        """Into how many a cell is cut: a point lies in the middle of three, not of two."""
        return 2 if self.shift is None else 3

    def start(self, sizes: Sequence[int] | None = None) -> Cells:
        """Cells that cover half of the torus: of a grid those of these sizes."""
        degrees = self.H.symbol.degrees
        if self.shift is None:
            half = max((i for i, d in enumerate(degrees) if d), default=0)
            counts = [(2 if i == half else 4) * d if d else 1 for i, d in enumerate(degrees)]
            own = [FINEST if d else 1 for d in degrees]
            corners = [[k * s for k in range(c)] for c, s in zip(counts, own, strict=True)]
            return boxes(corners, own, self.H.symbol)
        spans = self.spans
        own = list(sizes) if sizes is not None else self.sizes()[-1]
        corners = [list(range(0, c, size)) for c, size in zip(spans, own, strict=True)]
        cells = boxes(corners, own, self.H.symbol)
        # The last box of an axis ends where the axis does.
        cells.size[:] = torch.minimum(cells.size, torch.tensor(spans) - cells.lower)
        return cells

    def sizes(self) -> list[list[int]]:
        """Sizes of boxes of a grid that one could begin with, from points upwards."""
        steps = [n / d if d else math.inf for n, d in zip(self.grid, self.H.symbol.degrees, strict=True)]
        longest = max((s for s in steps if s < math.inf), default=1.0)
        found = [[1] * len(steps)]
        for power in range(1, 40):
            shorter = [round(math.log(longest / s, 3)) if s < math.inf else power for s in steps]
            sizes = [3 ** max(0, power - less) for less in shorter]
            if self.reach(sizes) + self.between > WIDEST:
                break
            found.append(sizes)
        return found

    def reach(self, sizes: Sequence[int]) -> float:
        """About D of a grid's boxes of these sizes."""
        degrees = self.H.symbol.degrees
        return math.pi * sum(size // 2 * d / n for size, d, n in zip(sizes, degrees, self.grid, strict=True))

    def chunks(self, cells: Cells) -> Iterator[Cells]:
        """The cells, as many at a time as memory holds."""
        # Complex entries: the matrices, their copies in the proof, and single precision ones.
        most = max(1, self.memory // (4 * 16 * self.H.entries()))
        most = min(most, max(1, CHUNK // self.H.entries()))
        for first in range(0, len(cells), most):
            yield cells[slice(first, first + most)]

    def look(self, cells: Cells) -> tuple[Gram, Tensor]:
        """H at the centres, and D of each cell, rounded up."""
        # In float64 from the start: torch would divide integers in single precision.
        degrees = torch.tensor(self.H.symbol.degrees, dtype=torch.float64)
        per_step = math.pi * degrees / torch.tensor(self.grid)
        if self.shift is None:
            points, steps = 2 * cells.lower + cells.size, cells.size.double() / 2
        else:
            points = 2 * (cells.lower + (cells.size - 1) // 2) + torch.tensor(self.shift)
            steps = (cells.size // 2).double()
        gram = self.H.at(points, self.grid, cells.group)
        D = (steps * per_step).sum(dim=1) / SAFE
        return gram, D.to(gram.error.device)

    def claims(self, tau: float, D: Tensor) -> Tensor:
        """What σ₁ at the centres must not exceed, rounded down; 0 where no claim would help."""
        angle, reach = D + self.between, D + self.joint
        curved = torch.where(angle < 1.5, tau * angle.cos() * SAFE, 0.0)
        flat = (tau**2 * SAFE - 2 * self.H.oscillation * reach**2 / SAFE).clamp(min=0).sqrt() * SAFE
        return torch.where(D == 0, tau, torch.maximum(curved, flat))

    def holds(self, tau: float, effort: Effort) -> bool:
        """Whether σ₁ ≤ τ is proved at all these frequencies; False proves nothing.

        Args:
            tau: the claim; it is proved as it stands or not at all.
            effort: a claim about the continuum counts as not proved after some times the operations of a
                search of that effort.
        """
        if not LEAST <= tau < math.inf:
            return False
        cells, weight, visited = self.start(), self.weight, 0
        # A search closes the cells that are left at its end, and may have just divided them.
        most = self.most_cells(2 * 2 ** len(self.grid) * effort.operations)
        while len(cells):
            visited += len(cells)
            if self.shift is None and visited > most:
                return False
            missed = []
            for part in self.chunks(cells):
                gram, D = self.look(part)
                failed = ~gram.proves(self.claims(tau, D))
                if bool((failed & (D == 0)).any()) or _refuted(gram[failed], tau):
                    return False
                missed.append(part[failed.cpu()])
            cells = joined(missed)
            if self.shift is None and bool((cells.size[:, weight > 0] < 2).any()):
                return False
            cells = cells.divided(weight, self.parts)
        return True

    def most_cells(self, operations: float) -> float:
        """Cells that may be visited for so many float operations."""
        p, q = self.H.symbol.matrices.shape[2:]
        forming = 4.0 * len(self.H.lags) * p * p if self.H.even is not None else 8.0 * p * p * q
        return max(FEWEST_CELLS, operations / (16.0 * p**3 + forming + OVERHEAD))


def _refuted(gram: Gram, tau: float) -> bool:
    """Whether a centre lies above τ by more than rounding: then no division will help.

    Of many only those with the largest traces are looked at.
    """
    traces = gram.matrices.diagonal(dim1=1, dim2=2).real.sum(dim=1)
    front = gram[traces.topk(min(FRONT, len(traces))).indices]
    return len(front) > 0 and not bool(front.proves(front.enough(tau)).all())


def _spans(grid: Sequence[int], shift: Sequence[int]) -> list[int]:
    # Negation sends l to −l − σ: on one axis 0 … (N − σ)//2 meets every pair.
    half = max((i for i, n in enumerate(grid) if n > 1), default=0)
    return [(n - s) // 2 + 1 if i == half else n for i, (n, s) in enumerate(zip(grid, shift, strict=True))]


def boxes(lower: list[list[int]], size: list[int], symbol: Symbol) -> Cells:
    """All combinations of lower corners, for every group."""
    groups = symbol.matrices.shape[1]
    corners = torch.tensor(list(itertools.product(*lower))).reshape(-1, len(size))
    group = torch.arange(groups).repeat_interleave(len(corners))
    return Cells(corners.repeat(groups, 1), torch.tensor(size).repeat(groups * len(corners), 1), group)
