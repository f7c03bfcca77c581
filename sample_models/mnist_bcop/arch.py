"""A network for MNIST of orthogonal convolutions composed of projectors (BCOP).

Every convolution is circular and an isometry, or a projection of one.

`network()` is what was trained; `build()` is the same network with plain layers, which the stored weights
fill.  The input is (N, 1, 28, 28), pixels in [0, 1].
"""

from __future__ import annotations

import torch
from torch import nn

from lipaudit.layers import BCOPConv2d, BjorckLinear, MaxMin, structure

__all__ = ["build", "network"]


def network() -> nn.Sequential:
    """The network with its free parameters."""
    return nn.Sequential(
        BCOPConv2d(1, 16, 3, stride=2),
        MaxMin(),
        BCOPConv2d(16, 48, 3, stride=2),
        MaxMin(),
        BCOPConv2d(48, 48, 3),
        MaxMin(),
        nn.Flatten(),
        BjorckLinear(48 * 7 * 7, 96),
        MaxMin(),
        BjorckLinear(96, 10),
    )


def build() -> nn.Module:
    """The network as it is stored (with fresh weights of which nothing is proved)."""
    return structure(network(), torch.zeros(1, 1, 28, 28))
