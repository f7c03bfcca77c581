"""Truncated exponentials of a skew map: p(A)x = Σ_{j ≤ m} Aʲx/j!.

A real with Aᵀ = −A is normal with eigenvalues iλ, so ‖p(A)‖ = max|p(iλ)| over |λ| ≤ ‖A‖.  In

    |p(iλ)|² = 1 + cλ^(m+1 or m+2) + …

the sign of c depends on m: for m ≡ 3, 0 (mod 4) the truncation contracts from λ = 0 up to `LIMITS[m]`; for
m ≡ 1, 2 it stretches every small λ, and no scaling of A helps (m = 5 reaches 1.0047 below ‖A‖ = 2.1).  So
m is taken from that table, and A is scaled to stay within its limit, by the bound

    ‖A‖ ≤ √reads·‖kernel as (c, c·k²)‖.

(Those are the intervals of the imaginary axis on which Taylor methods of order m are stable.)

Singla, Feizi (2021), "Skew orthogonal convolutions", ICML, arXiv 2105.11417; Tsuzuku, Sato, Sugiyama (2018),
NeurIPS, sec. 4, for the bound; Hairer, Wanner (1996), *Solving ODEs II*, sec. IV.2, for the intervals.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.errors import UsageError
from lipaudit.layers.arguments import integer
from lipaudit.layers.precision import largest

__all__ = ["LIMITS", "SkewExponential", "check_terms", "series", "skew_within"]

LIMITS = {3: 1.73205, 4: 2.82842, 7: 1.7643, 8: 3.3951, 11: 1.701, 12: 3.379}
"""By the number of terms m: |p(iλ)| ≤ 1 for 0 ≤ λ ≤ limit."""


def check_terms(layer: str, terms: int) -> int:
    """A number of terms that contracts.

    Raises:
        UsageError: it is none.
    """
    number = integer(terms)
    if number is None or number not in LIMITS:
        raise UsageError(
            f"{layer} does not allow terms={terms!r}",
            hint=f"allowed: {', '.join(map(str, LIMITS))}; other truncations exceed norm 1",
        )
    return number


def series(x: Tensor, weight: Tensor, terms: int) -> Tensor:
    """p(A)x, of a matrix (n, n) on (*, n), or of a kernel (c, c, k, k), k odd, zero-padded."""
    y = z = x
    padding = [k // 2 for k in weight.shape[2:]]
    for j in range(1, terms + 1):
        z = (F.conv2d(z, weight, padding=padding) if padding else F.linear(z, weight)) / j
        y = y + z
    return y


def skew_within(weight: Tensor, limit: float) -> Tensor:
    """A = W − Wᵀ, or K − flip(K)ᵀ of a kernel, scaled to ‖A‖ ≤ limit where its bound says more."""
    # Entries above 1 are divided out, so that no difference and no square overflows.
    size = largest(weight).clamp(min=1.0).reshape(())
    weight = weight / size
    weight = weight - weight.flip(tuple(range(2, weight.dim()))).transpose(0, 1)
    rows = weight.flatten(1)
    reads = weight[0, 0].numel()
    # What is not a number stays none in the product below; LAPACK would raise an error of its own.
    squared = torch.linalg.eigvalsh(torch.nan_to_num(rows @ rows.T))[-1] * reads
    least = (limit / size).square()
    safe = torch.where(squared > least, squared, least)
    return weight * (limit / safe.sqrt())


class SkewExponential(nn.Module):
    """y = p(A)x + b with stored A.

    Args:
        weight: (n, n), or (c, c, k, k).
        bias: (n,) or (c,), or None.
        terms: m.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, terms: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.terms = terms

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays."""
        y = series(x, self.weight, self.terms)
        if self.bias is None:
            return y
        return y + (self.bias[:, None, None] if self.weight.dim() == 4 else self.bias)
