"""The nearest weights whose map keeps within a limit: a quadratic programme, by cutting planes.

‖T_W‖ ≤ c holds if and only if ⟨u, T_W v⟩ = ⟨G_uv, W⟩ ≤ c for all unit u and v: half-spaces, of which a few
matter.  Given some of them as rows of A, the nearest W to W₀ in the metric Σ d_i (W − W₀)_i² is

    W = W₀ − D⁻¹Aᵀλ,   λ ≥ 0 minimising ½ λᵀ(A D⁻¹Aᵀ)λ + λᵀ(c − A W₀).

Cuts with λ = 0 may be dropped: without them the minimum is the same, and it only grows as cuts are added.

Kelley (1960), "The cutting-plane method for solving convex programs", J. SIAM 8; Beck, Teboulle (2009),
"A fast iterative shrinkage-thresholding algorithm", SIAM J. Imaging Sci. 2 (with restarts).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["nearest", "nearest_by"]

STEPS = 5000
"""Of the dual ascent; each is one product with a matrix of as many rows as there are cuts."""
ACCURACY = 1e-9


def nearest(anchor: Tensor, metric: Tensor, cuts: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """The nearest point to `anchor` with cuts·x ≤ limit.

    Args:
        anchor: (p,) W₀.
        metric: (p,) positive d.
        cuts: (n, p) A.
        limit: c.

    Returns:
        x (p,) and which cuts hold it back (n,) bool.
    """
    return nearest_by(anchor, lambda rows: rows / metric, cuts, limit)


def nearest_by(
    anchor: Tensor, solve: Callable[[Tensor], Tensor], cuts: Tensor, limit: float
) -> tuple[Tensor, Tensor]:
    """The same in the metric (x − W₀)ᵀH(x − W₀).

    Args:
        anchor: (p,) W₀.
        solve: rows (n, p) to rows·H⁻¹.
        cuts: (n, p) A.
        limit: c.
    """
    scaled = solve(cuts)
    gram = scaled @ cuts.T
    gaps = limit - cuts @ anchor
    # Every cut in units of its own length.
    length = gram.diagonal().clamp(min=torch.finfo(torch.float64).tiny).rsqrt()
    factors = _multipliers(length[:, None] * gram * length, gaps * length) * length
    return anchor - factors @ scaled, factors > 0


def _multipliers(gram: Tensor, gaps: Tensor) -> Tensor:
    """λ ≥ 0 that minimises ½ λᵀ gram λ + λᵀ gaps."""
    if not len(gaps):
        return gaps
    curvature = float(torch.linalg.matrix_norm(gram, 2))
    now = ahead = torch.zeros_like(gaps)
    pace = 1.0
    for _ in range(STEPS):
        following = (ahead - (gram @ ahead + gaps) / curvature).clamp(min=0.0)
        moved = following - now
        if float(((ahead - following) * moved).sum()) > 0:
            pace = 1.0  # it overshot: without momentum from here
        if bool((moved.abs() <= ACCURACY * following.max()).all()):
            return following
        faster = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
        ahead, now, pace = following + (pace - 1) / faster * moved, following, faster
    return now
