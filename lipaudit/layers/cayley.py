"""Cayley layers: orthogonal by the Cayley transform, a matrix or the matrix of every frequency.

    dense      y = Qx + b,                        Q = cayley(g·W/‖W‖_F)
    circular   y = irfft2(Q(ω)·rfft2(x)) + b,     Q(ω) = cayley(g·K̂(ω)/‖K‖_F)      (`orthogonal`)

Proved: QᴴQ = I (or QQᴴ = I) at every frequency, so the layer is an isometry (or a projection of one); in
float32 up to the rounding of its products, whatever g (a matrix longer than 1e5 counts as its multiple of
that length).  The image is padded circularly, and one kernel gives another map for each size of image.  A
stride s is space-to-depth before.

Trockman, Kolter (2021), "Orthogonalizing convolutional layers with the Cayley transform", ICLR, arXiv
2104.07167.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from lipaudit.layers.arguments import Allowed, Options, Padding, Pair, tensor_options
from lipaudit.layers.convolution import ConvLayer
from lipaudit.layers.dense import DenseLayer
from lipaudit.layers.derived import Values
from lipaudit.layers.frequency import FrequencyFilter, filtered, spectrum_of, stored_spectrum
from lipaudit.layers.orthogonal import cayley
from lipaudit.layers.precision import tamed
from lipaudit.layers.verified import Fit

__all__ = ["CayleyConv2d", "CayleyLinear"]


class CayleyLinear(DenseLayer):
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
        self.weight = nn.Parameter(
            torch.empty(self.out_features, self.in_features, device=device, dtype=dtype)
        )
        nn.init.xavier_normal_(self.weight)
        self.gain = nn.Parameter(self.weight.detach().norm())

    def derive(self, image: tuple[int, ...]) -> Values:
        """Q."""
        del image
        return (cayley(_unit(self.weight) * self.gain),)


class CayleyConv2d(ConvLayer):
    """An orthogonal circular convolution: (N, in, H, W) → (N, out, H/s, W/s).

    Args:
        in_channels, out_channels, bias: as of `nn.Conv2d`.
        kernel_size: on the image behind space-to-depth.
        stride: s divides the image.
        padding: "same", or the number that it is.
        options: `padding_mode` circular, `device`, `dtype`.
    """

    allowed: ClassVar[Allowed] = Allowed("CayleyConv2d", ("circular",))

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
        self.weight = self.new_kernel(out_channels, self.inner_channels, options)
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.gain = nn.Parameter(torch.ones((), **tensor_options(options)) * self.weight.detach().norm())

    def derive(self, image: tuple[int, ...]) -> Values:
        """Q (h, ⌊w/2⌋ + 1, out, in)."""
        return (cayley(spectrum_of(_unit(self.weight) * self.gain, image)),)

    def run(self, x: Tensor, *values: Tensor) -> Tensor:
        """irfft2(Q·rfft2(x)) + b."""
        y = filtered(x, values[0])
        return y if self.bias is None else y + self.bias[:, None, None]

    def frozen(self, image: tuple[int, ...], fit: Fit, *values: Tensor) -> nn.Module:
        """A `FrequencyFilter` with ‖Q(ω)‖ ≤ 1."""
        parts = stored_spectrum(values[0], fit)
        return FrequencyFilter(*parts, fit.bias(self.bias), (0, 0, 0, 0), image)


def _unit(weight: Tensor) -> Tensor:
    """W/‖W‖_F, and 0 for 0."""
    weight = tamed(weight)
    norm = weight.norm()
    return weight / torch.where(norm > 0, norm, 1.0)
