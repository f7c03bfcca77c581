"""PowerQR: the top k singular triplets of any implicitly linear map, by shifted subspace iteration.

    X ← μX + TᵀTX,   X ← QR(X)

on a block of p ≥ k vectors; some more than are asked for, since the k-th value converges by the ratio of what
the block leaves out to what it keeps.  Each step ends with a Rayleigh–Ritz rotation: XᵀTᵀTX = V·diag(θ)·Vᵀ,
X ← XV.

**The shift.** What the block leaves out has eigenvalues of TᵀT in [0, σ_{p+1}²]. With μ = −0.4·θ_p,
where θ_p is the smallest Ritz value of the block (≤ σ_p²), an eigenvalue λ just below θ_p shrinks by (λ
− 0.4θ_p)/(0.6θ_p) a step relative to θ_p, not by λ/θ_p: one step does the work of 1.7. At −0.5 it would
be two, but then parts of the kernel never shrink where θ_p ties with what is looked for.

**When it ends.** r_i = ‖TᵀTx_i − θ_ix_i‖ is how far θ_i may lie from an eigenvalue. The residual is
orthogonal to the block, so once the block has found its place r_i²/g_i is, too, where g_i = θ_i − λ and
λ is the largest eigenvalue that the residual still has a part of: λ ≤ θ_p, or, where θ_p ties with θ_i,
as the residual shrinks by q_i = (λ + μ)/(θ_i + μ) a step: g_i = (θ_i + μ)(1 − q_i). The smaller of the
two, relative to 2θ_i, is about the error of σ_i.  Where more values than the block has vectors lie within a
thousandth of each other, nothing parts them: what is found may be any of these, and the steps may be used up.

The values reported are not those of R (before convergence its diagonal says nothing of σ_2, …) but what
`triplets` proves of the vectors.

Boroojeny, Telgarsky, Sundaram (2024), "Spectrum Extraction and Clipping for Implicitly Linear Layers";
Saad (2011), Numerical Methods for Large Eigenvalue Problems, ch. 5 (subspace iteration and its shift).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lipaudit.errors import UsageError
from lipaudit.spectral.implicit import Apply, Implicit
from lipaudit.spectral.triplets import Triplets, make_triplets

__all__ = [
    "LEAST",
    "Triplets",
    "block_size",
    "first_block",
    "orthonormal",
    "power_qr",
    "residuals",
    "ritz",
    "value_errors",
]

GUARDS = 6
"""Vectors beyond those that are asked for."""
SHIFT = 0.4
"""Of the smallest Ritz value, subtracted from TᵀT."""
CAUTION = 4.0
"""Times the estimated error that must stay within the tolerance."""
LEAST = 3
"""Steps before the search may end, unless the whole block stands still: a start may consist of singular
vectors that are not the top ones, and only the random vectors beside them can tell."""
PACE = 3
"""Steps over which the residual's shrinking is watched."""


def power_qr(  # noqa: PLR0913 - all but the first three have defaults and are told by name
    apply: Apply,
    in_shape: Sequence[int],
    k: int = 1,
    *,
    adjoint: Apply | None = None,
    shift: float | None = None,
    start: Tensor | None = None,
    steps: int = 200,
    tolerance: float = 1e-6,
    error: float = 0.0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
) -> Triplets:
    """The top k singular triplets of T, where apply(v) = T v + c.

    Args:
        apply: maps a batch (b, *in_shape) to a batch (b, *out_shape), in `dtype`.
        in_shape: of one input.
        k: how many; no more than an input has entries are returned.
        adjoint: y ↦ Tᵀy for a batch (b, *out_shape); from autodiff if None.
        shift: μ, in units of σ²; None chooses it anew in every step.
        start: (any number, *in_shape): vectors to begin with, such as `right` of an earlier result.
        steps: block products at most.
        tolerance: relative error of the values that is good enough.
        error: ‖fl(T v) − T v‖ ≤ error·‖v‖ for one application in `dtype`; it is subtracted from the values.
        dtype: what `apply` computes in.
        device: where `apply` computes; the CPU if None.

    Returns:
        Values below the true ones, as far as `error` is right.  Those below about 1e-7·σ₁ are lost in the
        rounding of TᵀT, and may be far too small.

    Raises:
        UsageError: if k or steps is below 1.
        InputRefused: if the map is not affine, or returns NaN or infinity.
    """
    implicit = Implicit(apply, in_shape, adjoint=adjoint, dtype=dtype, device=device)
    x = first_block(implicit, block_size(implicit, k, steps), start)
    k = min(k, implicit.inputs)
    implicit.scale_by(x)
    moved = None if shift is None else shift * 2.0 ** (-2 * implicit.exponent)
    used, settled, mu = 0, False, 0.0
    history: list[Tensor] = []
    while True:
        x, image, theta = ritz(x, implicit.times(x))
        product = implicit.normal_product(x, image)
        used += 1
        history = [*history[-PACE:], residuals(x, product, theta)]
        gap = torch.maximum(theta - theta[-1], (theta + mu) * (1 - _pace(history)))
        done = used >= LEAST or not bool(history[-1].any())
        settled = done and bool((value_errors(theta, history[-1], gap)[:k] <= tolerance).all())
        if settled or used >= steps:
            break
        mu = -SHIFT * float(theta[-1]) if moved is None else moved
        x = orthonormal(product + mu * x)
    return make_triplets(implicit, x[:k], error, used, settled=settled)


