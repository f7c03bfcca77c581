"""The largest σ₁(K̂(ω)) over all frequencies, or over a grid of them, by branch and bound.

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

Cells that fail are divided; a claim that a cell has met stays met when τ grows.  Every claim is granted by
the checker; what chooses τ and the cells is not trusted.  Real kernels: K̂(−ω) = conj K̂(ω), so half a torus is
enough.

Duffin, Schaeffer (1937), "Some inequalities concerning functions of exponential type", Bull. AMS 43;
Borwein, Erdélyi (1995), Polynomials and Polynomial Inequalities, ch. 5.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lipaudit.rounding import UNIT
from lipaudit.spectral.checker import Gram
from lipaudit.spectral.gram_symbol import GramSymbol, gram_symbol, lag_count
from lipaudit.spectral.method import DEFAULT, Effort
from lipaudit.spectral.peaks import climb
from lipaudit.spectral.search import EXACT_EIGENVALUES, rough_roots, top_root
from lipaudit.spectral.symbol import Symbol

__all__ = ["grid_cost", "largest_on_grid", "supremum"]

FINEST = 2**20
"""Steps of a starting cell of the continuum; dividing one further would gain less than 1e-11."""
WALKS = 16
"""Points of the sample from which the search for the maximum walks uphill."""
POLISHING = 100
"""Steps of the last walk at most."""
SAMPLE = 48
"""Grid points looked at before the first boxes are chosen."""
FRONT, CLOSER = 1024, 24
"""Rows of the matrices whose largest eigenvalues are computed, and power iterations that choose them: near
the maximum many differ by less than a rough look tells."""
FEWEST_CELLS = 400
"""Cells of the continuum visited whatever they cost."""
USUAL = 2000
"""Points of a large grid that are visited, usually."""
OVERHEAD = 4e6
"""Operations that visiting a cell is worth beside its matrices."""
CHUNK = 4_000_000
"""Complex entries of matrices and temporaries at a time (64 MB): larger chunks leave the caches."""
LEAST = 2.0**-500
"""Claims below it would underflow when squared; weights are normalised: no norm is nearly as small."""
SAFE = 1 - 256 * UNIT
"""Sines, cosines and their angles err by less, relative to values that stay above 0.01."""


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """Boxes of grid steps: `lower` and `size` (b, D) int64, and the group each is about (b,)."""

    lower: Tensor
    size: Tensor
    group: Tensor

    def __len__(self) -> int:
        return len(self.lower)

    def __getitem__(self, which: Tensor | slice) -> _Cells:
        return _Cells(self.lower[which], self.size[which], self.group[which])

    def divided(self, weight: Tensor, parts: int) -> _Cells:
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
                pieces.append((_Cells(lower, size, cells.group)[kept], cut[kept]))
            cells = _joined([part for part, _ in pieces])
            cut = torch.cat([which for _, which in pieces])
        return cells


def _joined(parts: list[_Cells]) -> _Cells:
    return _Cells(*(torch.cat([getattr(p, name) for p in parts]) for name in ("lower", "size", "group")))


@dataclass(slots=True, eq=False)
class _Search:
    """One search: the domain, the claim τ so far, and what it may cost.

    Args:
        H: the function of the frequency.
        grid: steps per axis.
        shift: half steps by which a grid is shifted (0 or 1 per axis); None for the continuum.
        tau: the claim; it only grows.
        seen: the largest unproved estimate so far.
        visited: cells visited.
        between, joint: A and A' of a grid, rounded up; 0 for the continuum.
    """

    H: GramSymbol
    grid: tuple[int, ...]
    shift: tuple[int, ...] | None
    effort: Effort
    tau: float = 0.0
    seen: float = field(default=0.0, init=False)
    visited: int = field(default=0, init=False)
    between: float = field(default=0.0, init=False)
    joint: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.tau = max(self.tau, LEAST)
        if self.shift is None:
            return
        angles = [math.pi * d / (2 * n) for d, n in zip(self.H.symbol.degrees, self.grid, strict=True)]
        cosine = math.prod(math.cos(min(angle, math.pi / 2)) for angle in angles)
        self.between = math.acos(max(cosine * SAFE, 0.0)) / SAFE
        self.joint = sum(angles) / SAFE

    def run(self, cells: _Cells, limit: float = math.inf) -> float:
        """The smallest τ found with a proof for every cell; inf as soon as it cannot stay below `limit`."""
        weight = torch.tensor(self.H.symbol.degrees, dtype=torch.float64) / torch.tensor(self.grid)
        # A point lies in the middle of three, not of two.
        parts = 2 if self.shift is None else 3
        while len(cells):
            finest = bool((cells.size[:, weight > 0] < 2).any())
            if self.shift is None and (finest or self.visited + len(cells) > self._most_cells()):
                self._finish(cells)
                break
            missed = []
            for part in self._chunks(cells):
                missed.append(part[self._visit(part)])
                if self.tau >= limit:
                    return math.inf
            cells = _joined(missed).divided(weight, parts)
        return self.tau

    def _most_cells(self) -> float:
        p, q = self.H.symbol.matrices.shape[2:]
        forming = 4.0 * len(self.H.lags) * p * p if self.H.even is not None else 8.0 * p * p * q
        return max(FEWEST_CELLS, self.effort.operations / (16.0 * p**3 + forming + OVERHEAD))

    def _chunks(self, cells: _Cells) -> Iterator[_Cells]:
        # Complex entries: the matrices, their copies in the proof, and single precision ones.
        most = max(1, self.effort.memory // (4 * 16 * self.H.entries()))
        most = min(most, max(1, CHUNK // self.H.entries()))
        for first in range(0, len(cells), most):
            yield cells[slice(first, first + most)]

    def _look(self, cells: _Cells) -> tuple[Gram, Tensor]:
        """H at the centres, and D of each cell, rounded up."""
        # In float64 from the start: torch would divide integers in single precision.
        degrees = torch.tensor(self.H.symbol.degrees, dtype=torch.float64)
        per_step = math.pi * degrees / torch.tensor(self.grid)
        if self.shift is None:
            points, steps = 2 * cells.lower + cells.size, cells.size.double() / 2
        else:
            points = 2 * (cells.lower + (cells.size - 1) // 2) + torch.tensor(self.shift)
            steps = (cells.size // 2).double()
        self.visited += len(cells)
        gram = self.H.at(points, self.grid, cells.group)
        D = (steps * per_step).sum(dim=1) / SAFE
        return gram, D.to(gram.error.device)

    def _claims(self, D: Tensor) -> Tensor:
        """What σ₁ at the centres must not exceed, rounded down; 0 where no claim would help."""
        angle, reach = D + self.between, D + self.joint
        curved = torch.where(angle < 1.5, self.tau * angle.cos() * SAFE, 0.0)
        flat = (self.tau**2 * SAFE - 2 * self.H.oscillation * reach**2 / SAFE).clamp(min=0).sqrt() * SAFE
        return torch.where(D == 0, self.tau, torch.maximum(curved, flat))

    def _visit(self, cells: _Cells) -> Tensor:
        """Which cells have to be divided, (b,) bool; τ grows where that is needed."""
        gram, D = self._look(cells)
        point = D == 0
        if bool(point.all()):
            self._settle(gram, ~gram.proves(self.tau))
            return torch.zeros(len(cells), dtype=torch.bool)
        rough = rough_roots(gram.matrices)
        if float(rough.max()) > self.seen:
            self.seen = max(self.seen, float(rough.max()))
            self._raise(gram[rough.topk(min(2, len(rough))).indices])
        claims = self._claims(D)
        # An estimate from below that exceeds the claim: no need to try.
        hopeless = (rough > claims * (1 + 1e-5)) & ~point
        missed = torch.ones_like(hopeless)
        trying = (~hopeless).nonzero().flatten()
        missed[trying] = ~gram[trying].proves(claims[trying])
        self._settle(gram, missed & point)
        missed &= ~point
        failed = missed & ~hopeless
        if bool(failed.any()):
            self._raise(gram[torch.where(failed, rough, -1.0).argmax()[None]])
        return missed.cpu()

    def _sample(self, cells: _Cells) -> Tensor:
        """About σ₁ at the centres of some cells; τ rises to the largest, unproved yet."""
        gram, _ = self._look(cells)
        rough = rough_roots(gram.matrices)
        self._raise(gram[rough.topk(min(2, len(rough))).indices])
        return rough

    def survey(self, cells: _Cells, step: int) -> Tensor:
        """About σ₁ at the centres of some cells; τ rises to about the largest σ₁ anywhere."""
        roots = torch.cat([self._sample(part) for part in self._chunks(cells)])
        best = cells[roots.topk(min(WALKS, len(roots))).indices.cpu()]
        # The walks stay in the group of the first.
        symbol, group = self.H.symbol, best.group[:1]
        best = best[best.group == group]
        offset = best.size if self.shift is None else torch.tensor(self.shift)
        alone = Symbol(symbol.taps, symbol.matrices[:, group])
        summit = climb(alone, 2 * best.lower + offset, self.grid, 2 * max(1, step // 2))
        if self.shift is None and self.H.side <= EXACT_EIGENVALUES:
            summit = self._polished(summit, group, step // 8)
        self._raise(self.H.at(summit[None], self.grid, group))
        return roots

    def _polished(self, summit: Tensor, group: Tensor, step: int) -> Tensor:
        """The summit in double precision: single precision sees a plateau, and τ would stay below S."""
        offsets = torch.cartesian_prod(*([torch.tensor([0, -1, 1])] * len(self.grid))).reshape(
            -1, len(self.grid)
        )
        for _ in range(POLISHING):
            if step < 1:
                break
            around = summit + step * offsets
            gram = self.H.at(around, self.grid, group.expand(len(around)))
            best = int(torch.linalg.eigvalsh(gram.matrices)[:, -1].argmax())
            summit, step = around[best], step if best else step // 4
        return summit

    def first_sizes(self, spans: list[int]) -> list[int]:
        """The boxes to start with, judged by a sample: boxes that fail are in vain."""
        symbol, axes = self.H.symbol, len(spans)
        step = max(8.0, math.prod(spans) / SAMPLE) ** (1 / max(1, sum(c > 1 for c in spans)))
        lower = [[int(k * step) for k in range(math.ceil(c / step))] for c in spans]
        some = _boxes(lower, [1] * axes, symbol)
        roots = self.survey(some, int(step))
        best, cost = [1] * axes, 1.0
        steps = [n / d if d else math.inf for n, d in zip(self.grid, symbol.degrees, strict=True)]
        longest = max((s for s in steps if s < math.inf), default=1.0)
        for power in range(1, 40):
            shorter = [round(math.log(longest / s, 3)) if s < math.inf else power for s in steps]
            sizes = [3 ** max(0, power - less) for less in shorter]
            D = math.pi * sum(size // 2 / s for size, s in zip(sizes, steps, strict=True))
            if D + self.between > 1.2:
                break
            claim = float(self._claims(torch.tensor([D], dtype=torch.float64)))
            # Relative to visiting every point: the boxes, and again what fails.
            expected = 1 / math.prod(sizes) + float((roots > claim).double().mean()) * cost
            if expected < cost:
                best, cost = sizes, expected
        return best

    def _raise(self, gram: Gram) -> None:
        """Make τ at least what σ₁ seems to be there."""
        value = gram.enough(top_root(gram.matrices) * (1 + self.effort.tolerance / 2))
        self.tau = max(self.tau, value)

    def _settle(self, gram: Gram, which: Tensor) -> None:
        """Raise τ until σ₁ ≤ τ is proved at these centres."""
        index, margin = which.nonzero().flatten(), 0.0
        while len(index):
            front = max(2, FRONT // gram.matrices.shape[-1])
            closer = rough_roots(gram[index].matrices, CLOSER)
            self._raise(gram[index[closer.topk(min(front, len(index))).indices]])
            self.tau *= 1 + margin
            index = index[~gram[index].proves(self.tau)]
            margin = max(4 * margin, 1e-12)

    def _finish(self, cells: _Cells) -> None:
        """Raise τ until the cells that are left close as they are."""
        for part in self._chunks(cells):
            gram, D = self._look(part)
            margin, left = 0.0, torch.arange(len(part), device=D.device)
            while len(left):
                left = left[~gram[left].proves(self._claims(D)[left])]
                if len(left):
                    roots = rough_roots(gram[left].matrices)
                    wanted = float((roots / D[left].cos()).max())
                    self.tau = max(self.tau, wanted) * (1 + margin)
                    margin = max(2 * margin, self.effort.tolerance / 4, 1e-13)


def supremum(symbol: Symbol, start: float = 0.0, effort: Effort = DEFAULT) -> float:
    """A proved bound on sup_ω σ₁(K̂(ω)) over all frequencies and groups.

    Args:
        symbol: the taps.
        start: a τ worth trying; the result is not smaller.
        effort: the tolerance wanted and the operations it may take; when they are spent, what is proved then.
    """
    degrees = symbol.degrees
    grid = tuple(4 * d * FINEST if d else 1 for d in degrees)
    half = max((i for i, d in enumerate(degrees) if d), default=0)
    counts = [(2 if i == half else 4) * d if d else 1 for i, d in enumerate(degrees)]
    sizes = [FINEST if d else 1 for d in degrees]
    cells = _boxes([[k * s for k in range(c)] for c, s in zip(counts, sizes, strict=True)], sizes, symbol)
    search = _Search(gram_symbol(symbol, USUAL), grid, None, effort, tau=start)
    search.survey(cells, FINEST)
    return search.run(cells)


def largest_on_grid(
    symbol: Symbol,
    grid: tuple[int, ...],
    shift: tuple[int, ...] = (),
    start: float = 0.0,
    effort: Effort = DEFAULT,
    limit: float = math.inf,
) -> float:
    """A proved bound on max σ₁(K̂(ω)) over ω = (2πl + πσ)/N and all groups.

    Args:
        symbol: the taps.
        grid: N per axis.
        shift: σ per axis, 0 or 1; none by default.
        start: a τ worth trying; the result is not smaller.
        effort: the tolerance wanted.
        limit: results from here on are not wanted: stop early and return inf.
    """
    shift = shift or (0,) * len(grid)
    grid = tuple(n if d else 1 for n, d in zip(grid, symbol.degrees, strict=True))
    half = max((i for i, n in enumerate(grid) if n > 1), default=0)
    # Negation sends l to −l − σ: on one axis 0 … (N − σ)//2 meets every pair.
    spans = [(n - s) // 2 + 1 if i == half else n for i, (n, s) in enumerate(zip(grid, shift, strict=True))]
    search = _Search(gram_symbol(symbol, math.prod(spans) / 2), grid, shift, effort, tau=start)
    sizes = search.first_sizes(spans)
    cells = _boxes([list(range(0, c, size)) for c, size in zip(spans, sizes, strict=True)], sizes, symbol)
    # The last box of an axis ends where the axis does.
    cells.size[:] = torch.minimum(cells.size, torch.tensor(spans) - cells.lower)
    return search.run(cells, limit)


def grid_cost(symbol: Symbol, grid: tuple[int, ...]) -> float:
    """Rough float operations of `largest_on_grid`: few of many points are visited."""
    count, groups, p, q = symbol.matrices.shape
    points = math.prod(n if d else 1 for n, d in zip(grid, symbol.degrees, strict=True)) / 2 + 1
    lags = lag_count(symbol.taps)
    once = min(count * (count + 1.0) * p * p * q, 8.0 * points * p * p * q)
    each = 4.0 * lags * p * p + 6.0 * p**3 + 400.0 * p * p + 4e4
    return groups * (once + min(points, USUAL) * each)


def _boxes(lower: list[list[int]], size: list[int], symbol: Symbol) -> _Cells:
    """All combinations of lower corners, for every group."""
    groups = symbol.matrices.shape[1]
    corners = torch.tensor(list(itertools.product(*lower))).reshape(-1, len(size))
    group = torch.arange(groups).repeat_interleave(len(corners))
    return _Cells(corners.repeat(groups, 1), torch.tensor(size).repeat(groups * len(corners), 1), group)
