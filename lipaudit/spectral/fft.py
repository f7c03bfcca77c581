"""Circular padding: the exact grid of frequencies.

With p_l + p_r = e − 1 on every axis and stride s dividing n, T is block-circulant on the regrouped
image of n/s cells, hence unitarily equivalent to its symbol on that grid:

    ‖T‖ = max over l of σ₁(K̂_polyphase(2πl/(n/s)))        (kernels longer than n wrap).

With p_l + p_r ≤ e − 1 and any stride, the outputs are distinct rows of the stride-1 circulant (rows
s·y span at most n − 1), whose norm on the n-grid bounds T.

Trap: when s does not divide n, the polyphase grid bounds nothing (K = [1,1,1], n = 3, s = 2: true √6,
polyphase √5), so the stride-1 circulant is taken.

Sedghi, Gupta, Long (2019), "The Singular Values of Convolutional Layers", ICLR.
"""

from __future__ import annotations

import math

from lipaudit.errors import NotCovered
from lipaudit.spectral.branch import largest_on_grid
from lipaudit.spectral.maps import Conv
from lipaudit.spectral.method import Effort, Method, Plain
from lipaudit.spectral.symbol import polyphase

__all__ = ["METHOD", "is_block_circulant"]


def is_block_circulant(conv: Conv) -> bool:
    """Circular "same" padding with a stride that divides the image, on every axis."""
    geometry = zip(conv.padding, conv.extent, conv.image, conv.stride, strict=True)
    return conv.padding_mode == "circular" and all(
        sum(pads) == e - 1 and n % s == 0 for pads, e, n, s in geometry
    )


def _grid(plain: Plain) -> tuple[Conv, tuple[int, ...], tuple[int, ...]]:
    """The convolution, the stride its symbol is regrouped for, and the grid."""
    if not isinstance(plain, Conv) or plain.padding_mode != "circular":
        raise NotCovered("not a circular convolution")
    if is_block_circulant(plain):
        return plain, plain.stride, tuple(n // s for n, s in zip(plain.image, plain.stride, strict=True))
    if any(sum(pads) > e - 1 for pads, e in zip(plain.padding, plain.extent, strict=True)):
        raise NotCovered("circular padding larger than the kernel: outputs repeat")
    return plain, (1,) * len(plain.image), plain.image


def _cost(plain: Plain) -> float:
    try:
        conv, stride, grid = _grid(plain)
    except NotCovered:
        return math.inf
    return polyphase(conv, stride).cost(grid)


def _compute(plain: Plain, start: float, effort: Effort) -> float:
    conv, stride, grid = _grid(plain)
    return largest_on_grid(polyphase(conv, stride), grid, start=start, effort=effort)


METHOD = Method("fft", "circular padding: σ₁ of the symbol on the exact grid", _cost, _compute)
