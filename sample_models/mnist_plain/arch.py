"""An ordinary small network for MNIST: convolution, batch norm, ReLU, max pool; nothing bounds its constant.

The input is (N, 1, 28, 28), already normalised as ``(pixel - 0.1307) / 0.3081`` (the stored preprocessing).
"""

from __future__ import annotations

from torch import nn

__all__ = ["build"]


def build() -> nn.Module:
    """The network, with fresh weights; the stored ones are those of the evaluation mode."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
