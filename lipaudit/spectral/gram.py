"""Gram iteration: G_{t+1} = G_t G_tᴴ, ‖G_0‖ ≤ ‖G_t‖^(1/2^t), with every rounding error paid for.

**Statement.**  Let G_0 be complex p×q with parts below 2⁶⁰, ρ_i = 2γ_{2q+2}‖G_i‖_F² + 8p(p+q)·2⁻¹⁰²² (q the
columns of G_i) and G_{i+1} = fl(2^(−c_i)·fl(G_i G_iᴴ)) for any integers c_i.  With any N_t ≥ ‖G_t‖,

    B_t = N_t,   B_i = √(2^{c_i} B_{i+1} + ρ_i)   (each rounded up)   gives   ‖G_0‖ ≤ B_0.

**Proof.**  An inner product of q complex terms errs by at most √2γ_{2q+2}·Σ|a||b| in any order, fused or
not, so |fl(GGᴴ) − GGᴴ| ≤ √2γ_{2q+2}·|G||G|ᴴ entrywise; as ‖|G||G|ᴴ‖_F ≤ ‖G‖_F², its norm is below
2γ_{2q+2}‖G‖_F². Products and scaled entries that fall below the normal range err by at most 2⁻¹⁰²² each,
which the last term of ρ covers.  Hence ‖G_i‖² = ‖G_i G_iᴴ‖ ≤ 2^{c_i}‖G_{i+1}‖ + ρ_i; induct from i = t
down.  No step needs G_i to be Hermitian, which a computed product is not.  A real G is a complex one.  ∎

**Closing norms.**  "frobenius": ‖A‖ ≤ ‖A‖_F.  "one" and "inf": ‖A‖ ≤ √(‖A‖₁‖A‖_∞) for every A (Schur),
and on Hermitian A, which G_t is up to rounding for t ≥ 1, the three numbers are one; the root is taken so
that neither t = 0 nor rounding needs an exception.  The largest entry is no consistent norm (ones(2, 2)
has norm 2) and is refused.

The excess shrinks with every step: with N the effective number of top singular values, ‖G_t‖_F^(1/2^t) =
N^(1/2^(t+1))·‖G_0‖, 1 ≤ N ≤ rank.  The next step gains at least what remains after it, so a small gain
ends the iteration.

A batch shares its powers of two: what is wanted is the largest norm, and smaller matrices only underflow
to 0.

Delattre, Barthélemy, Araujo, Allauzen (2023), "Efficient Bound of Lipschitz Constant for Convolutional
Layers by Gram Iteration", ICML; Higham (2002), ch. 3; Horn, Johnson (2013), 5.6.P21 (‖A‖₂² ≤ ‖A‖₁‖A‖_∞).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lipaudit.errors import UsageError
from lipaudit.rounding import UNDERFLOW, add_up, gamma, mul_up, scale_up, sqrt_up, sub_down
from lipaudit.spectral.checker import largest_part, scaled
from lipaudit.spectral.dense import matrices, matrix_shape
from lipaudit.spectral.method import Effort, Method, Plain

__all__ = [
    "METHOD",
    "MOST_STEPS",
    "check_steps",
    "closing_norm",
    "frobenius",
    "gram_bound",
    "gram_error",
    "method",
    "unwound",
]

MOST_STEPS = 12
"""A flat spectrum of 512 then reads 1.0008; every further step halves the excess and costs p³."""
_TINY = 2.0**-1022


def gram_bound(
    G: Tensor,
    steps: int | None = None,
    norm: str = "frobenius",
    *,
    tolerance: float = 1e-7,
    enough: float = 0.0,
) -> float:
    """A proved bound on the largest spectral norm of a batch of matrices.

    Args:
        G: (batch, p, q), float64 or complex128, finite.
        steps: squarings; None for as many as still gain, `MOST_STEPS` at most.
        norm: frobenius, one or inf: what closes the iteration.
        tolerance: without `steps`, a relative gain not worth another step.
        enough: without `steps`, a value at which to stop.

    Raises:
        UsageError: for a norm that bounds nothing, or negative steps.
    """
    close = closing_norm(norm)
    check_steps(steps, least=0)
    if G.shape[-2] > G.shape[-1]:
        G = G.mH
    largest = largest_part(G)
    if largest == 0:
        return 0.0
    if not math.isfinite(largest):
        return math.inf
    exponent = math.frexp(largest)[1]
    trail: list[tuple[int, float]] = []
    G, best = scaled(G, -exponent), math.inf
    for step in range(1 + (MOST_STEPS if steps is None else steps)):
        if step:
            G, power, error = _squared(G)
            trail.append((power, error))
        if steps is None or step == steps:
            found = unwound(close(G), trail)[0]
            gained = best > found * (1 + tolerance)
            best = min(best, found)
            if not gained or scale_up(best, exponent) <= enough:
                break
    # Entries that the first scaling made subnormal move a norm of at least ½ by far less than this ulp.
    return scale_up(math.nextafter(best, math.inf), exponent)


def _squared(G: Tensor) -> tuple[Tensor, int, float]:
    """One step: fl(2^(−c)·fl(GGᴴ)) with its largest part in [½, 1), c, and ρ.  G is not all zero."""
    A = G @ G.mH
    exponent = math.frexp(largest_part(A))[1]
    return A.mul_(2.0**-exponent), exponent, gram_error(G)


def gram_error(G: Tensor) -> float:
    """ρ: the error of fl(GGᴴ) and of its scaling by a power of two, for every matrix of a batch."""
    p, q = G.shape[-2:]
    size = frobenius(G)
    return add_up(mul_up(2 * gamma(2 * q + 2), size, size), 8 * p * (p + q) * _TINY)


def unwound(closed: float, trail: list[tuple[int, float]]) -> list[float]:
    """B_0 … B_t from N_t and the steps' (c, ρ)."""
    bounds = [closed]
    for exponent, error in reversed(trail):
        bounds.append(sqrt_up(add_up(scale_up(bounds[-1], exponent), error)))
    return bounds[::-1]