def block_size(implicit: Implicit, k: int, steps: int, guards: int = GUARDS) -> int:
    """Vectors in a block for k triplets and some more.

    Raises:
        UsageError: if k or steps is below 1, or there is nothing to multiply.
    """
    if k < 1 or steps < 1:
        raise UsageError(f"k={k}, steps={steps}: both start at 1")
    if implicit.inputs < 1:
        raise UsageError(f"in_shape={implicit.in_shape}: there are no inputs")
    return min(k + guards, implicit.inputs)


def first_block(implicit: Implicit, size: int, start: Tensor | None) -> Tensor:
    """Orthonormal rows (size, inputs): the given vectors first, random ones behind them.

    Raises:
        UsageError: if the given vectors have another shape, or are not finite.
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(size, implicit.inputs, generator=generator, dtype=torch.float64)
    rows = rows.to(implicit.device, implicit.dtype)
    if start is not None:
        if tuple(start.shape[1:]) != implicit.in_shape or not bool(torch.isfinite(start).all()):
            raise UsageError(
                f"start has shape {tuple(start.shape)}: finite vectors (any, *{implicit.in_shape}) are needed"
            )
        given = start.detach()[:size].flatten(1).to(implicit.device, implicit.dtype)
        rows[: len(given)] = given
    return orthonormal(rows)


def orthonormal(rows: Tensor) -> Tensor:
    """An orthonormal basis of the rows (and more, where they are dependent)."""
    basis: Tensor = torch.linalg.qr(rows.T).Q.T
    return basis


def ritz(x: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotate rows x and their images so that the images are orthogonal, the longest first.

    Returns:
        x, image and θ = ‖image_i‖² (float64).
    """
    wide = image.double()
    theta, vectors = torch.linalg.eigh(wide @ wide.T)
    turn = vectors.flip(1).T.to(x.dtype)
    return turn @ x, turn @ image, theta.flip(0).clamp(min=0.0)


def residuals(x: Tensor, product: Tensor, theta: Tensor) -> Tensor:
    """‖TᵀTx_i − θ_ix_i‖, and 0 where that is lost in rounding.

    Args:
        x: (p, inputs) orthonormal Ritz vectors.
        product: TᵀT x.
        theta: (p,) float64, their Ritz values, falling.
    """
    length = torch.linalg.vector_norm(product.double() - theta[:, None] * x.double(), dim=1)
    return torch.where(length <= 64 * torch.finfo(x.dtype).eps * theta[0], 0.0, length)


def value_errors(theta: Tensor, residual: Tensor, gap: Tensor) -> Tensor:
    """About how far each √θ_i lies from σ_i, relatively."""
    tiny = torch.finfo(torch.float64).tiny
    return CAUTION * torch.minimum(residual, residual**2 / gap.clamp(min=tiny)) / (2 * theta.clamp(min=tiny))


def _pace(history: Sequence[Tensor]) -> Tensor:
    """By what the residuals shrink in a step: the slowest of the last few steps; 1 before those were made."""
    now = torch.stack(tuple(history[1:])) if len(history) > PACE else history[-1][None]
    before = torch.stack(tuple(history[:-1])) if len(history) > PACE else history[-1][None]
    quotient = torch.where(before > 0, now / before.clamp(min=torch.finfo(torch.float64).tiny), 1.0)
    return quotient.amax(dim=0).clamp(max=1.0)
