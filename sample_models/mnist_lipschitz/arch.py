"""A network for MNIST that is 1-Lipschitz by construction.

Every linear map was trained under the AOL rescaling, so its norm is at most 1 (up to rounding); the stored
weights are the rescaled ones, ordinary numbers in ordinary layers.  What lies between them are isometries:
space-to-depth and flattening move entries, MaxMin sorts them in pairs.

The input is (N, 1, 28, 28), pixels in [0, 1].

Prach, Lampert (2022), "Almost-Orthogonal Layers for Efficient General-Purpose Lipschitz Networks", ECCV.
Anil, Lucas, Grosse (2019), "Sorting Out Lipschitz Function Approximation", ICML (MaxMin).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["MaxMin", "build"]


class MaxMin(nn.Module):
    """Sorts channel i against channel i + C/2: at every point a permutation, hence of norm 1."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) with an even C -> the same shape."""
        a, b = x.chunk(2, 1)
        return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)


def build() -> nn.Module:
    """The network, with fresh weights (which are not 1-Lipschitz: the stored ones are)."""
    return nn.Sequential(
        nn.PixelUnshuffle(2),
        nn.Conv2d(4, 32, 3, padding=1),
        MaxMin(),
        nn.Conv2d(32, 32, 3, padding=1),
        MaxMin(),
        nn.PixelUnshuffle(2),
        nn.Conv2d(128, 64, 3, padding=1),
        MaxMin(),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 128),
        MaxMin(),
        nn.Linear(128, 10),
    )
