"""The trusted kernel: a proof in float64 that ‖G‖ ≤ τ, from a Cholesky factor of any origin.

**Statement.** Let G be complex p×q, p ≤ q, u = 2⁻⁵³, γ_m = mu/(1−mu).  Let A = fl(GGᴴ), s ≥ 0,
M = fl((τ² − s)I − A), L lower triangular and finite with real diagonal, and E = fl(M − fl(LLᴴ)).  If

    s ≥ 2γ_{2q+2}‖G‖_F² + (1+2u)‖E‖_F + 2γ_{2p+4}‖L‖_F² + 6uτ² + 8p(p+q)·2⁻¹⁰²²        (*)

then ‖G‖ ≤ τ.

**Proof.** Write A = GGᴴ + Δ₁, M = (τ² − s)I − A + Δ₂, LLᴴ = M − E + Δ₃ exactly.  Then

    τ²I − GGᴴ = sI + LLᴴ + Δ₁ − Δ₂ + E − Δ₃ ⪰ (s − ‖Δ₁‖ − ‖Δ₂‖ − ‖E‖ − ‖Δ₃‖) I,

since LLᴴ ⪰ 0.  An inner product of q complex terms in floating point errs by at most
γ_{2q+2}·√2·Σ|a||b| in any order, fused or not, so |Δ₁| ≤ 2γ_{2q+2}·|G||G|ᴴ entrywise and
‖Δ₁‖ ≤ 2γ_{2q+2}‖G‖_F²; likewise the product LLᴴ and, with the subtraction, Δ₃ ≤ 2γ_{2p+4}‖L‖_F² + 2u‖E‖_F.
Δ₂ is diagonal: forming τ², τ² − s and the difference with a_ii costs at most 3uτ² (a_ii ≤ τ², or
the factorisation would have met a negative pivot).  The last term covers underflow.  All matrices
are Hermitian because one triangle is read and mirrored; ‖E‖_F counts every entry of it twice. ∎

G is first scaled by a power of two so that its largest entry lies in [½, 1); entries that fall
below the subnormal range move ‖G‖ by less than one ulp, which the step of τ to the next smaller
double pays for.

Assumed of the machine: IEEE float64 matrix products without Strassen-like, 3M-complex or emulated
arithmetic (`refuse_emulation` looks for the switches that are known).

After Rump (2006), "Verification of positive definiteness", BIT 46; Higham (2002), ch. 3 and 10.
This module imports nothing of the search that proposes τ.
"""

from __future__ import annotations

import math
import os

import torch
from torch import Tensor

from lipaudit.errors import UsageError
from lipaudit.rounding import UNIT, gamma

__all__ = ["proves", "refuse_emulation", "required_slack", "scaled"]

_TINY = 2.0**-1022
_EMULATION_SWITCHES = (
    "CUBLAS_EMULATE_DOUBLE_PRECISION",
    "CUBLAS_EMULATION_STRATEGY",
    "MKL_BLAS_COMPUTE_MODE",
    "MKL_EMULATE_DOUBLE",
    "OZIMMU_COMPUTE_MODE",
)


def proves(G: Tensor, tau: float) -> Tensor:
    """For each matrix of a batch: is ‖G‖ ≤ τ proved?

    Args:
        G: (batch, p, q), float64 or complex128, finite.
        tau: the claim, non-negative.

    Returns:
        (batch,) bool.  False proves nothing: raise τ and ask again.
    """
    refuse_emulation()
    if G.dtype not in (torch.float64, torch.complex128):
        msg = f"proofs are made in float64, got {G.dtype}"
        raise TypeError(msg)
    batch = G.shape[0]
    largest = _largest_entry(G)
    if not math.isfinite(largest) or not tau >= 0:
        return torch.zeros(batch, dtype=torch.bool, device=G.device)
    if largest == 0:
        return torch.ones(batch, dtype=torch.bool, device=G.device)
    exponent = math.frexp(largest)[1]
    if math.frexp(tau)[1] - exponent < -64:  # τ lies far below the largest entry, hence below the norm
        return torch.zeros(batch, dtype=torch.bool, device=G.device)
    if tau >= _ldexp(2.0 * G.shape[1] * G.shape[2], exponent):  # ‖G‖_F ≤ √(2pq)·2^exponent
        return torch.full((batch,), math.isfinite(tau), device=G.device)
    scaled_tau = math.nextafter(_ldexp(tau, -exponent), 0.0)
    return _proves_scaled(scaled(G, -exponent), scaled_tau)


