"""A network for CIFAR-10 of sandwich layers.

Both maps of a layer are stored; no product of their norms would say 1, both together do.

`network()` is what was trained; `build()` is the same network with plain layers, which the stored weights
fill.  The input is (N, 3, 32, 32), pixels in [0, 1].
"""

from __future__ import annotations

import torch
from torch import nn

from lipaudit.layers import CayleyLinear, SandwichConv2d, SandwichLinear, structure

__all__ = ["build", "network"]


def network() -> nn.Sequential:
    """The network with its free parameters."""
    return nn.Sequential(
        SandwichConv2d(3, 24, 3, stride=2),
        SandwichConv2d(24, 48, 3, stride=2),
        SandwichConv2d(48, 48, 3),
        nn.Flatten(),
        SandwichLinear(48 * 8 * 8, 128),
        SandwichLinear(128, 64),
        CayleyLinear(64, 10),
    )


def build() -> nn.Module:
    """The network as it is stored (with fresh weights of which nothing is proved)."""
    return structure(network(), torch.zeros(1, 3, 32, 32))
