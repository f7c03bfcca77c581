"""The best multiplier Λ for a region, and the proof of what it gives.

    Lip ≤ √ρ   if   M(Λ, ρ; ω) ⪰ 0 at every frequency ω                                     (see `pencil`)

The search is unproved: for given Λ the smallest ρ is max_ω λ_max(FᴴS⁻¹F).  It starts from Λ_i = t·1 and from
Λ_i = t·‖outgoing weights‖/‖incoming weights‖ (rescaling a unit changes neither the function nor this
choice), takes the best t, and goes on with Adam on log Λ at the frequencies that decide, while that is
cheap.  What it found is rounded to four digits, so that it can be written down, and proved.

Kingma, Ba (2015), ICLR, for the steps; the inequality's sources stand in `pencil`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.blocks.pencil import CHUNK_ENTRIES, Layout, Pencil

__all__ = ["Found", "search"]

SPREAD = 16
"""Frequencies, evenly spread, at which a first look is taken."""
FOREMOST = 12
"""Frequencies of the whole grid that decide, for the finer search."""
FACTORS = (0.505, 0.52, 0.55, 0.6, 0.7, 0.85, 1.05, 1.3, 1.7, 2.4, 4.0, 8.0)
POWER_STEPS = 24
ADAM_STEPS, RATE = 60, 0.06
BACKWARD = 3
"""A derivative costs about as much as so many values."""
WORTHWHILE = 8
"""Steps below which the finer search is not begun."""
FIRST_MARGIN, TRIALS, LOOKS = 1e-7, 24, 48
"""Above what was seen the first ρ tried (further margins are four times as large each), how often, and at
how many of the frequencies where it failed a look is taken."""
DIGITS = 4
LEAST_SEARCH = 5e9
"""Float operations that a search may always take."""
_Look = tuple[Tensor, Tensor]
"""Symbols at some frequencies, which depend on no multiplier (`Layout.symbols`)."""
HOPE = 1.5
"""By how much the finer search is expected to improve ρ at most, where it is dear."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Λ and ρ of which the inequality is proved."""

    multipliers: tuple[Tensor, ...]
    rho: float


def search(plan: Layout, budget: float, useful: float = math.inf) -> Found | None:
    """Λ and a proved ρ; None if none was found, or if one proof costs more than `budget`.

    Args:
        plan: the region.
        budget: float operations, about; the search takes at most half as many, and as many as a proof.
        useful: a ρ that is not below this is of no use; the search ends when it looks like that.
    """
    points, proof = plan.points, plan.proof_cost
    spare = min(budget / 2, max(proof, LEAST_SEARCH))
    if proof > budget:
        return None
    count = max(2, min(SPREAD, int(spare / (4 * len(FACTORS) * plan.cost))))
    many = _spread(points, 6 * count)
    few = list(_looks(plan, _spread(points, count)))
    best: tuple[float, list[Tensor]] = (math.inf, [])
    for shape in _shapes(plan):
        best = min(best, _best_factor(plan, shape, few), key=lambda pair: pair[0])
    is_dear = spare > LEAST_SEARCH
    if not best[0] < (useful * HOPE if is_dear else math.inf):
        return None
    multipliers, values = best[1], _needed(plan, best[1], _looks(plan, many))
    steps = int(min(ADAM_STEPS, spare / (2 * BACKWARD * plan.cost * min(FOREMOST, len(many)))))
    if multipliers and steps >= WORTHWHILE:
        foremost = many[values.topk(min(FOREMOST, len(many))).indices.cpu()]
        finer = _descend(plan, multipliers, list(_looks(plan, foremost)), steps)
        again = _needed(plan, finer, _looks(plan, many))
        if float(again.max()) < float(values.max()):
            multipliers, values = finer, again
    if not float(values.max()) < useful:
        return None
    return _prove(plan, [_rounded(m) for m in multipliers], many, useful)


def _spread(points: Tensor, count: int) -> Tensor:
    """At most so many of the points, evenly spread."""
    return points[torch.linspace(0, len(points) - 1, min(count, len(points))).long()]


def _shapes(plan: Layout) -> list[list[Tensor]]:
    """Directions of Λ, up to a factor per hidden unit: all equal, and balanced."""
    count = len(plan.sizes) - 1
    channels = [plan.wires.channels(h.pre.shape) for h in plan.wires.hidden]
    incoming = [plan.blocks[0][3].new_zeros(c) for c in channels]
    outgoing = [plan.blocks[0][3].new_zeros(c) for c in channels]
    for to, atom, _, matrix in plan.blocks:
        if to < count:
            incoming[to] += matrix.square().sum(1).reshape(channels[to], -1).sum(1)
        if atom:
            outgoing[atom - 1] += matrix.square().sum(0).reshape(channels[atom - 1], -1).sum(1)
    equal = [torch.ones_like(w) for w in incoming]
    balanced = []
    for a, b in zip(outgoing, incoming, strict=True):
        ratio = (a / b.clamp(min=1e-300)).sqrt()
        typical = float(ratio[ratio > 0].median()) if bool((ratio > 0).any()) else 1.0
        balanced.append((ratio / typical).clamp(1e-4, 1e4))
    return [equal, balanced]


