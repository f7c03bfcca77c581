"""A network for MNIST of sandwich layers.

Both maps of a layer are stored; no product of their norms would say 1, both together do.

`network()` is what was trained; `build()` is the same network with plain layers, which the stored weights
fill.  The input is (N, 1, 28, 28), pixels in [0, 1].
"""

from __future__ import annotations

import torch
from torch import nn

from lipaudit.layers import CayleyLinear, SandwichConv2d, SandwichLinear, structure

__all__ = ["build", "network"]


def network() -> nn.Sequential:
    """The network with its free parameters."""
    return nn.Sequential(
        SandwichConv2d(1, 16, 3, stride=2),
        SandwichConv2d(16, 16, 3),
        SandwichConv2d(16, 32, 3, stride=2),
        nn.Flatten(),
        SandwichLinear(32 * 7 * 7, 128),
        SandwichLinear(128, 64),
        CayleyLinear(64, 10),
    )


def build() -> nn.Module:
    """The network as it is stored (with fresh weights of which nothing is proved)."""
    return structure(network(), torch.zeros(1, 1, 28, 28))
