"""BCOP: orthogonal convolutions as compositions of projector convolutions.

    K = (P₁z⁰ + (I − P₁)z¹) ∘ (P₂z⁰ + (I − P₂)z¹) ∘ … ∘ H,      P_i orthogonal projectors, HᵀH = I,

k − 1 factors along either axis.  Proved: for circular padding KᵀK = I (or KKᵀ = I where channels get fewer),
because (P z⁰ + (I − P)z¹)ᴴ(…) = I at every frequency; zero padding cuts a block out of a circular map on a
larger image, so the norm is at most 1 there.

A stride s is space-to-depth before.  `BjorckLinear` is the dense layer of the same authors: the matrix
nearest to a free one that has orthonormal rows or columns (`orthogonal`).

Li, Haque, Anil, Lucas, Grosse, Jacobsen (2019), "Preventing gradient attenuation in Lipschitz constrained
convolutional networks", NeurIPS; Xiao et al. (2018), "Dynamical isometry and a mean field theory of CNNs",
ICML.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.layers.arguments import Allowed, Options, Padding, Pair, tensor_options
from lipaudit.layers.convolution import ConvLayer
from lipaudit.layers.dense import MatrixLayer
from lipaudit.layers.derived import Values
from lipaudit.layers.orthogonal import bjorck
from lipaudit.layers.precision import tamed, widened

__all__ = ["BCOPConv2d", "BjorckLinear", "composed"]

ITERATIONS = 15
"""Björck's steps: from an orthogonal start weights stay well conditioned, and half as many would do."""


class BCOPConv2d(ConvLayer):
    """An orthogonal convolution, circular by default: (N, in, H, W) → (N, out, H/s, W/s).

    Args:
        in_channels, out_channels, bias: as of `nn.Conv2d`.
        kernel_size: on the image behind space-to-depth.
        stride: s divides the image.
        padding: "same", or the number that it is.
        options: `padding_mode` circular (orthogonal) or zeros (norm at most 1), `device`, `dtype`.
    """

    allowed: ClassVar[Allowed] = Allowed("BCOPConv2d", ("circular", "zeros"))

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = "same",
        *,
        bias: bool = True,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias, **options)
        long, short = self.width, min(self.inner_channels, self.out_channels)
        self.start, self.bases = projector_parameters(long, short, self.geometry.kernel, options)

    def derive(self, image: tuple[int, ...]) -> Values:
        """K."""
        del image
        kernel = composed(self.start, self.bases, self.geometry.kernel)
        return (kernel if self.out_channels >= self.inner_channels else kernel.transpose(0, 1),)


class BjorckLinear(MatrixLayer):
    """y = Qx + b, the rows or columns of Q orthonormal: (*, in_features) → (*, out_features).

    Args:
        in_features, out_features, bias, device, dtype: as of `nn.Linear`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,  # noqa: FBT001, FBT002 - torch's own signature
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)

    def derive(self, image: tuple[int, ...]) -> Values:
        """Q."""
        del image
        return (bjorck(self.weight, ITERATIONS),)


def projector_parameters(
    long: int, short: int, kernel: tuple[int, int], options: Options
) -> tuple[nn.Parameter, nn.Parameter]:
    """Free matrices for `composed`: (long, short), and (factors, long, ⌈long/2⌉)."""
    start = nn.Parameter(torch.empty(long, short, **tensor_options(options)))
    nn.init.orthogonal_(start)
    factors = sum(kernel) - 2
    bases = nn.Parameter(torch.empty(factors, long, (long + 1) // 2, **tensor_options(options)))
    with torch.no_grad():
        for index in range(factors):
            # Factors in pairs of opposite projectors start near one tap in the middle.
            opposite = index >= 2 and index // 2 % 2
            nn.init.orthogonal_(bases[index])
            if opposite:
                whole = torch.linalg.qr(bases[index - 2].double(), mode="complete")[0]
                rest = torch.cat([whole[:, bases.shape[2] :], whole[:, : 2 * bases.shape[2] - long]], 1)
                bases[index] = rest.to(bases)
    return start, bases


def composed(start: Tensor, bases: Tensor, kernel: tuple[int, int]) -> Tensor:
    """An isometric kernel (long, short, *kernel).

    Args:
        start: (long, short), long ≥ short.
        bases: (∑(k − 1), long, rank), of full rank: their spans are what the projectors keep.
        kernel: (k_h, k_w).
    """
    taps = _orthonormal(start)[:, :, None, None]
    if not len(bases):
        return taps
    spans = _orthonormal(bases)
    # Two factors along the axes in turn; what the longer side has more comes last.
    turns = [0, 1] * (min(kernel) - 1) + [int(kernel[1] > kernel[0])] * abs(kernel[0] - kernel[1])
    for span, axis in zip(spans, turns, strict=True):
        kept = torch.einsum("or,ir,ijhw->ojhw", span, span, taps)
        widths = ((0, 0, 0, 1), (0, 0, 1, 0)) if axis == 0 else ((0, 1, 0, 0), (1, 0, 0, 0))
        taps = F.pad(kept, widths[0]) + F.pad(taps - kept, widths[1])
    return taps


def _orthonormal(columns: Tensor) -> Tensor:
    """An orthonormal basis of what the columns (…, long, short) span.

    In float64, as `freeze` has it: where columns are nearly dependent, rounding in float32 would choose
    another basis, which is as good and another function.
    """
    basis: Tensor = torch.linalg.qr(tamed(widened(columns), -2, -1))[0]
    return basis.to(columns.dtype)
