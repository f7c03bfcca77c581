"""Clipping that leaves the rest of the spectrum in its place, for maps small enough to have all of it.

The nearest weights (`fast_clip`) move what lies far below the limit a little, too: a kernel has fewer weights
than its layer has singular values.  Here the measure is the spectrum itself,

    minimise  Σ_{σ_i < 0.9c} ((σ_i(W) − σ_i)/σ_i)² + ε ‖T_W − T_W₀‖²_F / c²    subject to  σ₁(T_W) ≤ c,

by Gauss and Newton: with singular vectors u_i, v_i of the weights W_k and their gradients G_i, σ_i(W) is
about ⟨G_i, W⟩ (equal at W_k, as σ_i is homogeneous), so each step is a quadratic programme like that of
`cuts`, in another metric.  Singular vectors are free to turn: T moves more than it must.

Stewart, Sun (1990), Matrix Perturbation Theory, ch. IV (derivatives of singular values).
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from lipaudit.repair.cuts import nearest_by
from lipaudit.repair.gradient import reads_per_tap, weight_gradients
from lipaudit.spectral.maps import Conv

__all__ = ["keep_spectrum", "low_change"]

LOW = 0.9
"""Of the limit: values below are kept."""
FAITHFUL = 1e-4
"""ε: how much staying near W₀ counts beside the spectrum."""
ENOUGH, FARTHER = 0.01, 3.0
"""Of the limit: a change that is no matter; and how much farther from W₀ the weights may then be."""
MOST_ENTRIES, MOST_WEIGHTS, ROUNDS = 600_000, 1200, 8
"""Of the matrix and of the kernel: a step is an SVD and a Cholesky factorisation of these, about 0.3 s."""
SMALLEST = 0.01
"""Of the limit: smaller values are kept to this accuracy, not to their own size."""


def keep_spectrum(original: Conv, clipped: Conv, limit: float) -> Conv:
    """Weights whose lower spectrum stays in its place, if clipping moved it and there are any not far away.

    Args:
        original: W₀.
        clipped: the nearest weights within the limit.
        limit: c.

    Returns:
        Weights with values below 0.9c that change by at most 1 % of c, where those of `clipped` change by
        more, the map is small, and W is not much farther from W₀ than it has to be; else `clipped`.
    """
    entries = math.prod(original.in_shape) * math.prod(original.out_shape)
    if entries > MOST_ENTRIES or original.weight.numel() > MOST_WEIGHTS:
        return clipped
    before = torch.linalg.svdvals(original.as_matrix())
    if low_change(before, clipped, limit) <= ENOUGH:
        return clipped
    kept = _descended(original, clipped, before, limit)
    farther = _distance(kept, original) > FARTHER * _distance(clipped, original)
    return clipped if farther or low_change(before, kept, limit) > ENOUGH else kept


def _distance(one: Conv, other: Conv) -> float:
    return float(((one.weight - other.weight) ** 2 * reads_per_tap(one)).sum().sqrt())


def _descended(original: Conv, now: Conv, before: Tensor, limit: float) -> Conv:
    """The best of some Gauss–Newton steps."""
    low = before < LOW * limit
    scales = 1 / before[low].clamp(min=SMALLEST * limit)
    shape, start = original.weight.shape, original.weight.flatten()
    near = (FAITHFUL / limit**2) * reads_per_tap(original).expand(shape).flatten()
    best, smallest, cuts = now, math.inf, start.new_zeros(0, len(start))
    for _ in range(ROUNDS):
        left, values, right = torch.linalg.svd(now.as_matrix(), full_matrices=False)
        outputs, inputs = left.T.reshape(-1, *now.out_shape), right.reshape(-1, *now.in_shape)
        gradients = weight_gradients(now, outputs, inputs).flatten(1)
        rows = gradients[low] * scales[:, None]
        factor = torch.linalg.cholesky(torch.diag(near) + rows.T @ rows)
        wanted = near * start + rows.T @ (before[low] * scales)
        anchor = torch.cholesky_solve(wanted[:, None], factor)[:, 0]
        cuts = torch.cat([cuts, gradients[values > LOW * limit]])
        weight, active = nearest_by(anchor, partial(_solved, factor), cuts, limit)
        now, cuts = now.with_weight(weight.reshape(shape)), cuts[active]
        top = float(torch.linalg.matrix_norm(now.as_matrix(), 2))
        within = now.with_weight(now.weight * min(1.0, limit / top))
        change = low_change(before, within, limit)
        if change < smallest:
            best, smallest = within, change
    return best


def _solved(factor: Tensor, rows: Tensor) -> Tensor:
    return torch.cholesky_solve(rows.T, factor).T


def low_change(before: Tensor, after: Conv, limit: float) -> float:
    """The largest change of a value below 0.9c, relative to c; 0 where there is none."""
    low = before < LOW * limit
    moved = (torch.linalg.svdvals(after.as_matrix()) - before)[low].abs()
    return float(moved.max()) / limit if moved.numel() else 0.0
