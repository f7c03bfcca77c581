"""All image sizes at once, from a coarse grid: the supremum of the symbol over continuous frequencies.

With N_i grid points per axis and d_i = ⌈e_i/s_i⌉ − 1 (the degree of the polyphase symbol),

    sup_ω σ₁(K̂(ω)) ≤ max_grid σ₁(K̂) · ∏_i sec(π d_i / (2N_i)),   if π d_i/(2N_i) < π/2.

Proof, one axis at a time.  Let S be the supremum along axis i, attained at ω with right singular vector
v.  p(t) = ‖K̂(ω + t e_i)v‖² is a trigonometric polynomial of degree d_i with values in [0, S²] and
p(0) = S².  By M. Riesz' comparison with S²cos²(d_i t/2) near a maximum, p(t) ≥ S² cos²(d_i t/2) for
|t| ≤ π/d_i; some grid point has |t| ≤ π/N_i, and σ₁² ≥ p there. ∎

The zero-padded map of any size is a compression of the convolution on ℤ^D, whose norm is the
supremum; so is a circular block-circulant one, whose grid is part of the continuum.  For other
paddings T = (valid convolution) ∘ P, and PᵀP is diagonal with the number of copies of each cell:
‖T‖ ≤ √copies · sup.

Delattre et al. (2024), arXiv 2402.00240 (the factor there is 1/(1 − d/N)); Bernstein–Szegő inequality:
Borwein, Erdélyi (1995), Polynomials and Polynomial Inequalities, ch. 5.
"""

from __future__ import annotations

import math

import torch

from lipaudit.errors import NotCovered
from lipaudit.rounding import UNIT, div_down, div_up, mul_up, sqrt_up
from lipaudit.spectral.branch import grid_cost, largest_on_grid
from lipaudit.spectral.cells import Domain
from lipaudit.spectral.fft import is_block_circulant
from lipaudit.spectral.maps import Conv
from lipaudit.spectral.method import Effort, Method, Plain
from lipaudit.spectral.symbol import Symbol, polyphase

__all__ = ["METHOD", "copies", "repetition"]

POINTS_PER_DEGREE = (32, 16, 8)
"""sec(π/64) = 1.0012, sec(π/32) = 1.0048, sec(π/16) = 1.0196 per axis; the finest that is affordable."""
AFFORDABLE = 2e11
"""Float operations, about ten seconds on one core."""


def copies(conv: Conv) -> int:
    """How often padding repeats the most repeated cell of the image (1 for zeros).

    Counted by padding the indices themselves; copies multiply over axes.
    """
    if conv.padding_mode == "zeros":
        return 1
    total = 1
    for axis, (left, right) in enumerate(conv.padding):
        n = conv.image[axis]
        total *= int(conv.source_cells(axis, torch.arange(-left, n + right)).bincount(minlength=n).max())
    return total


def repetition(conv: Conv) -> float:
    """What the supremum of the symbol is multiplied by: √copies, or 1 if the map is block-circulant."""
    return 1.0 if is_block_circulant(conv) else sqrt_up(copies(conv))


def _plan(conv: Conv) -> tuple[Symbol, tuple[int, ...]]:
    symbol = polyphase(conv, conv.stride)
    grid: tuple[int, ...] = ()
    for density in POINTS_PER_DEGREE:
        grid = tuple(max(1, density * d) for d in symbol.degrees)
        if symbol.cost(grid) <= AFFORDABLE:
            break
    return symbol, grid


def _cost(plain: Plain) -> float:
    if not isinstance(plain, Conv):
        return math.inf
    return grid_cost(*_plan(plain))


def _compute(plain: Plain, start: float, effort: Effort) -> float:
    if not isinstance(plain, Conv):
        raise NotCovered("not a convolution")
    symbol, grid = _plan(plain)
    factor = _factor(plain, symbol, grid)
    return mul_up(largest_on_grid(symbol, grid, start=start / factor, effort=effort), factor)


def _confirm(plain: Plain, tau: float, effort: Effort) -> bool:
    if not isinstance(plain, Conv):
        raise NotCovered("not a convolution")
    symbol, grid = _plan(plain)
    domain = Domain.of_grid(symbol, grid, memory=effort.memory)
    return domain.holds(div_down(tau, _factor(plain, symbol, grid)), effort)


def _factor(conv: Conv, symbol: Symbol, grid: tuple[int, ...]) -> float:
    """√copies · ∏ sec(πd/2N), rounded up."""
    factor = repetition(conv)
    for d, n in zip(symbol.degrees, grid, strict=True):
        # Angle and cosine each err by a few ulp; the cosine is at least cos(π/16) here.
        cosine = math.cos(math.pi * d / (2 * n)) * (1 - 16 * UNIT) if d else 1.0
        factor = mul_up(factor, div_up(1.0, cosine))
    return factor


METHOD = Method(
    "low-resolution",
    "any image size: coarse grid of the symbol × ∏ sec(πd/2N)",
    _cost,
    _compute,
    _confirm,
    outdone_by="supremum",
)
