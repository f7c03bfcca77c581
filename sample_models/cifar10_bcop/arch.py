"""A network for CIFAR-10 of orthogonal convolutions composed of projectors (BCOP).

Every convolution is circular and an isometry, or a projection of one; the dense layers are Cayley's.

`network()` is what was trained; `build()` is the same network with plain layers, which the stored weights
fill.  The input is (N, 3, 32, 32), pixels in [0, 1].
"""

from __future__ import annotations

import torch
from torch import nn

from lipaudit.layers import BCOPConv2d, CayleyLinear, MaxMin, structure

__all__ = ["build", "network"]


def network() -> nn.Sequential:
    """The network with its free parameters."""
    return nn.Sequential(
        BCOPConv2d(3, 32, 3, stride=2),
        MaxMin(),
        BCOPConv2d(32, 48, 3, stride=2),
        MaxMin(),
        BCOPConv2d(48, 48, 3),
        MaxMin(),
        nn.Flatten(),
        CayleyLinear(48 * 8 * 8, 128),
        MaxMin(),
        CayleyLinear(128, 10),
    )


def build() -> nn.Module:
    """The network as it is stored (with fresh weights of which nothing is proved)."""
    return structure(network(), torch.zeros(1, 3, 32, 32))
