"""How small each layer becomes, so that the whole becomes small enough and the least is lost.

A layer clipped from its norm s to r·s loses the share

    E(r) = Σ ‖(T − T_r) x‖² / Σ ‖T x‖²

of its output's energy, x running over the activations that reach it on some samples; without samples over
noise, ‖T − T_r‖_F²/‖T‖_F².  **The rule:** of all shares r_l with Π r_l = ρ those with the least Σ_l E_l(r_l).

E is measured at a few r and continued linearly in log r, on the lower convex hull; then the minimum is found
by taking the cheapest pieces first, a piece's price being the energy that one unit of log r costs: every
layer is clipped until one more unit costs the same everywhere (water-filling).  A layer whose top singular
values stand out, or are not met by the data, pays first.

The energies add up as if layers did not see each other's losses: a rule to share by, not a statement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from lipaudit.repair.fourier_clip import clip_on_grid, has_grid
from lipaudit.repair.gradient import reads_per_tap
from lipaudit.spectral.maps import Conv, LinearMap

__all__ = ["SHARES", "losses", "shared"]

SHARES = (1.0, 0.85, 0.7, 0.5, 0.35, 0.25, 0.15, 0.08, 0.03)
"""Shares of a layer's norm at which the loss is measured."""
ROUNDS = 15
"""Of clipping on the grid: a sketch of what the layer will be."""


def losses(linear_map: LinearMap, norm: float, method: str, samples: Tensor | None) -> list[float]:
    """E at each of `SHARES`.

    Args:
        linear_map: T.
        norm: about ‖T‖.
        method: rescaling loses (1 − r)²; what clips is measured.
        samples: (n, *in_shape) float64, or None for noise.
    """
    if method == "rescaling" or norm == 0:
        return [(1 - share) ** 2 for share in SHARES]
    sketch = _sketches(linear_map, norm)
    before = _energy(linear_map, linear_map.weight, samples)
    found = [0.0]
    for share in SHARES[1:]:
        moved = linear_map.weight - sketch(share * norm)
        lost = _energy(linear_map, moved, samples) / before if before > 0 else (1 - share) ** 2
        found.append(max(found[-1], lost))
    return found


def _sketches(linear_map: LinearMap, norm: float) -> Callable[[float], Tensor]:
    if isinstance(linear_map, Conv):
        if has_grid(linear_map):
            return lambda limit: clip_on_grid(linear_map, limit, norm, ROUNDS).weight
        return lambda limit: linear_map.weight * (limit / norm)
    left, values, right = torch.linalg.svd(linear_map.weight, full_matrices=False)
    return lambda limit: (left * values.clamp(max=limit)) @ right


def _energy(linear_map: LinearMap, weight: Tensor, samples: Tensor | None) -> float:
    if samples is None:
        return float((reads_per_tap(linear_map) * weight**2).sum())
    return float((linear_map.with_weight(weight).apply(samples) ** 2).sum())


def shared(costs: Sequence[Sequence[float]], factor: float) -> list[float]:
    """Shares r_l with product `factor` that lose least.

    Args:
        costs: `losses` of each layer.
        factor: ρ < 1.

    Returns:
        One share per layer; beyond the last of `SHARES` all shrink alike.
    """
    pieces: list[tuple[float, float, int]] = []
    for index, cost in enumerate(costs):
        points = [(-math.log(share), lost) for share, lost in zip(SHARES, cost, strict=True)]
        hull = _hull(points)
        for (x, low), (z, high) in pairwise(hull):
            pieces.append(((high - low) / (z - x), z - x, index))
    wanted = -math.log(factor)
    depth = [0.0] * len(costs)
    for _, width, index in sorted(pieces):
        taken = min(width, wanted)
        depth[index] += taken
        wanted -= taken
    return [math.exp(-(own + wanted / len(costs))) for own in depth]


def _hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lower convex hull of points sorted by their first number."""
    hull: list[tuple[float, float]] = []
    for x, y in points:
        while len(hull) > 1:
            (a, b), (c, d) = hull[-2:]
            if (d - b) * (x - a) < (y - b) * (c - a):
                break
            hull.pop()
        hull.append((x, y))
    return hull
