"""Matrices with orthonormal columns (or rows) from free ones, for stacks of real or complex matrices.

    Cayley    W = [U; V] square and rest:  A = U − Uᴴ + VᴴV,  Q = [(I + A)⁻¹(I − A); −2V(I + A)⁻¹]
    Björck    X ← X(3I − XᴴX)/2, from W divided by a bound on its norm

**Cayley.**  QᴴQ = I.  Proof: A + Aᴴ = 2VᴴV ⪰ 0, so I + A is invertible; its inverse and I − A commute, so

    QᴴQ = (I + A)⁻ᴴ[(I − A)ᴴ(I − A) + 2(A + Aᴴ)](I + A)⁻¹,

and the bracket is (I + A)ᴴ(I + A). ∎  With the symmetric part of I + A at least I, its condition is at most
1 + 2‖W‖ + ‖W‖², by which rounding grows.  W longer than `LONGEST` is shortened to it, Q is computed in
float64, and one step of Björck's in the type of W squares what is left: Q is orthogonal up to the rounding of
float32, whatever the weights (on a device without float64, up to that rounding times the condition).

**Björck.**  Each step maps a singular value σ to σ(3 − σ²)/2, and [0, 1] into itself: the norm is at most 1
after any number of steps, whether or not they have converged, and every σ > 0 tends to 1.

Trockman, Kolter (2021), "Orthogonalizing convolutional layers with the Cayley transform", ICLR; Björck, Bowie
(1971), "An iterative algorithm for computing the best estimate of an orthogonal matrix", SIAM J. Numer.
Anal. 8; Anil, Lucas, Grosse (2019), "Sorting out Lipschitz function approximation", ICML.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lipaudit.layers.precision import tamed, widened

__all__ = ["bjorck", "cayley"]

LONGEST = 1e5
"""‖W‖_F of what the Cayley transform is taken of: u·LONGEST² is 1e-6 in float64."""
LONG = 2
"""Times as long as wide, from where products of the short side are cheaper.  Their rounding adds up, and the
last step, made on the long side, takes it away: (1 + δ) becomes 1 − 3δ²/2."""
AT_ONCE = 5
"""Steps on the short side until XXᴴ is formed anew: what rounding makes of a zero eigenvalue grows by 9/4 per
step."""


def cayley(weight: Tensor) -> Tensor:
    """(…, p, q) → (…, p, q) with orthonormal columns, or rows where p < q.

    Args:
        weight: any; of Frobenius norm above `LONGEST` it counts as its multiple of that norm.
    """
    if weight.shape[-2] < weight.shape[-1]:
        return cayley(weight.mH).mH
    columns, given = weight.shape[-1], weight.dtype
    weight = widened(weight)
    length = torch.linalg.matrix_norm(weight, keepdim=True)
    weight = weight * (LONGEST / length.clamp(min=LONGEST))
    U, V = weight[..., :columns, :], weight[..., columns:, :]
    A = U - U.mH + V.mH @ V
    one = torch.eye(columns, dtype=weight.dtype, device=weight.device)
    inverse = torch.linalg.inv(one + A)
    # (I + A)⁻¹(I − A) = 2(I + A)⁻¹ − I.
    square = 2 * inverse - one
    Q = torch.cat([square, -2 * V @ inverse], -2) if V.shape[-2] else square
    Q = Q.to(given)
    return 1.5 * Q - 0.5 * Q @ (Q.mH @ Q)


def bjorck(weight: Tensor, iterations: int) -> Tensor:
    """(…, p, q) → (…, p, q) of norm at most 1, with orthonormal columns or rows in the limit."""
    if weight.shape[-2] > weight.shape[-1]:
        return bjorck(weight.mH, iterations).mH
    weight = tamed(weight, -2, -1)
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
