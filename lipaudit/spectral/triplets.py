"""Singular triplets, and what they prove: values that lie below the true ones, rounding included.

For any X with p columns, σ_i(T X) ≤ σ_i(T)·‖X‖ (Horn, Johnson 1991, Theorem 3.3.16), so

    σ_i(T) ≥ σ_i(T X_i) / ‖X‖     with X_i the first i columns,    ‖X‖² ≤ 1 + ‖XᵀX − I‖_F.

Write the computed images as Y = Û·diag(s), s_j about ‖y_j‖.  Then σ_i(Y_i) ≥ min_{j ≤ i} s_j · σ_min(Û_i) and
σ_min(Û_i)² ≥ 1 − ‖Û_iᵀÛ_i − I‖_F; by Weyl's inequality the rounding of the images costs at most

    ‖Y_i − T X_i‖_F ≤ (Σ_{j ≤ i} (error·‖x_j‖)²)^½.

Sums of m products err by γ_m in any order; dividing by s_j costs u·‖Y‖_F.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from lipaudit.rounding import (
    UNDERFLOW,
    UNIT,
    add_up,
    div_down,
    down,
    gamma,
    hypot_up,
    mul_down,
    mul_up,
    scale_up,
    sqrt_down,
    sqrt_up,
    sub_down,
)
from lipaudit.spectral.checker import refuse_emulation
from lipaudit.spectral.implicit import Implicit

__all__ = ["Triplets", "make_triplets", "values_below"]


@dataclass(frozen=True, slots=True, eq=False)
class Triplets:
    """Inputs that a linear map T amplifies most, and what it makes of them.

    Args:
        values: (k,) float64 on the CPU, non-increasing; values[i] ≤ σ_{i+1}(T), the largest being σ₁.
        right: (k, *in_shape) float64, orthonormal up to rounding, in the order of the values.
        left: (k, *out_shape) float64: unit images, 0 where the value is 0.
        steps: products with TᵀT of a block of vectors.
        settled: whether the search ended by its tolerance, not by its budget.  The values lie below the true
            ones either way.
    """

    values: Tensor
    right: Tensor
    left: Tensor
    steps: int
    settled: bool


def make_triplets(implicit: Implicit, x: Tensor, error: float, steps: int, *, settled: bool) -> Triplets:
    """Apply T once more, to rows x (k, inputs), and read off what is proved.

    Args:
        implicit: the map.
        x: about orthonormal, and about right singular vectors in order.
        error: ‖fl(T v) − T v‖ ≤ error·‖v‖.
        steps: as in the result.
        settled: as in the result.
    """
    refuse_emulation()
    with torch.backends.cudnn.flags(enabled=False):  # Winograd and FFT algorithms err by more than γ
        image = implicit.times(x.to(implicit.dtype)).double()
    # What was applied is what `times` got.
    x = x.to(implicit.dtype).double()
    values = values_below(x, image, scale_up(error, -implicit.exponent))
    scaled_back = [_scaled_down(value, implicit.exponent) for value in values]
    found = torch.tensor(scaled_back, dtype=torch.float64)
    lengths = torch.linalg.vector_norm(image, dim=1, keepdim=True)
    known = (found > 0).to(image.device)[:, None]
    left = torch.where(known, image / torch.where(known, lengths, 1.0), 0.0)
    right = x.reshape(len(x), *implicit.in_shape)
    return Triplets(found, right, left.reshape(len(x), *implicit.out_shape), steps, settled)


def values_below(x: Tensor, image: Tensor, error: float) -> list[float]:
    """Numbers that σ_1(T), …, σ_k(T) are not less than, non-increasing.

    Args:
        x: (k, inputs) float64, near orthonormal for good values.
        image: (k, outputs) float64, about T x, of moderate size.
        error: ‖image_j − T x_j‖ ≤ error·‖x_j‖.
    """
    count = len(x)
    loss = gamma(x.shape[1] + 8), gamma(image.shape[1] + 16)
    spread = _defect(x, count, loss[0])
    largest = sqrt_up(add_up(1.0, spread))
    lengths = torch.linalg.vector_norm(image, dim=1)
    known = int((lengths > 0).long().cumprod(0).sum())
    unit = image[:known] / lengths[:known, None]
    sizes = lengths[:known].tolist()
    values, smallest = [], math.inf
    for i in range(1, known + 1):
        smallest = min(smallest, sizes[i - 1])
        straight = sqrt_down(sub_down(1.0, _defect(unit, i, loss[1])))
        # ‖x_j‖ ≤ ‖X‖, and ‖Y_i‖_F² is the sum of the lengths' squares.
        rounding = mul_up(2 * UNIT, hypot_up(*sizes[:i]))
        applied = mul_up(error, largest, sqrt_up(float(i)))
        wrong = add_up(rounding, applied, UNDERFLOW)
        values.append(div_down(sub_down(mul_down(smallest, straight), wrong), largest))
    values += [0.0] * (count - known)
    lowest, falling = math.inf, []
    for value in values:
        lowest = min(lowest, value)
        falling.append(lowest)
    return falling


def _defect(rows: Tensor, count: int, loss: float) -> float:
    """Above ‖R Rᵀ − I‖_F for the first rows, each about 1 long."""
    rows = rows[:count]
    gap = rows @ rows.T
    gap.diagonal().sub_(1.0)
    measured = float(torch.linalg.vector_norm(gap))
    # |R||R|ᵀ has entries ≤ the product of two lengths, and those are ≤ 1 + measured.
    summed = mul_up(2 * loss, float(count), add_up(1.0, measured), add_up(1.0, measured))
    return add_up(mul_up(measured, 1 + 4 * gamma(count * count + 8)), summed, UNDERFLOW)


def _scaled_down(value: float, exponent: int) -> float:
    """value·2^exponent, rounded down; the largest float64 where it overflows."""
    return max(0.0, down(Fraction(value) * Fraction(2) ** exponent)) if value else 0.0