def _looks(plan: Layout, points: Tensor) -> Iterator[_Look]:
    """The symbols at these frequencies, in chunks."""
    size = max(1, CHUNK_ENTRIES // (plan.rows * (plan.rows + plan.columns)))
    return (plan.symbols(part) for part in points.split(size))


def _best_factor(plan: Layout, shape: Sequence[Tensor], looks: Sequence[_Look]) -> tuple[float, list[Tensor]]:
    """The best common multiple of the typical factors."""
    typical = _typical_factors(plan, shape, looks)
    best: tuple[float, list[Tensor]] = (math.inf, [])
    for factor in FACTORS:
        tried = [s * (t * factor) for s, t in zip(shape, typical, strict=True)]
        value = float(_needed(plan, tried, looks).max())
        if value < best[0]:
            best = (value, tried)
    return best


def _typical_factors(plan: Layout, shape: Sequence[Tensor], looks: Sequence[_Look]) -> list[float]:
    """t_i = max_ω ‖(√Λ_j·V_ji)_j D_i^(−½)‖² over all that unit i leads to (the output has Λ = 1).

    Of one unit, 2Λ ⪰ GᵀG needs half of that; for a chain twice that gives back the product of the norms.
    """
    factors = [1.0] * len(shape)
    for unit in reversed(range(len(shape))):
        weights = plan.per_row([s * t for s, t in zip(shape, factors, strict=True)]).sqrt()
        own = plan.per_row(shape)[plan.part(unit)].rsqrt()
        tops = []
        for first, _ in looks:
            out = weights[:, None] * first[:, :, plan.part(unit)] * own
            tops.append(torch.linalg.vector_norm(out @ _top(out), dim=(1, 2)).max())
        factors[unit] = max(float(torch.stack(tops).max()) ** 2, 1e-12)
    return factors


def _needed(plan: Layout, multipliers: Sequence[Tensor], looks: Iterable[_Look]) -> Tensor:
    """About the smallest ρ at each frequency; inf where no ρ will do."""
    pencil = Pencil(plan, multipliers)
    found = []
    for look in looks:
        S, F = pencil.parts(look)
        L, info = torch.linalg.cholesky_ex(S)
        X = torch.linalg.solve_triangular(L, F, upper=False)
        v = _top(X.detach())
        value = torch.linalg.vector_norm(X @ v, dim=(1, 2)).square()
        found.append(torch.where((info == 0) & torch.isfinite(value), value, math.inf))
    return torch.cat(found)


def _top(X: Tensor) -> Tensor:
    """About the first right singular vectors, (b, x, 1), of length 1."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(X.shape[-1], 1, generator=generator, dtype=torch.float64).to(X.device, X.dtype)
    v = v.expand(len(X), -1, -1)
    for _ in range(POWER_STEPS):
        v = v / torch.linalg.vector_norm(v, dim=1, keepdim=True).clamp(min=1e-300)
        v = X.mH @ (X @ v)
    result: Tensor = v / torch.linalg.vector_norm(v, dim=1, keepdim=True).clamp(min=1e-300)
    return result


def _descend(plan: Layout, start: Sequence[Tensor], looks: Sequence[_Look], steps: int) -> list[Tensor]:
    """Adam on log Λ; the best point on the way."""
    logs = [m.log().requires_grad_() for m in start]
    optimizer = torch.optim.Adam(logs, lr=RATE)
    best, kept = math.inf, [m.clone() for m in start]
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        here = [log.exp() for log in logs]
        value = _needed(plan, here, looks).max()
        if not bool(torch.isfinite(value)):
            break
        if float(value.detach()) < best:
            best, kept = float(value.detach()), [m.detach().clone() for m in here]
        optimizer.zero_grad()
        value.log().backward()
        optimizer.step()
    return kept


def _rounded(multipliers: Tensor) -> Tensor:
    """To a few digits, upwards: larger Λ keep S positive."""
    digits = 10.0 ** (DIGITS - 1 - multipliers.log10().floor())
    texts = [f"{float(m):.{DIGITS - 1}e}" for m in (multipliers * digits).ceil() / digits]
    return multipliers.new_tensor([float(text) for text in texts])


def _prove(plan: Layout, multipliers: Sequence[Tensor], known: Tensor, useful: float) -> Found | None:
    """The first of rising ρ for which the inequality is proved everywhere; None if that is not useful.

    A proof costs less than a look; only frequencies at which it fails are looked at.
    """
    waiting, margin = plan.points, FIRST_MARGIN
    rho = float(_needed(plan, multipliers, _looks(plan, known)).max())
    for _ in range(TRIALS):
        if not 0 < rho < math.inf or not rho * (1 + margin) < useful:
            return None
        waiting = waiting[~Pencil(plan, multipliers, rho * (1 + margin)).proved(waiting)]
        if not len(waiting):
            return Found(tuple(multipliers), rho * (1 + margin))
        worst = float(_needed(plan, multipliers, _looks(plan, _spread(waiting, LOOKS))).max())
        rho, margin = max(rho, worst), margin if worst > rho * (1 + margin) else 4 * margin
    return None
