"""The trusted kernel: a proof in float64 that H ⪯ τ²I, from a Cholesky factor of any origin.

**Statement.**  Let H ⪰ 0 be Hermitian p×p, u = 2⁻⁵³, γ_m = mu/(1−mu), and A a float matrix (its lower
triangle mirrored) with ‖A − H‖ ≤ δ.  Let s ≥ 0, M = fl((τ² − s)I − A), and suppose M ⪰ −e·I is proved.  If

    s ≥ δ + e + 6uτ² + underflow                                                              (*)

then H ⪯ τ²I, that is ‖G‖ ≤ τ for every G with GGᴴ = H.

Proof.  M = (τ² − s)I − A + Δ with Δ diagonal; forming τ², τ² − s and the difference with a_ii costs at most
3uτ² (a_ii ≤ τ², or M had a negative diagonal entry).  So
τ²I − H = sI + M + (A − H) − Δ ⪰ (s − e − δ − 3uτ²)I. ∎

**H ⪰ 0 itself** (`positive`): if ‖A − H‖ ≤ δ, M = fl(A − sI) ⪰ −e·I is proved and s exceeds
δ + e + u(max|a_ii| + s), then
H = sI + M + (H − A) − Δ ⪰ (s − e − δ − u(max|a_ii| + s))I ⪰ 0.

**A = fl(GGᴴ)** for complex G, p×q: a sum of q complex products errs by at most √2·γ_{2q+2}·Σ|a||b| in any
order, fused or not, so |A − GGᴴ| ≤ 2γ_{2q+2}|G||G|ᴴ and δ = 2γ_{2q+2}‖G‖_F² (plus underflow).

**M ⪰ −e·I** (`_defect`).  Factorise in block columns of width w.  With the trailing matrix M_j, a triangular
L_j and a panel X_j (whatever routine made them) and M_{j+1} = fl(M_j,trailing − fl(X_jX_jᴴ)),

    M_j = [L_j; X_j][L_j; X_j]ᴴ + 0 ⊕ M_{j+1} + Err_j,   hence   M = LLᴴ + Σ Err_j ⪰ −Σ‖Err_j‖·I.

Err_j consists of the residuals E_j = M_j,diagonal − L_jL_jᴴ and F_j = M_j,panel − X_jL_jᴴ, which are computed
(each product and difference errs by 2γ_{2w+2}‖·‖_F‖·‖_F and 2u of the result), and of the rounding of the
update, at most 2γ_{2w+2}‖X_j‖_F² + 2u‖M_{j+1}‖_F, where ‖M_{j+1}‖_F ≤ ‖L‖_F² + √2·e.  The norm of a Hermitian
matrix with the only blocks F, Fᴴ is ‖F‖.  Summed over m block columns:

    e = Σ(√2‖E_j‖_F + ‖F_j‖_F)(1 + 4u) + (3γ_{2w+4} + 2mu)‖L‖_F² + 4mu·e + underflow.

Residuals cost O(p²w), updates are covered by their norms: the proof costs little more than the factor.

G is first scaled by a power of two so that its largest entry lies in [½, 1); entries that fall
below the subnormal range move ‖G‖ by less than one ulp, which the step of τ to the next smaller
double pays for.

Assumed of the machine: IEEE float64 matrix products without Strassen-like, 3M-complex or emulated
arithmetic (`refuse_emulation` looks for the switches that are known).

After Rump (2006), "Verification of positive definiteness", BIT 46; Higham (2002), ch. 3, 10 and 13.
This module imports nothing of the search that proposes τ.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.errors import UsageError
from lipaudit.rounding import UNIT, gamma

__all__ = [
    "Gram",
    "gram",
    "largest_part",
    "ldexp",
    "positive",
    "proves",
    "refuse_emulation",
    "scaled",
    "scaled_gram",
]

_TINY = 2.0**-1022
_WIDTHS = ((40, 40), (384, 32), (math.inf, 64))
"""Up to a size, the width of block columns: residuals of wide ones cost more, narrow products are slow."""
_WHOLE = 128
"""Products of more rows than this fall into four block rows, others into two."""
_EMULATION_SWITCHES = (
    "CUBLAS_EMULATE_DOUBLE_PRECISION",
    "CUBLAS_EMULATION_STRATEGY",
    "MKL_BLAS_COMPUTE_MODE",
    "MKL_EMULATE_DOUBLE",
    "OZIMMU_COMPUTE_MODE",
)


@dataclass(frozen=True, slots=True, eq=False)
class Gram:
    """Float matrices A close to Hermitian matrices H ⪰ 0: ‖A − H‖ ≤ error.

    Args:
        matrices: (batch, p, p) float64 or complex128; only the lower triangle is read.  Their entries lie
            within 2^±300, or are so small that 2⁻⁶⁰⁰ does not matter to the claim.
        error: (batch,) float64, non-negative.
    """

    matrices: Tensor
    error: Tensor

    def __len__(self) -> int:
        return len(self.matrices)

    def __getitem__(self, which: Tensor) -> Gram:
        return Gram(self.matrices[which], self.error[which])

    def proves(self, tau: Tensor | float) -> Tensor:
        """For each H: is H ⪯ τ²I proved?

        Args:
            tau: one claim for all, or (batch,) one for each; non-negative.

        Returns:
            (batch,) bool.  False proves nothing: raise τ and ask again.
        """
        refuse_emulation()
        p = self.matrices.shape[-1]
        squared = torch.as_tensor(tau, dtype=torch.float64, device=self.error.device).square()
        underflow = 8 * p * (2 * p + 8) * _TINY
        # A guess at e; whether it was enough is checked below.
        guess = 1.25 * _rounding(p) * p * squared
        s = (self.error + guess + 8 * UNIT * squared + underflow) * (1 + 16 * UNIT)
        M = self.matrices.neg()
        diagonal = M.diagonal(dim1=-2, dim2=-1)
        diagonal.copy_((squared - s)[:, None].to(M.dtype) + diagonal.real)
        need = (self.error + _defect(M) + 6 * UNIT * squared + underflow) * (1 + 16 * UNIT)
        # Comparisons with NaN are False.
        return torch.isfinite(need) & (s >= need) & (s < squared)

    def enough(self, norm: float) -> float:
        """About the smallest τ that (*) grants if no √‖H‖ exceeds `norm`: a hint, not a proof."""
        p = self.matrices.shape[-1]
        relative = 2 * _rounding(p) * p + 16 * UNIT
        return math.sqrt(norm * norm * (1 + relative) + 1.01 * float(self.error.max()) + 2.0**-1000)


def gram(G: Tensor) -> Gram:
    """A = fl(GGᴴ), of the smaller side, with its error.

    Args:
        G: (batch, p, q), float64 or complex128, finite, entries below 2³⁰⁰.
    """
    if G.shape[-2] > G.shape[-1]:
        G = G.mH
    p, q = G.shape[-2:]
    error = 2 * gamma(2 * q + 2) * _frobenius_squared(G) * (1 + 4 * UNIT) + 8 * p * q * _TINY
    return Gram(_lower_gram(G), error)


def proves(G: Tensor, tau: float) -> Tensor:
    """For each matrix of a batch: is ‖G‖ ≤ τ proved?

    Args:
        G: (batch, p, q), float64 or complex128, finite.
        tau: the claim, non-negative.

    Returns:
        (batch,) bool.  False proves nothing: raise τ and ask again.
    """
    known, exponent = scaled_gram(G)
    if known is None or not tau >= 0:
        return torch.zeros(len(G), dtype=torch.bool, device=G.device)
    if not bool(G.any()):
        return torch.ones(len(G), dtype=torch.bool, device=G.device)
    if math.frexp(tau)[1] - exponent < -64:  # τ lies far below the largest entry, hence below the norm
        return torch.zeros(len(G), dtype=torch.bool, device=G.device)
    if tau >= ldexp(2.0 * G.shape[1] * G.shape[2], exponent):  # ‖G‖_F ≤ √(2pq)·2^exponent
        return torch.full((len(G),), math.isfinite(tau), device=G.device)
    return known.proves(math.nextafter(ldexp(tau, -exponent), 0.0))


def positive(matrices: Tensor, error: float) -> Tensor:
    """For each Hermitian H with ‖A − H‖ ≤ error: is H ⪰ 0 proved?

    Args:
        matrices: A, (batch, p, p) float64 or complex128; only the lower triangle and the diagonal's real part
            are read, entries lie within 2^±300 or do not matter to `error`.
        error: non-negative.

    Returns:
        (batch,) bool.  False proves nothing.
    """
    refuse_emulation()
    p = matrices.shape[-1]
    diagonal = matrices.diagonal(dim1=-2, dim2=-1).real
    largest = diagonal.abs().amax(dim=1)
    underflow = 8 * p * (2 * p + 8) * _TINY
    guess = 1.25 * _rounding(p) * p * largest
    s = (error + guess + 8 * UNIT * largest + underflow) * (1 + 16 * UNIT)
    M = matrices.clone()
    M.diagonal(dim1=-2, dim2=-1).copy_((diagonal - s[:, None]).to(M.dtype))
    need = (error + _defect(M) + 4 * UNIT * (largest + s) + underflow) * (1 + 16 * UNIT)
    # Comparisons with NaN are False.
    return torch.isfinite(need) & (s >= need)


def scaled_gram(G: Tensor) -> tuple[Gram | None, int]:
    """The Gram matrices of G·2^(−exponent), whose largest part of an entry lies in [½, 1).

    A claim about them is one about G, scaled, once it is raised by one ulp (for entries made subnormal).

    Returns:
        None in place of the matrices if an entry is NaN or infinite.
    """
    refuse_emulation()
    if G.dtype not in (torch.float64, torch.complex128):
        msg = f"proofs are made in float64, got {G.dtype}"
        raise TypeError(msg)
    largest = largest_part(G)
    if not math.isfinite(largest):
        return None, 0
    exponent = math.frexp(largest)[1]
    return gram(scaled(G, -exponent)), exponent


def refuse_emulation() -> None:
    """Stop where products or sums are not the ones the analysis covers.

    Raises:
        UsageError: naming the variable that asks a BLAS for emulation, or the mode that drops subnormals.
    """
    if not bool(torch.full((64,), 2.0**-1074, dtype=torch.float64).mul(1.0).any()):
        raise UsageError(
            "this process rounds subnormal numbers to zero: small weights would count as none",
            hint="call torch.set_flush_denormal(False); libraries built with -ffast-math may have set it",
        )
    for name in _EMULATION_SWITCHES:
        if os.environ.get(name, "") not in ("", "0", "STANDARD", "standard"):
            raise UsageError(
                f"{name} is set: emulated or low-precision matrix products void the proofs",
                hint=f"unset {name}",
            )


def _blocks(p: int) -> tuple[int, int]:
    """Width and number of the block columns."""
    width = min(p, next(width for size, width in _WIDTHS if p <= size))
    return width, -(-p // max(width, 1))


def _rounding(p: int) -> float:
    """3γ_{2w+4} + 2mu: what ‖L‖_F² is multiplied by in e."""
    width, columns = _blocks(p)
    return 3 * gamma(2 * width + 4) + 2 * columns * UNIT


def _defect(M: Tensor) -> Tensor:
    """(batch,) numbers e with M ⪰ −e·I proved; infinite or NaN where nothing is.  Destroys M."""
    p = M.shape[-1]
    width, columns = _blocks(p)
    residuals = torch.zeros(len(M), dtype=torch.float64, device=M.device)
    size = torch.zeros_like(residuals)
    for start in range(0, p, width):
        stop = min(start + width, p)
        D = M[:, start:stop, start:stop]
        L, info = torch.linalg.cholesky_ex(D)
        L = L.tril()  # as it should be; the products below rely on it
        E = D.sub(_lower_gram(L, triangular=True)).tril_()
        # The other triangle, and the diagonal once too often.
        residuals = residuals + (2 * _frobenius_squared(E)).sqrt()
        size = torch.where(info == 0, size + _frobenius_squared(L), math.inf)
        if stop == p:
            break
        panel = M[:, stop:, start:stop]
        X = torch.linalg.solve_triangular(L.mH, panel, upper=True, left=False)
        residuals = residuals + _frobenius_squared(panel - X @ L.mH).sqrt()
        size = size + _frobenius_squared(X)
        for first in range(stop, p, 2 * width):  # the lower triangle only
            last, here = min(first + 2 * width, p), first - stop
            # Two roundings, as in the proof: a fused update would need another constant.
            M[:, first:, first:last] -= X[:, here:] @ X[:, here : last - stop].mH
    e = residuals * (1 + 8 * UNIT) + _rounding(p) * size
    return e * (1 + 8 * (columns + 2) * UNIT) + 8 * p * (p + 4) * _TINY


def _lower_gram(A: Tensor, *, triangular: bool = False) -> Tensor:
    """The lower triangle of A Aᴴ, in block rows; what stands above it is not used.

    `triangular` says that A is lower triangular, so that its upper right need not be multiplied.
    """
    p = A.shape[-2]
    step = max(1, -(-p // (2 if p <= _WHOLE else 4)))
    result = A.new_zeros(*A.shape[:-1], p)
    for start in range(0, p, step):
        stop = min(start + step, p)
        reach = stop if triangular else A.shape[-1]
        result[..., start:stop, :stop] = A[..., start:stop, :reach] @ A[..., :stop, :reach].mH
    return result


def _frobenius_squared(A: Tensor) -> Tensor:
    """‖A‖_F² per matrix, rounded up."""
    # As real numbers in a row: torch's norm of complex matrices is 40 times slower.  A root and a square
    # more, each within 2u.
    parts = torch.view_as_real(A.resolve_conj().contiguous()) if A.is_complex() else A
    norm = torch.linalg.vector_norm(parts.flatten(1), dim=1)
    count = 2 * math.prod(A.shape[1:])
    result: Tensor = norm * norm * (1 + 2 * gamma(count + 16)) + count * _TINY
    return result


def largest_part(G: Tensor) -> float:
    """Largest absolute real or imaginary part; NaN or inf if G holds one."""
    if G.numel() == 0:
        return 0.0
    entries = torch.view_as_real(G.resolve_conj()) if G.is_complex() else G
    return float(torch.linalg.vector_norm(entries, ord=math.inf))


def scaled(G: Tensor, exponent: int) -> Tensor:
    """G·2^exponent in two steps, since 2^exponent alone may overflow; exact but for subnormal results."""
    if exponent == 0:
        return G
    half = exponent // 2
    return (G * 2.0**half).mul_(2.0 ** (exponent - half))


def ldexp(x: float, exponent: int) -> float:
    """x·2^exponent, infinite where that overflows."""
    try:
        return math.ldexp(x, exponent)
    except OverflowError:
        return math.inf
