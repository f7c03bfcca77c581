"""Zero padding: circulant embedding on a finite grid.

Let the outputs that read at least one real cell be y = 0 … n_out − 1 (others are zero rows), p_l the
left padding they see and p_r how far the last one reads beyond the image.  For any

    N ≥ max(n + max(p_l, p_r), s(n_out − 1) + 1),   s | N,

**‖T‖ ≤ max over the (N/s)-grid of σ₁(K̂_polyphase),**

and also with the grid shifted by half a step, ω = (2πl + π)/(N/s), on any of the axes.

Proof.  Put the image at 0 … n − 1 on the cycle Z_N and let C be the circular convolution there.  Row
s·y − p_l of C reads the residues of s·y − p_l + j ∈ [−p_l, n − 1 + p_r].  As N ≥ n + max(p_l, p_r), such a
residue lies in [0, n) only if the integer itself does, so C restricted to the columns 0 … n − 1 agrees
with T there.  Rows are distinct (N > s(n_out − 1)) and, s dividing N, lie in one coset of sZ_N: T is a
sub-block of the strided circulant, whose norm is the stated maximum.  T does not see the entries of C that
wrap around; with their sign flipped on an axis C is skew-circulant, whose symbol is K̂ on the shifted grid. ∎
On coarse grids the kindest of the 2^D is some per cent lower.

Trap: N = n is not valid; the 5-point Laplacian at n = 7 has zero-padded norm 7.6955, circular 7.6039.
"""

from __future__ import annotations

import itertools
import math

import torch

from lipaudit.errors import NotCovered
from lipaudit.spectral.branch import grid_cost, largest_on_grid
from lipaudit.spectral.cells import Domain
from lipaudit.spectral.maps import Conv
from lipaudit.spectral.method import Effort, Method, Plain
from lipaudit.spectral.peaks import peaks
from lipaudit.spectral.symbol import Symbol, polyphase

__all__ = ["METHOD", "embedding_grid"]

SMALL_GRID = 100
"""Grid points up to which shifted grids are considered; on finer ones the maxima differ little."""
FRONT, CLOSE = 6, 30
"""How many of a grid's points are looked at with how many power iterations: maxima differ by a per cent."""
WORTHWHILE = 0.997
"""A shift has to promise this much: guesses err by a tenth of a per cent."""


def embedding_grid(conv: Conv) -> tuple[int, ...]:
    """The smallest valid N/s per axis.

    Raises:
        NotCovered: for other padding than zeros.
    """
    if conv.padding_mode != "zeros":
        raise NotCovered("circulant embedding is for zero padding")
    geometry = zip(conv.image, conv.padding, conv.extent, conv.stride, conv.out_image, strict=True)
    return tuple(_cells(n, pads[0], e, s, n_out) for n, pads, e, s, n_out in geometry)


def _cells(n: int, left: int, e: int, s: int, n_out: int) -> int:
    # Windows that end before the image starts are zero rows: drop them from the left …
    skipped = max(0, -(-(left - (e - 1)) // s))
    left -= s * skipped
    # … and those that start behind it from the right.
    last = min(n_out - 1 - skipped, (n - 1 + left) // s)
    if last < 0:
        return 1
    beyond = max(0, s * last - left + e - 1 - (n - 1))
    # A negative left padding is a crop: cells before the first window are never read.
    first_read = max(0, -left)
    needed = max(n - first_read + max(left, 0, beyond), s * last + 1)
    return -(-needed // s)


def _cost(plain: Plain) -> float:
    if not isinstance(plain, Conv) or plain.padding_mode != "zeros":
        return math.inf
    return grid_cost(polyphase(plain, plain.stride), embedding_grid(plain))


def _compute(plain: Plain, start: float, effort: Effort) -> float:
    if not isinstance(plain, Conv):
        raise NotCovered("not a convolution")
    symbol, grid = polyphase(plain, plain.stride), embedding_grid(plain)
    if math.prod(grid) > SMALL_GRID or not any(symbol.degrees):
        return largest_on_grid(symbol, grid, start=start, effort=effort)
    likely, shift = _kindest(symbol, grid)
    return largest_on_grid(symbol, grid, shift, max(start, likely), effort)


def _kindest(symbol: Symbol, grid: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
    """The shift that seems to meet the lowest peaks, and about the largest σ₁ there.

    A guess, each shift gives a bound: a rough look at all points, a close one at the foremost of each grid.
    """
    # In half steps all shifted grids are one; of the last axis a half is enough.
    halves = [torch.arange(2 * n) for n in grid[:-1]] + [torch.arange(grid[-1] + 1)]
    points = torch.cartesian_prod(*halves).reshape(-1, len(grid))
    rough = peaks(symbol, points, grid)[0].amax(dim=0).cpu()
    shifts = list(itertools.product((0, 1), repeat=len(grid)))
    fronts = []
    for shift in shifts:
        own = (points % 2 == torch.tensor(shift)).all(dim=1).nonzero().flatten()
        fronts.append(own[rough[own].topk(min(FRONT, len(own))).indices])
    close = peaks(symbol, points[torch.cat(fronts)], grid, CLOSE)[0].amax(dim=0)
    tops = [float(part.max()) for part in close.split([len(front) for front in fronts])]
    best = min(zip(tops, shifts, strict=True))
    return best if best[0] < tops[0] * WORTHWHILE else (tops[0], shifts[0])


def _confirm(plain: Plain, tau: float, effort: Effort) -> bool:
    """Each shift gives a bound: one is enough."""
    if not isinstance(plain, Conv):
        raise NotCovered("not a convolution")
    symbol, grid = polyphase(plain, plain.stride), embedding_grid(plain)
    few = math.prod(grid) <= SMALL_GRID and any(symbol.degrees)
    shifts = itertools.product((0, 1) if few else (0,), repeat=len(grid))
    return any(
        Domain.of_grid(symbol, grid, shift, memory=effort.memory).holds(tau, effort) for shift in shifts
    )


METHOD = Method(
    "embedding", "zero padding: σ₁ of the symbol on the embedding grid", _cost, _compute, _confirm
)
