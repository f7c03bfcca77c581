"""A network for MNIST of skew orthogonal convolutions (SOC).

Four terms of the exponential of a skew-symmetric map: a contraction, and nearly an isometry.

`network()` is what was trained; `build()` is the same network with plain layers, which the stored weights
fill.  The input is (N, 1, 28, 28), pixels in [0, 1].
"""

from __future__ import annotations

import torch
from torch import nn

from lipaudit.layers import CayleyLinear, MaxMin, SOCConv2d, structure

__all__ = ["build", "network"]


def network() -> nn.Sequential:
    """The network with its free parameters."""
    return nn.Sequential(
        SOCConv2d(1, 16, 3, stride=2, terms=4),
        MaxMin(),
        SOCConv2d(16, 16, 3, terms=4),
        MaxMin(),
        SOCConv2d(16, 16, 3, terms=4),
        MaxMin(),
        nn.Flatten(),
        CayleyLinear(16 * 14 * 14, 96),
        MaxMin(),
        CayleyLinear(96, 10),
    )


def build() -> nn.Module:
    """The network as it is stored (with fresh weights of which nothing is proved)."""
    return structure(network(), torch.zeros(1, 1, 28, 28))