def frobenius(G: Tensor) -> float:
    """The largest ‖G‖_F of a batch, rounded up."""
    count = 2 * G.shape[-2] * G.shape[-1]
    size = float(torch.linalg.vector_norm(G, dim=(-2, -1)).max())
    return add_up(mul_up(size, 1 + 2 * gamma(count + 16)), UNDERFLOW)


def check_steps(steps: int | None, least: int) -> None:
    """Refuse a number of squarings that proves nothing.

    Raises:
        UsageError: for fewer than `least` steps.
    """
    if steps is not None and steps < least:
        raise UsageError(f"Gram iteration needs at least {least} steps, got {steps}")


def _schur(G: Tensor) -> float:
    """The largest √(‖G‖₁‖G‖_∞) of a batch, rounded up."""
    magnitude = G.abs()  # within 4 ulp for complex entries
    error = 1 + 2 * gamma(sum(G.shape[-2:]) + 16)
    rows, columns = (magnitude.sum(dim=d).amax(dim=-1) for d in (-1, -2))
    # Each pair belongs to one matrix: the largest product, not the product of the largest.
    return add_up(sqrt_up(mul_up(float((rows * columns).max()), error, error)), UNDERFLOW)


_CLOSING: dict[str, Callable[[Tensor], float]] = {"frobenius": frobenius, "one": _schur, "inf": _schur}


def closing_norm(norm: str) -> Callable[[Tensor], float]:
    """The function that bounds the largest spectral norm of a batch by the named norm.

    Raises:
        UsageError: for a norm that bounds nothing.
    """
    if norm not in _CLOSING:
        raise UsageError(
            f"{norm!r} closes no Gram iteration: it takes a consistent norm, ‖AB‖ ≤ ‖A‖‖B‖",
            hint=f"choose one of {', '.join(_CLOSING)}",
        )
    return _CLOSING[norm]


def method(steps: int | None = None, norm: str = "frobenius") -> Method:
    """The method with a fixed number of squarings, or (None) as many as gain.

    Raises:
        UsageError: for a norm that bounds nothing, or negative steps.
    """
    closing_norm(norm)
    check_steps(steps, least=0)

    def compute(plain: Plain, start: float, effort: Effort) -> float:
        blocks, error = matrices(plain, effort.memory)
        enough = start * (1 + effort.tolerance)
        return add_up(gram_bound(blocks, steps, norm, tolerance=effort.tolerance, enough=enough), error)

    def confirm(plain: Plain, tau: float, effort: Effort) -> bool:
        blocks, error = matrices(plain, effort.memory)
        claim = sub_down(tau, error)
        # The squarings end as soon as they have proved it.
        return gram_bound(blocks, steps, norm, tolerance=0.0, enough=claim) <= claim

    def cost(plain: Plain) -> float:
        groups, *sides = matrix_shape(plain)
        small, large = sorted(sides)
        return groups * 2.0 * small * small * (large + small * (MOST_STEPS if steps is None else steps))

    return Method("gram", "Gram iteration on the map's matrix", cost, compute, confirm, outdone_by="dense")


METHOD = method()
