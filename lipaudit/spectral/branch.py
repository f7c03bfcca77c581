"""The largest σ₁(K̂(ω)) over all frequencies, or over a grid of them, by branch and bound.

What has to hold at the centres of cells so that no frequency exceeds τ stands in `cells`, with its proof.
Here τ is found: it starts from a survey, cells that fail their claim are divided, and where a point exceeds
τ, τ grows.  A claim that a cell has met stays met then.  Every claim is granted by the checker; what
chooses τ and the cells is not trusted.  (Pruning a grid by its own running maximum, as if it were the
supremum, would give bounds below the truth.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lipaudit.spectral.cells import FINEST, LEAST, USUAL, Cells, Domain, boxes, joined
from lipaudit.spectral.checker import Gram
from lipaudit.spectral.gram_symbol import lag_count
from lipaudit.spectral.method import DEFAULT, Effort
from lipaudit.spectral.peaks import climb
from lipaudit.spectral.search import EXACT_EIGENVALUES, rough_roots, top_root
from lipaudit.spectral.symbol import Symbol

__all__ = ["grid_cost", "largest_on_grid", "supremum"]

WALKS = 16
"""Points of the sample from which the search for the maximum walks uphill."""
POLISHING = 100
"""Steps of the last walk at most."""
SAMPLE = 48
"""Grid points looked at before the first boxes are chosen."""
FRONT, CLOSER = 1024, 24
"""Rows of the matrices whose largest eigenvalues are computed, and power iterations that choose them: near
the maximum many differ by less than a rough look tells."""


@dataclass(slots=True, eq=False)
class _Search:
    """One search: the domain, the claim τ so far, and what it may cost.

    Args:
        domain: the frequencies.
        tau: the claim; it only grows.
        seen: the largest unproved estimate so far.
        visited: cells visited.
    """

    domain: Domain
    effort: Effort
    tau: float = 0.0
    seen: float = field(default=0.0, init=False)
    visited: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.tau = max(self.tau, LEAST)

    def run(self, cells: Cells, limit: float = math.inf) -> float:
        """The smallest τ found with a proof for every cell; inf as soon as it cannot stay below `limit`."""
        domain, weight = self.domain, self.domain.weight
        most = domain.most_cells(self.effort.operations)
        while len(cells):
            finest = bool((cells.size[:, weight > 0] < 2).any())
            if domain.shift is None and (finest or self.visited + len(cells) > most):
                self._finish(cells)
                break
            missed = []
            for part in domain.chunks(cells):
                missed.append(part[self._visit(part)])
                if self.tau >= limit:
                    return math.inf
            cells = joined(missed).divided(weight, domain.parts)
        return self.tau

    def _look(self, cells: Cells) -> tuple[Gram, Tensor]:
        self.visited += len(cells)
        return self.domain.look(cells)

    def _visit(self, cells: Cells) -> Tensor:
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
        claims = self.domain.claims(self.tau, D)
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

    def _sample(self, cells: Cells) -> Tensor:
        """About σ₁ at the centres of some cells; τ rises to the largest, unproved yet."""
        gram, _ = self._look(cells)
        rough = rough_roots(gram.matrices)
        self._raise(gram[rough.topk(min(2, len(rough))).indices])
        return rough

    def survey(self, cells: Cells, step: int) -> Tensor:
        """About σ₁ at the centres of some cells; τ rises to about the largest σ₁ anywhere."""
        roots = torch.cat([self._sample(part) for part in self.domain.chunks(cells)])
        best = cells[roots.topk(min(WALKS, len(roots))).indices.cpu()]
        # The walks stay in the group of the first.
        symbol, group = self.domain.H.symbol, best.group[:1]
        best = best[best.group == group]
        offset = best.size if self.domain.shift is None else torch.tensor(self.domain.shift)
        alone = Symbol(symbol.taps, symbol.matrices[:, group])
        summit = climb(alone, 2 * best.lower + offset, self.domain.grid, 2 * max(1, step // 2))
        if self.domain.shift is None and self.domain.H.side <= EXACT_EIGENVALUES:
            summit = self._polished(summit, group, step // 8)
        self._raise(self.domain.H.at(summit[None], self.domain.grid, group))
        return roots

    def _polished(self, summit: Tensor, group: Tensor, step: int) -> Tensor:
        """The summit in double precision: single precision sees a plateau, and τ would stay below S."""
        offsets = torch.cartesian_prod(*([torch.tensor([0, -1, 1])] * len(self.domain.grid))).reshape(
            -1, len(self.domain.grid)
        )
        for _ in range(POLISHING):
            if step < 1:
                break
            around = summit + step * offsets
            gram = self.domain.H.at(around, self.domain.grid, group.expand(len(around)))
            best = int(torch.linalg.eigvalsh(gram.matrices)[:, -1].argmax())
            summit, step = around[best], step if best else step // 4
        return summit

    def first_sizes(self) -> list[int]:
        """The boxes to start with, judged by a sample: boxes that fail are in vain."""
        domain, spans = self.domain, self.domain.spans
        step = max(8.0, math.prod(spans) / SAMPLE) ** (1 / max(1, sum(c > 1 for c in spans)))
        lower = [[int(k * step) for k in range(math.ceil(c / step))] for c in spans]
        some = boxes(lower, [1] * len(spans), domain.H.symbol)
        roots = self.survey(some, int(step))
        (best, *larger), cost = domain.sizes(), 1.0
        for sizes in larger:
            reach = torch.tensor([domain.reach(sizes)], dtype=torch.float64)
            claim = float(domain.claims(self.tau, reach))
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

    def _finish(self, cells: Cells) -> None:
        """Raise τ until the cells that are left close as they are."""
        for part in self.domain.chunks(cells):
            gram, D = self._look(part)
            margin, left = 0.0, torch.arange(len(part), device=D.device)
            while len(left):
                left = left[~gram[left].proves(self.domain.claims(self.tau, D)[left])]
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
    search = _Search(Domain.of_all(symbol, memory=effort.memory), effort, tau=start)
    cells = search.domain.start()
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
    search = _Search(Domain.of_grid(symbol, grid, shift, memory=effort.memory), effort, tau=start)
    cells = search.domain.start(search.first_sizes())
    return search.run(cells, limit)


def grid_cost(symbol: Symbol, grid: tuple[int, ...]) -> float:
    """Rough float operations of `largest_on_grid`: few of many points are visited."""
    count, groups, p, q = symbol.matrices.shape
    points = math.prod(n if d else 1 for n, d in zip(grid, symbol.degrees, strict=True)) / 2 + 1
    lags = lag_count(symbol.taps)
    once = min(count * (count + 1.0) * p * p * q, 8.0 * points * p * p * q)
    each = 4.0 * lags * p * p + 6.0 * p**3 + 400.0 * p * p + 4e4
    return groups * (once + min(points, USUAL) * each)
