"""The published 1-Lipschitz layers, as `torch.nn` modules with PyTorch's signatures.

    net = nn.Sequential(
        CayleyConv2d(1, 16, 3, stride=2), MaxMin(), nn.Flatten(), CayleyLinear(16 * 14 * 14, 10)
    )
    ...                                # train it as any other module, with `MarginLoss`
    frozen = freeze(net)               # plain layers with stored weights of proved norm
    torch.onnx.export(frozen, (images,), "model.onnx", dynamo=True)

| family | dense | convolution | padding | default | stride | proved |
|---|---|---|---|---|---|---|
| AOL | AOLLinear | AOLConv2d | zeros, circular | 0 | torch's | norm ≤ 1 |
| rescaling | SpectralRescaledLinear | SpectralRescaledConv2d | zeros, circular | 0 | torch's | norm ≤ 1 |
| BCOP | BjorckLinear | BCOPConv2d | circular, zeros | "same" | rearranges | orthogonal; with zeros norm ≤ 1 |
| Cayley | CayleyLinear | CayleyConv2d | circular | "same" | rearranges | orthogonal |
| LOT | | LOTConv2d | zeros | "same" | rearranges | norm ≤ 1, nearly orthogonal |
| SOC | SOCLinear | SOCConv2d | zeros | "same" | rearranges | norm ≤ 1, nearly orthogonal |
| CPL | CPLLinear | CPLConv2d | zeros | "same" | rearranges | constant ≤ 1 |
| SLL | SLLLinear | SLLConv2d | zeros | "same" | rearranges | constant ≤ 1 |
| sandwich | SandwichLinear | SandwichConv2d | zeros | "same" | rearranges | constant ≤ 1 |

The first mode of padding is the default, and so is that much of it.  A stride s that rearranges is
space-to-depth before a convolution of stride 1: the image's sides are multiples of s, and `kernel_size`
counts cells of the rearranged image.

CPL, SLL and sandwich layers hold their activation; the others stand before `MaxMin`, `GroupSort` or
`Householder`.  Statements are about exact arithmetic; what rounding adds, `freeze` takes away again.
"""

from __future__ import annotations

from lipaudit.layers.activation import GroupSort, Householder, MaxMin
from lipaudit.layers.bcop import BCOPConv2d, BjorckLinear
from lipaudit.layers.cayley import CayleyConv2d, CayleyLinear
from lipaudit.layers.cpl import CPLConv2d, CPLLinear
from lipaudit.layers.freeze import freeze, structure
from lipaudit.layers.last_layer import NormalizedLinear
from lipaudit.layers.loss import MarginLoss
from lipaudit.layers.lot import LOTConv2d
from lipaudit.layers.pooling import ScaledAvgPool2d
from lipaudit.layers.rearrangement import FirstEntries, SpaceToDepth, ZeroEntries
from lipaudit.layers.sandwich import SandwichConv2d, SandwichLinear
from lipaudit.layers.sll import SLLConv2d, SLLLinear
from lipaudit.layers.soc import SOCConv2d, SOCLinear
from lipaudit.layers.spectral_rescaling import (
    AOLConv2d,
    AOLLinear,
    SpectralRescaledConv2d,
    SpectralRescaledLinear,
)

__all__ = [
    "AOLConv2d",
    "AOLLinear",
    "BCOPConv2d",
    "BjorckLinear",
    "CPLConv2d",
    "CPLLinear",
    "CayleyConv2d",
    "CayleyLinear",
    "FirstEntries",
    "GroupSort",
    "Householder",
    "LOTConv2d",
    "MarginLoss",
    "MaxMin",
    "NormalizedLinear",
    "SLLConv2d",
    "SLLLinear",
    "SOCConv2d",
    "SOCLinear",
    "SandwichConv2d",
    "SandwichLinear",
    "ScaledAvgPool2d",
    "SpaceToDepth",
    "SpectralRescaledConv2d",
    "SpectralRescaledLinear",
    "ZeroEntries",
    "freeze",
    "structure",
]
