"""Clipping that leaves the rest of the spectrum in its place, for maps small enough to have all of it.

The nearest weights (`fast_clip`) move what lies far below the limit a little, too: a kernel has fewer weights
than its layer has singular values.  Here the measure is the spectrum itself,

    minimise  Σ_{σ_i < 0.9c} w_i ((σ_i(W) − σ_i)/s_i)² + ε ‖T_W − T_W₀‖²_F / c²    subject to  σ₁(T_W) ≤ c,

by Levenberg and Marquardt's steps: with singular vectors u_i, v_i of the weights W_k and their gradients G_i,
σ_i(W) is about ⟨G_i, W⟩ (equal at W_k, as σ_i is homogeneous), so each step is a quadratic programme like
that of `cuts`, in another metric, which holds W near W_k, too.  Singular vectors are free to turn: T moves
more than it must.

First s_i is the value's own size, and w_i = 1.  Where that does not succeed, s_i = c, and w_i grows with what
is still missing (Lawson), as the largest change counts.  The groups of a convolution are maps of their own.

Stewart, Sun (1990), Matrix Perturbation Theory, ch. IV (derivatives of singular values); Marquardt (1963),
J. SIAM 11; Lawson (1961), Contributions to the theory of linear least maximum approximation.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from lipaudit.repair.cuts import nearest_by
from lipaudit.repair.gradient import reads_per_tap, weight_gradients
from lipaudit.spectral.maps import Conv

__all__ = ["keep_spectrum"]

LOW = 0.9
"""Of the limit: values below are kept."""
OWN, LIMIT = 0.01, 1.0
"""s_i is at least that share of c: a hundredth, below which a value's own size is no measure; or c itself."""
FAITHFUL, SLOW = 1e-6, 1e-3
"""ε, and how much staying near the last step counts in the beginning, beside the spectrum."""
ENOUGH, SETTLED, FARTHER = 0.01, 0.004, 8.0
"""A change that is no matter; one that need not be smaller; how much farther from W₀ the weights may be."""
MOST_ENTRIES, MOST_WEIGHTS = 600_000, 1200
"""Of the matrix and of the kernel: a step is an SVD and a Cholesky factorisation of these, about 0.3 s."""
ROUNDS, PATIENCE = 100, 8
"""At most so many steps, and so many that bring nothing."""


def keep_spectrum(original: Conv, clipped: Conv, limit: float) -> Conv:
    """Weights whose lower spectrum stays in its place, if clipping moved it and there are any not far away.

    Args:
        original: W₀.
        clipped: the nearest weights within the limit.
        limit: c.

    Returns:
        Where clipping changes values below 0.9c by more than 1 % (of themselves, or of c/100 if they are
        smaller), and the map is small: weights that do not, if there are any not much farther from W₀ than
        they have to be; or else such whose values below 0.9c change by at most 1 % of c, or by half as much
        as those of `clipped`; else `clipped`.
    """
    pairs = zip(original.weight.chunk(original.groups), clipped.weight.chunk(original.groups), strict=True)
    return clipped.with_weight(
        torch.cat(
            [
                _kept(original.in_one_group(one), clipped.in_one_group(other), limit).weight
                for one, other in pairs
            ]
        )
    )


def _kept(original: Conv, clipped: Conv, limit: float) -> Conv:
    entries = math.prod(original.in_shape) * math.prod(original.out_shape)
    if entries > MOST_ENTRIES or original.weight.numel() > MOST_WEIGHTS:
        return clipped
    before = torch.linalg.svdvals(original.as_matrix())
    farthest = FARTHER * _distance(clipped, original)
    moved = torch.linalg.svdvals(clipped.as_matrix())
    nearest, smallest = clipped, _low_change(before, moved, limit) / 2
    for least in (OWN, LIMIT):
        if _low_change(before, moved, limit, least) <= ENOUGH:
            return clipped
        kept = _descended(original, clipped, before, limit, least)
        if _distance(kept, original) > farthest:
            continue
        values = torch.linalg.svdvals(kept.as_matrix())
        if _low_change(before, values, limit, least) <= ENOUGH:
            return kept
        change = _low_change(before, values, limit)
        if change <= smallest:
            nearest, smallest = kept, change
    return nearest


def _distance(one: Conv, other: Conv) -> float:
    return float(((one.weight - other.weight) ** 2 * reads_per_tap(one)).sum().sqrt())


def _descended(original: Conv, now: Conv, before: Tensor, limit: float, least: float) -> Conv:
    """The best of some steps."""
    low = before < LOW * limit
    scales = 1 / before[low].clamp(min=least * limit)
    shape, start = original.weight.shape, original.weight.flatten()
    metric = reads_per_tap(original).expand(shape).flatten() / limit**2
    best, smallest, cuts = now, math.inf, start.new_zeros(0, len(start))
    slow, weights, idle = SLOW, torch.ones_like(scales), 0
    for _ in range(ROUNDS):
        left, values, right = torch.linalg.svd(now.as_matrix(), full_matrices=False)
        outputs, inputs = left.T.reshape(-1, *now.out_shape), right.reshape(-1, *now.in_shape)
        gradients = weight_gradients(now, outputs, inputs).flatten(1)
        counts = scales * weights.sqrt()
        rows = gradients[low] * counts[:, None]
        factor = torch.linalg.cholesky(torch.diag((FAITHFUL + slow) * metric) + rows.T @ rows)
        wanted = metric * (FAITHFUL * start + slow * now.weight.flatten()) + rows.T @ (before[low] * counts)
        anchor = torch.cholesky_solve(wanted[:, None], factor)[:, 0]
        cuts = torch.cat([cuts, gradients[values > LOW * limit]])
        weight, active = nearest_by(anchor, partial(_solved, factor), cuts, limit)
        now, cuts = now.with_weight(weight.reshape(shape)), cuts[active]
        reached = torch.linalg.svdvals(now.as_matrix())
        share = min(1.0, limit / float(reached[0]))
        missed = (share * reached - before)[low].abs() * scales
        change = float(missed.max())
        better, idle = change < smallest, 0 if change < 0.98 * smallest else idle + 1
        if better:
            best, smallest = now.with_weight(now.weight * share), change
        if smallest <= SETTLED or idle >= PATIENCE:
            break
        slow = slow / 2 if better else min(2 * max(slow, SLOW / 2), 1.0)
        if least == LIMIT:
            weights = weights * (missed / change + 0.1)
            weights = weights / weights.mean()
    return best


def _solved(factor: Tensor, rows: Tensor) -> Tensor:
    return torch.cholesky_solve(rows.T, factor).T


def _low_change(before: Tensor, after: Tensor, limit: float, least: float = LIMIT) -> float:
    """The largest change of a value below 0.9c, relative to max(σ, `least`·c); 0 where there is none."""
    low = before < LOW * limit
    moved = (after - before)[low].abs() / before[low].clamp(min=least * limit)
    return float(moved.max()) if moved.numel() else 0.0
