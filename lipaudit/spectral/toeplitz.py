"""The finite map's own norm: ‖T‖ = √λ_max(TᵀT), proved on the block-banded matrix TᵀT or TTᵀ.

With stride s and dilated extent e, TᵀT couples input rows at most e − 1 apart (one output reads both) and
TTᵀ output rows at most ⌊(e − 1)/s⌋ apart; reflected and replicated rows lie near the rows they copy, and a
ring folded in half is a band, too.  `banded` builds that matrix H for the axis and the side that cost
least, with a bound ε on its rounding; `tridiagonal.ceiling(H, t)` proves a number ≥ λ_max(H), so that

    ‖T‖ ≤ √(ceiling(H, t) + ε)     for t a little above Lanczos' λ_max(H), raised until it is proved.

No limit, no grid and no factor: with Lanczos converged the bound lies about 1e-7 above ‖T‖.  Cubic in the
width of a row and linear in the number of rows, it is for small images and few channels.  Groups act on
disjoint channels: the norm is the largest of theirs.

George, Liu (1981), Computer Solution of Large Sparse Positive Definite Systems, ch. 4; Rump (2006), BIT 46.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lipaudit.errors import NotCovered
from lipaudit.rounding import UNIT, add_up, mul_down, sqrt_up, sub_down
from lipaudit.spectral.banded import Gramian, Layout, axes_of, cheapest_layout, has_few_reads
from lipaudit.spectral.krylov import likely_top
from lipaudit.spectral.maps import Conv
from lipaudit.spectral.method import DEFAULT, Effort, Method, Plain
from lipaudit.spectral.tridiagonal import ceiling

__all__ = ["METHOD", "holds", "likely_norm", "proved_norm"]

STEPS = 800
"""Lanczos steps at most: on hundreds of rows the largest eigenvalues lie close together."""
EXPECTED_STEPS = 200
CONVOLVED = 6.0
"""Float operations in a product that a convolution's are worth: float64 runs that much slower there."""
HALVINGS, CHEAP = 10, 1e9
"""Proofs that close in on the norm where Lanczos stopped too early, if one takes fewer float operations."""
MARGINS, CORRECTIONS = (1e-10, 1e-12, 1e-14), 3
"""Relative steps below a claimed λ_max: searches stop 1e-9 above the norm, or nearer where Lanczos did."""
UNREASONABLE = 2e13
"""Float operations from which on the method does not start: ten minutes of one core."""


def likely_norm(conv: Conv, tolerance: float) -> float:
    """About ‖T‖, for a proof to start from."""

    def apply(v: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(enabled=False):
            return conv.adjoint(conv.apply(v))

    top = likely_top(apply, conv.weight.new_zeros(1, *conv.in_shape), STEPS, tolerance / 10)
    return math.sqrt(max(float(top), 0.0))


def proved_norm(gramian: Gramian, likely: float, tolerance: float) -> float:
    """A proved bound on the largest ‖T‖ of the batch; inf if nothing above `likely` but below its tenfold is.

    Args:
        gramian: of T.
        likely: about ‖T‖, unproved.
        tolerance: the relative excess to try first; it is widened tenfold each time the proof fails.
    """
    error = gramian.error()

    def granted(margin: float) -> float:
        # No proof can succeed below the error of forming H.
        shift = (max(likely, math.sqrt(error)) * (1 + margin)) ** 2
        bound = float(ceiling(gramian.rows(), shift).max())
        return bound if bound == math.inf else sqrt_up(add_up(bound, error))

    first = max(tolerance, 4 * UNIT)
    margin, best = first, granted(first)
    while best == math.inf and margin < 1:
        margin *= 10
        best = granted(margin)
    if margin == first or best == math.inf:
        return best
    # The last margin but one failed: between the two by halves of the exponent, where that costs little.
    low, high = margin / 10, margin
    for _ in range(HALVINGS if gramian.layout.cost < CHEAP else 2):
        middle = math.sqrt(low * high)
        closer = granted(middle)
        low, high, best = (middle, high, best) if closer == math.inf else (low, middle, min(best, closer))
    return best


def holds(gramian: Gramian, tau: float) -> bool:
    """Whether every ‖T‖ of the batch is proved to be ≤ τ; False proves nothing.

    λ_max(H) ≤ τ² − ε is enough.  `ceiling` adds what it rounds to the number t that it is given, so t is
    taken a little below, and once more by as much as that was too much.
    """
    room = sub_down(mul_down(tau, tau), gramian.error())
    for margin in MARGINS:
        shift = room * (1 - margin)
        for _ in range(CORRECTIONS):
            if not shift > 0:
                return False
            found = float(ceiling(gramian.rows(), shift).max())
            if found <= room:
                return True
            if found == math.inf:
                break
            shift -= 1.02 * (found - room)
    return False


def _layout(conv: Conv, effort: Effort) -> Layout:
    if not has_few_reads(conv):
        return Layout(0, inputs=True, folded=False, group=1)
    channels = (conv.weight.shape[0] // conv.groups, conv.weight.shape[1])
    return cheapest_layout(conv.groups, channels, axes_of(conv), effort.memory)


def _total(conv: Conv, layout: Layout) -> float:
    products = 4.0 * conv.weight.numel() * math.prod(conv.out_image)
    return layout.cost + EXPECTED_STEPS * CONVOLVED * products


def _cost(plain: Plain) -> float:
    return _total(plain, _layout(plain, DEFAULT)) if isinstance(plain, Conv) else math.inf


def _compute(plain: Plain, start: float, effort: Effort) -> float:
    del start  # converged to five digits at best
    if not isinstance(plain, Conv):
        raise NotCovered("not a convolution")
    layout = _layout(plain, effort)
    if _total(plain, layout) > UNREASONABLE:
        raise NotCovered(f"{plain!r}: the band of TᵀT is too wide for reasonable time or memory")
    kernel = plain.weight.reshape(plain.groups, -1, *plain.weight.shape[1:])
    likely = likely_norm(plain, effort.tolerance)
    bound = 0.0
    for some in kernel.split(max(1, int(effort.memory // layout.memory))):
        gramian = Gramian(some, axes_of(plain), layout)
        bound = max(bound, proved_norm(gramian, max(likely, bound), effort.tolerance))
    if bound == math.inf:
        raise NotCovered(f"{plain!r}: no proof up to ten times the likely norm")
    return bound


def _confirm(plain: Plain, tau: float, effort: Effort) -> bool:
    if not isinstance(plain, Conv):
        raise NotCovered("not a convolution")
    layout = _layout(plain, effort)
    kernel = plain.weight.reshape(plain.groups, -1, *plain.weight.shape[1:])
    parts = kernel.split(max(1, int(effort.memory // layout.memory)))
    return all(holds(Gramian(some, axes_of(plain), layout), tau) for some in parts)


METHOD = Method("exact", "√λ_max of the finite TᵀT: verified banded Cholesky", _cost, _compute, _confirm)
