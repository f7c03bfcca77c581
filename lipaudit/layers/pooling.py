"""Scaled pooling: sums of k×k cells divided by k.

Proved: norm exactly 1.  Windows are disjoint, and 1ᵀ/k of k² entries has norm √(k²)/k = 1; the mean, as
`nn.AvgPool2d` takes it, would have norm 1/k and give the factor k away.

Max pooling of disjoint windows is 1-Lipschitz as it is: `nn.MaxPool2d(k)`.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.layers.arguments import whole

__all__ = ["ScaledAvgPool2d"]


class ScaledAvgPool2d(nn.Module):
    """(N, C, k·h, k·w) → (N, C, h, w): k times the mean over disjoint windows.

    Args:
        kernel_size: k, which is also the stride.
    """

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        (self.kernel_size,) = whole("ScaledAvgPool2d", kernel_size=kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """See the class; cells behind the last whole window are dropped."""
        return self.kernel_size * F.avg_pool2d(x, self.kernel_size)

    def extra_repr(self) -> str:
        """The argument."""
        return str(self.kernel_size)
