"""The layers of the package, one row per family, and small networks of them."""

from __future__ import annotations

import torch
from torch import nn

from lipaudit import layers

__all__ = ["CONVS", "DENSE", "ISOMETRIC", "ODD", "network", "shaken"]

CONVS = {
    "AOL": layers.AOLConv2d,
    "spectral rescaling": layers.SpectralRescaledConv2d,
    "BCOP": layers.BCOPConv2d,
    "Cayley": layers.CayleyConv2d,
    "LOT": layers.LOTConv2d,
    "SOC": layers.SOCConv2d,
    "CPL": layers.CPLConv2d,
    "SLL": layers.SLLConv2d,
    "sandwich": layers.SandwichConv2d,
}
DENSE = {
    "AOL": layers.AOLLinear,
    "spectral rescaling": layers.SpectralRescaledLinear,
    "BCOP": layers.BjorckLinear,
    "Cayley": layers.CayleyLinear,
    "LOT": layers.BjorckLinear,
    "SOC": layers.SOCLinear,
    "CPL": layers.CPLLinear,
    "SLL": layers.SLLLinear,
    "sandwich": layers.SandwichLinear,
}
ODD = {"SOC", "CPL", "SLL", "sandwich"}
"""Families whose kernels have odd sides."""
ISOMETRIC = {"BCOP", "Cayley"}
WITH_ACTIVATION = {"CPL", "SLL", "sandwich"}


def shaken(module: nn.Module, by: float = 0.3) -> nn.Module:
    """The same module with noise on its parameters."""
    with torch.no_grad():
        for value in module.parameters():
            value.add_(by * torch.randn_like(value))
    return module


def network(family: str) -> nn.Module:
    """(N, 2, 6, 6) → (N, 3): two convolutions, the second one with a stride, and two dense layers."""
    conv, dense = CONVS[family], DENSE[family]
    activation = nn.Identity if family in WITH_ACTIVATION else layers.MaxMin
    padding = {"padding": 1} if conv.allowed.any_padding else {}
    return nn.Sequential(
        conv(2, 4, 3, **padding),
        activation(),
        conv(4, 6, 3, stride=2, **padding),
        activation(),
        nn.Flatten(),
        dense(54, 8),
        activation(),
        dense(8, 3),
    )
