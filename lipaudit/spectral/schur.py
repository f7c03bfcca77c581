"""Schur test: ‖T‖ ≤ √(‖T‖₁ ‖T‖_∞), from sums of absolute weights.

The largest absolute row sum of T is at most max over o of Σ_{i,t}|K[o,i,t]|, whatever the padding; the
largest column sum is at most max over i of Σ_{o,t} m_t |K[o,i,t]|, where m_t counts how often tap t reads
one cell (1 with zero padding).  The Frobenius norm bounds a dense map as well.  Costs one pass over
the weights and covers every map, so no map is ever left without a bound.

Horn, Johnson (2013), Matrix Analysis, 2nd ed., 5.6.P21 (‖A‖₂² ≤ ‖A‖₁‖A‖_∞).
"""

from __future__ import annotations

import math

import torch

from lipaudit.rounding import gamma, mul_up, sqrt_up
from lipaudit.spectral.maps import Conv
from lipaudit.spectral.method import Effort, Method, Plain
from lipaudit.spectral.reshape import reads_per_tap

__all__ = ["METHOD", "schur_bound"]


def schur_bound(plain: Plain) -> float:
    """√(‖|T|‖₁‖|T|‖_∞), which bounds the norm of |T| too (rounding analyses want that one)."""
    magnitude = plain.weight.abs()
    if isinstance(plain, Conv):
        kernel = magnitude.flatten(2)
        repeats = torch.ones(1, dtype=torch.float64)
        for axis in range(len(plain.image)):
            per_tap = reads_per_tap(plain, axis).amax(dim=1).double()
            repeats = torch.outer(repeats, per_tap).flatten()
        rows = kernel.sum(dim=(1, 2))
        grouped = (kernel * repeats.to(kernel.device)).reshape(plain.groups, -1, *kernel.shape[1:])
        columns = grouped.sum(dim=(1, 3))
    else:
        rows, columns = magnitude.sum(dim=1), magnitude.sum(dim=0)
    # Sums of ≤ numel terms, each with one product before it.
    error = 1 + 4 * gamma(magnitude.numel() + 4)
    return sqrt_up(mul_up(float(rows.max()), float(columns.max()), error, error))


def _cost(plain: Plain) -> float:
    return float(plain.weight.numel())


def _compute(plain: Plain, start: float, effort: Effort) -> float:
    del start, effort
    if isinstance(plain, Conv):
        return schur_bound(plain)
    frobenius = float(torch.linalg.vector_norm(plain.weight))
    frobenius = mul_up(frobenius, 1 + 4 * gamma(plain.weight.numel() + 8)) + math.ulp(0.0)
    return min(frobenius, schur_bound(plain))


def _confirm(plain: Plain, tau: float, effort: Effort) -> bool:
    return _compute(plain, tau, effort) <= tau


METHOD = Method(
    "schur", "√(largest row sum × largest column sum) of absolute entries", _cost, _compute, _confirm
)
