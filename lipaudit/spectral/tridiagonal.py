"""The trusted kernel for banded matrices: a proved number ≥ λ_max(H), from a factor of any origin.

H is Hermitian and block banded, handed over row by row: row i holds H_ii, H_i,i−1, …, H_i,i−p.  Of H_ii only
the lower triangle is read; the matrix meant is the one it defines.  p = 1 is block tridiagonal.

**Statement.** Let t be a float64, u = 2⁻⁵³, γ_m = mu/(1−mu), and let L be any block lower triangular matrix.
With Δ = tI − H − LLᴴ, since LLᴴ ⪰ 0,

    λ_max(H) ≤ t + ‖Δ‖.

**Proof of the number returned.**  L is built by blocked elimination, the columns of one block row at a time,
in panels of b ≤ 128 columns, inside a window A that holds the rows and columns those columns reach.  A panel
J with rows R below takes A_JJ, A_RJ and some L_JJ, P (from LAPACK or anywhere else), and leaves
A_RR ← fl(A_RR − PPᴴ).  Then Δ is the sum of

* what rounds in M = fl(t − diag H): a diagonal matrix of norm ≤ u·max|m|;
* per panel, E = A_JJ − L_JJ L_JJᴴ and F = A_RJ − P L_JJᴴ, which are formed: as Hermitian matrices their norms
  are ≤ √2‖tril E‖_F and ≤ ‖F‖_F.  Forming them errs, b complex terms to an entry in any order, fused or
  not, by ≤ 2γ_{2b+4}(|X| + |Y||Z|ᴴ) entrywise: ‖·‖_F ≤ 2γ_{2b+4}(a + ‖L_JJ‖_F² + ‖P‖_F‖L_JJ‖_F);
* per panel, the rounding of the update: ≤ 2γ_{2b+4}(a + ‖P‖_F²) likewise.

Here a bounds ‖A‖_F: it is computed when the window is complete, and A ← A − PPᴴ + rounding lets it grow by
‖P‖_F² (1 + 2γ) + 2γa.  Let e_i be the sum of the panels' errors for block row i: that error is a Hermitian
matrix which lives in the window, at most w consecutive block rows.  The errors of i, i + w, i + 2w, … have
disjoint supports, so the norm of their sum is the largest of theirs:

    ‖Δ‖ ≤ u·max|m| + Σ_{c<w} max_{i ≡ c mod w} e_i.    ∎

Nothing is assumed of the factorisation: a wrong L shows in E and F, one that is not finite in all of them.
Sums of non-negative numbers are inflated by more than they round; underflow in N·b products adds less than
2⁻⁴⁸⁰.  The machine's products must be IEEE float64, as `checker.refuse_emulation` says.

After Rump (2006), "Verification of positive definiteness", BIT 46; Higham (2002), ch. 3, 10 and 13 (block
LU); George, Liu (1981), Computer Solution of Large Sparse Positive Definite Systems, ch. 4 (envelopes).
This module imports nothing of the search that proposes t.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lipaudit.rounding import UNDERFLOW, UNIT, gamma
from lipaudit.spectral.checker import refuse_emulation

__all__ = ["PANEL", "ceiling"]

PANEL = 128
"""Columns eliminated at a time: residuals cost O(PANEL) per entry of the band, updates run as products."""
STRIPS = 6
"""Horizontal strips in which the lower triangle is updated; a sixth of the products is for nothing."""
INFLATION = 1 + 2.0**-20
"""Covers the rounding of norms and sums of non-negative numbers: fewer than 2³⁰ terms, each within 2u."""


def ceiling(rows: Iterable[Sequence[Tensor]], shift: float) -> Tensor:
    """A proved upper bound on λ_max of every matrix of a batch, about `shift` where that succeeds.

    Args:
        rows: row i is [H_ii, H_i,i−1, …], tensors (batch, b_i, b_j), float64 or complex128; no row may reach
            further left than the row before it does.
        shift: the number t ≥ 0 to try, a little above the largest eigenvalue.

    Returns:
        (batch,) float64; inf where tI − H has no factor, which proves nothing: raise t and ask again.

    Raises:
        TypeError: for blocks that are not in double precision.
        ValueError: for blocks that do not fit together.
    """
    refuse_emulation()
    window: Tensor | None = None
    sizes: list[int] = []
    errors: list[Tensor] = []
    tops: list[Tensor] = []
    widest = 1
    for row in rows:
        if window is None:
            window = row[0].new_zeros(len(row[0]), 0, 0)
        while len(sizes) >= len(row):
            window, error = _eliminate(window, sizes.pop(0))
            errors.append(error)
        window, top = _appended(window, row, sizes, shift)
        sizes.append(row[0].shape[-1])
        tops.append(top)
        widest = max(widest, len(sizes))
    if window is None:
        raise ValueError("a matrix has at least one row")
    for size in sizes:
        window, error = _eliminate(window, size)
        errors.append(error)
    total, largest = torch.stack(errors), torch.stack(tops).amax(dim=0)
    spread = torch.stack([total[c::widest].amax(dim=0) for c in range(widest)]).sum(dim=0)
    bound = (shift + (spread + UNIT * largest + UNDERFLOW) * INFLATION) * (1 + 4 * UNIT)
    return torch.where(torch.isfinite(bound), bound, math.inf)


def _appended(
    window: Tensor, row: Sequence[Tensor], sizes: Sequence[int], shift: float
) -> tuple[Tensor, Tensor]:
    """The window with the rows and columns of another block row of tI − H, and the largest |m| there."""
    batch, size = row[0].shape[:2]
    if [tuple(block.shape) for block in row] != [(batch, size, s) for s in (size, *reversed(sizes))]:
        raise ValueError("a row's blocks do not fit the rows before it, or reach further left than those did")
    if window.dtype not in (torch.float64, torch.complex128) or any(b.dtype != window.dtype for b in row):
        raise TypeError("proofs are made in float64, and of blocks of one type")
    right = window.shape[-1] + size
    grown = window.new_zeros(batch, right, right)
    held = slice(right - size)
    grown[:, held, held] = window
    end = right
    for block in (row[0].tril(), *row[1:]):
        grown[:, right - size :, end - block.shape[-1] : end] = -block
        end -= block.shape[-1]
    diagonal = grown.diagonal(dim1=1, dim2=2)[:, right - size :]
    diagonal.copy_((shift + diagonal.real).to(grown.dtype))
    return grown, diagonal.abs().amax(dim=1)


def _eliminate(window: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """What remains of the window without its first `size` columns, and the error e_i made on the way."""
    magnitude = math.sqrt(2) * _norm(window)
    error = torch.zeros_like(magnitude)
    for start in range(0, size, PANEL):
        stop = min(start + PANEL, size)
        rounding = 2 * gamma(2 * (stop - start) + 4)
        top, below = window[:, start:stop, start:stop], window[:, stop:, start:stop]
        L, info = torch.linalg.cholesky_ex(top)
        P = torch.linalg.solve_triangular(L.mH, below, upper=True, left=False)
        diagonal, panel = _norm(L), _norm(P)
        residuals = math.sqrt(2) * _norm((top - L @ L.mH).tril_()) + _norm(below - P @ L.mH)
        products = diagonal * diagonal + panel * diagonal + panel * panel
        error = error + residuals + rounding * (3 * magnitude + products)
        magnitude = magnitude * (1 + rounding) + panel * panel * (1 + rounding)
        _downdate(window[:, stop:, stop:], P)
        error = torch.where(info == 0, error, math.inf)
    return window[:, size:, size:], error


def _downdate(A: Tensor, P: Tensor) -> None:
    """A ← A − PPᴴ on and below the diagonal, in strips."""
    height = max(PANEL, -(-len(A[0]) // STRIPS))
    for top in range(0, len(A[0]), height):
        strip = slice(top, top + height)
        A[:, strip, : top + height].baddbmm_(P[:, strip], P[:, : top + height].mH, alpha=-1)


def _norm(A: Tensor) -> Tensor:
    """‖A‖_F of every matrix, no smaller than the true one but for `INFLATION`."""
    norm: Tensor = torch.linalg.vector_norm(A, dim=(1, 2)) * INFLATION + UNDERFLOW
    return norm