def required_slack(G: Tensor, tau: float) -> float:
    """About how much of τ², relative to τ, (*) will ask for: where a search should start.

    A hint, not a proof: the largest 2γ_{2q+2}‖G‖_F²/τ² + 3γ_{2p+4}p of the batch.
    """
    p, q = sorted(G.shape[-2:])
    if tau == 0:
        return 0.0
    frobenius = float(torch.linalg.vector_norm(G, dim=(-2, -1)).max()) / tau
    return 2 * gamma(2 * q + 2) * frobenius**2 + 3 * gamma(2 * p + 4) * p + 8 * UNIT


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


def _proves_scaled(G: Tensor, tau: float) -> Tensor:
    """The statement above for entries below 1."""
    if G.shape[-2] > G.shape[-1]:
        G = G.mH
    p, q = G.shape[-2:]
    squared = tau * tau
    gram_error = 2 * gamma(2 * q + 2) * _frobenius_squared(G)
    underflow = 8 * p * (p + q) * _TINY
    # A guess at the residual terms; whether it was enough is checked below.
    guess = 3 * gamma(2 * p + 4) * p * squared
    s = (gram_error + guess + 8 * UNIT * squared + underflow) * (1 + 16 * UNIT)
    M = _lower_gram(G).neg_()
    diagonal = M.diagonal(dim1=-2, dim2=-1)
    diagonal.copy_((squared - s)[:, None].to(M.dtype) + diagonal.real)
    L, info = torch.linalg.cholesky_ex(M)
    E = M.sub_(_lower_gram(L, triangular=True)).tril_()
    residual = (2 * _frobenius_squared(E)).sqrt()  # the other triangle, and the diagonal once too often
    factor = 2 * gamma(2 * p + 4) * _frobenius_squared(L)
    need = (gram_error + (1 + 4 * UNIT) * residual + factor + 6 * UNIT * squared + underflow) * (
        1 + 16 * UNIT
    )
    # A NaN or infinity in M or L reaches `need` through E; comparisons with NaN are False.
    real_diagonal = (
        L.diagonal(dim1=-2, dim2=-1).imag == 0 if L.is_complex() else torch.ones_like(need)[:, None] > 0
    )
    granted: Tensor = (info == 0) & real_diagonal.all(dim=-1) & torch.isfinite(need)
    return granted & (s >= need) & (s < squared)


def _lower_gram(A: Tensor, *, triangular: bool = False) -> Tensor:
    """The lower triangle of A Aᴴ, in two block rows; what stands above it is not used.

    `triangular` says that A is lower triangular, so that its upper right quarter need not be multiplied.
    """
    half = A.shape[-2] // 2
    top, bottom = A[..., :half, :], A[..., half:, :]
    reach = half if triangular else A.shape[-1]
    result = A.new_zeros(*A.shape[:-1], A.shape[-2])
    result[..., :half, :half] = top[..., :reach] @ top[..., :reach].mH
    result[..., half:, :half] = bottom[..., :reach] @ top[..., :reach].mH
    result[..., half:, half:] = bottom @ bottom.mH
    return result


def _frobenius_squared(A: Tensor) -> Tensor:
    """‖A‖_F² per matrix, rounded up."""
    # torch sums |a|² for complex entries; a root and a square more, each within 2u.
    norm = torch.linalg.vector_norm(A, dim=(-2, -1))
    count = 2 * math.prod(A.shape[1:])
    result: Tensor = norm * norm * (1 + 2 * gamma(count + 16)) + count * _TINY
    return result


def _largest_entry(G: Tensor) -> float:
    """Largest absolute real or imaginary part; NaN or inf if G holds one."""
    if G.numel() == 0:
        return 0.0
    entries = torch.view_as_real(G.resolve_conj()) if G.is_complex() else G
    return float(torch.linalg.vector_norm(entries, ord=math.inf))


def scaled(G: Tensor, exponent: int) -> Tensor:
    """G·2^exponent in two steps, since 2^exponent alone may overflow; exact but for subnormal results."""
    half = exponent // 2
    return (G * 2.0**half).mul_(2.0 ** (exponent - half))


def _ldexp(x: float, exponent: int) -> float:
    """x·2^exponent, infinite where that overflows."""
    try:
        return math.ldexp(x, exponent)
    except OverflowError:
        return math.inf
