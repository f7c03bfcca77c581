"""Matrices with orthonormal columns (or rows) from free ones, for stacks of real or complex matrices.

    Cayley    W = [U; V] square and rest:  A = U − Uᴴ + VᴴV,  Q = [(I + A)⁻¹(I − A); −2V(I + A)⁻¹]
    Björck    X ← X(3I − XᴴX)/2, from W divided by a bound on its norm

**Cayley.**  QᴴQ = I.  Proof: A + Aᴴ = 2VᴴV ⪰ 0, so I + A is invertible; its inverse and I − A commute, so

    QᴴQ = (I + A)⁻ᴴ[(I − A)ᴴ(I − A) + 2(A + Aᴴ)](I + A)⁻¹,

and the bracket is (I + A)ᴴ(I + A). ∎

**Björck.**  Each step maps a singular value σ to σ(3 − σ²)/2, and [0, 1] into itself: the norm is at most 1
after any number of steps, whether or not they have converged, and every σ > 0 tends to 1.

Trockman, Kolter (2021), "Orthogonalizing convolutional layers with the Cayley transform", ICLR; Björck, Bowie
(1971), "An iterative algorithm for computing the best estimate of an orthogonal matrix", SIAM J. Numer.
Anal. 8; Anil, Lucas, Grosse (2019), "Sorting out Lipschitz function approximation", ICML.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["bjorck", "cayley"]

LONG = 2
"""Times as long as wide, from where products of the short side are cheaper.  Their rounding adds up, and the
last step, made on the long side, takes it away: (1 + δ) becomes 1 − 3δ²/2."""
AT_ONCE = 5
"""Steps on the short side until XXᴴ is formed anew: what rounding makes of a zero eigenvalue grows by 9/4 per
step."""


def cayley(weight: Tensor) -> Tensor:
    """(…, p, q) → (…, p, q) with orthonormal columns, or rows where p < q."""
    if weight.shape[-2] < weight.shape[-1]:
        return cayley(weight.mH).mH
    columns = weight.shape[-1]
    U, V = weight[..., :columns, :], weight[..., columns:, :]
    A = U - U.mH + V.mH @ V
    one = torch.eye(columns, dtype=weight.dtype, device=weight.device)
    inverse = torch.linalg.inv(one + A)
    # (I + A)⁻¹(I − A) = 2(I + A)⁻¹ − I.
    square = 2 * inverse - one
    return torch.cat([square, -2 * V @ inverse], -2) if V.shape[-2] else square


def bjorck(weight: Tensor, iterations: int) -> Tensor:
    """(…, p, q) → (…, p, q) of norm at most 1, with orthonormal columns or rows in the limit."""
    if weight.shape[-2] > weight.shape[-1]:
        return bjorck(weight.mH, iterations).mH
    gram = weight @ weight.mH
    # ‖W‖² ≤ both the Frobenius norm and the largest row sum of WWᴴ.
    squared = torch.minimum(
        torch.linalg.matrix_norm(gram, keepdim=True),
        gram.abs().sum(-1, keepdim=True).amax(-2, keepdim=True),
    )
    X = weight * torch.where(squared > 0, squared, 1.0).rsqrt()
    while weight.shape[-1] >= LONG * weight.shape[-2] and iterations > 1:
        steps = min(iterations - 1, AT_ONCE)
        X, iterations = _short_steps(X, steps) @ X, iterations - steps
    for _ in range(iterations):
        X = 1.5 * X - 0.5 * (X @ X.mH) @ X
    return X


def _short_steps(X: Tensor, iterations: int) -> Tensor:
    """P with PX what so many steps make of X, found on the short side: N = (3I − M)/2, M ← NMN, P ← NP."""
    one = torch.eye(X.shape[-2], dtype=X.dtype, device=X.device)
    M, P = X @ X.mH, one
    for _ in range(iterations):
        N = 1.5 * one - 0.5 * M
        M, P = N @ M @ N, N @ P
    return P
