"""Reshape bound: √reads · ‖kernel as (c_out, c_in·∏k)‖.

T = (K as a matrix, at every output position) ∘ U, where U unfolds the image into windows.  Each row of U
copies one cell, so UᵀU is diagonal and counts how often a cell is read, over all taps and positions:

    ‖T‖ ≤ √(max reads) · ‖K as c_out × (c_in·∏k)‖     (largest group).

With zero padding reads ≤ ∏⌈k/(s/gcd(s,d))⌉; here it is counted on the actual image, which also covers
wrapping, reflected and replicated cells.  Reads multiply over axes.

Tsuzuku, Sato, Sugiyama (2018), "Lipschitz-Margin Training", NeurIPS, sec. 4 (corrected for dilation).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lipaudit.errors import NotCovered
from lipaudit.rounding import div_down, mul_up, sqrt_up
from lipaudit.spectral.checker import proves
from lipaudit.spectral.maps import Conv
from lipaudit.spectral.method import Effort, Method, Plain
from lipaudit.spectral.search import largest_norm

__all__ = ["METHOD", "reads_per_tap"]


def reads_per_tap(conv: Conv, axis: int) -> Tensor:
    """(k, n) int64: how often each tap reads each cell of that axis, over all outputs."""
    n, reads = conv.image[axis], conv.reads(axis)
    return torch.stack([row[row >= 0].bincount(minlength=n) for row in reads])


def _cost(plain: Plain) -> float:
    if not isinstance(plain, Conv):
        return math.inf
    p, q = sorted((plain.weight.shape[0] // plain.groups, math.prod(plain.weight.shape[1:])))
    return plain.groups * (2.0 * p * p * q + 4.0 * p**3)


def _compute(plain: Plain, start: float, effort: Effort) -> float:
    if not isinstance(plain, Conv):
        raise NotCovered("not a convolution")
    del start, effort  # `start` estimates T, not the reshaped kernel
    factor, matrix = _folded(plain)
    return mul_up(factor, largest_norm([matrix]))


def _confirm(plain: Plain, tau: float, effort: Effort) -> bool:
    if not isinstance(plain, Conv):
        raise NotCovered("not a convolution")
    del effort
    factor, matrix = _folded(plain)
    return bool(proves(matrix, div_down(tau, factor)).all())


def _folded(conv: Conv) -> tuple[float, Tensor]:
    """√reads rounded up, and the kernel as a matrix per group."""
    reads = math.prod(int(reads_per_tap(conv, axis).sum(dim=0).max()) for axis in range(len(conv.image)))
    return sqrt_up(reads), conv.weight.reshape(conv.groups, conv.weight.shape[0] // conv.groups, -1)


METHOD = Method("reshape", "√reads · ‖kernel as (c_out, c_in·∏k)‖", _cost, _compute, _confirm)
