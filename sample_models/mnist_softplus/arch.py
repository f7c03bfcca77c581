"""One hidden layer with softplus for MNIST: smooth, so that its curvature is bounded as well as its slopes.

The input is (N, 1, 28, 28), pixels in [0, 1].
"""

from __future__ import annotations

from torch import nn

__all__ = ["build"]


def build() -> nn.Module:
    """The network, with fresh weights."""
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 256), nn.Softplus(), nn.Linear(256, 10))
