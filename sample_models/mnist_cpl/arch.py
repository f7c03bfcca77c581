"""A network for MNIST of convex potential layers (CPL).

Residual blocks, with orthogonal matrices (Cayley) where the width changes; the file stores W and 2/B², of
which B ≥ ‖W‖ is proved.

`network()` is what was trained; `build()` is the same network with plain layers, which the stored weights
fill.  The input is (N, 1, 28, 28), pixels in [0, 1].
"""

from __future__ import annotations

import torch
from torch import nn

from lipaudit.layers import CayleyLinear, CPLConv2d, CPLLinear, SpaceToDepth, structure

__all__ = ["build", "network"]


def network() -> nn.Sequential:
    """The network with its free parameters."""
    return nn.Sequential(
        CPLConv2d(1, 16, 3, stride=2),
        CPLConv2d(16, 16, 3),
        SpaceToDepth(2),
        CPLConv2d(64, 64, 3),
        nn.Flatten(),
        CayleyLinear(64 * 7 * 7, 96),
        CPLLinear(96, 96),
        CPLLinear(96, 96),
        CayleyLinear(96, 10),
    )


def build() -> nn.Module:
    """The network as it is stored (with fresh weights of which nothing is proved)."""
    return structure(network(), torch.zeros(1, 1, 28, 28))
