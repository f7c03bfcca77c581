"""A network for MNIST of almost-orthogonal layers (AOL).

Every linear map is rescaled to norm at most 1; MaxMin and space-to-depth are isometries.

`network()` is what was trained; `build()` is the same network with plain layers, which the stored weights
fill.  The input is (N, 1, 28, 28), pixels in [0, 1].
"""

from __future__ import annotations

import torch
from torch import nn

from lipaudit.layers import AOLConv2d, AOLLinear, MaxMin, SpaceToDepth, structure

__all__ = ["build", "network"]


def network() -> nn.Sequential:
    """The network with its free parameters."""
    return nn.Sequential(
        SpaceToDepth(2),
        AOLConv2d(4, 16, 3, padding=1),
        MaxMin(),
        SpaceToDepth(2),
        AOLConv2d(64, 64, 3, padding=1),
        MaxMin(),
        AOLConv2d(64, 64, 3, padding=1),
        MaxMin(),
        nn.Flatten(),
        AOLLinear(64 * 7 * 7, 96),
        MaxMin(),
        AOLLinear(96, 10),
    )


def build() -> nn.Module:
    """The network as it is stored (with fresh weights of which nothing is proved)."""
    return structure(network(), torch.zeros(1, 1, 28, 28))
