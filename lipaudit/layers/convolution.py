"""y = K ∗ x + b with a kernel K that is derived: what the convolutional layers share."""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.errors import UsageError
from lipaudit.layers.arguments import (
    Allowed,
    Geometry,
    Options,
    Padding,
    Pair,
    check_dtype,
    pair,
    tensor_options,
    whole,
)
from lipaudit.layers.dense import new_bias
from lipaudit.layers.derived import Derived
from lipaudit.layers.rearrangement import FirstEntries, SpaceToDepth, ZeroEntries
from lipaudit.layers.verified import Fit, proved_norm
from lipaudit.spectral import Conv

__all__ = ["ConvLayer", "centred_"]


def centred_(kernel: Tensor, spread: float = 0.01) -> Tensor:
    """Fill a kernel (rows, columns, k, k) with an orthogonal matrix at its centre and little noise."""
    with torch.no_grad():
        centre = nn.init.orthogonal_(torch.empty(kernel.shape[:2], dtype=torch.float64))
        kernel.normal_(std=spread)
        kernel[:, :, (kernel.shape[2] - 1) // 2, (kernel.shape[3] - 1) // 2] += centre.to(kernel)
    return kernel


class ConvLayer(Derived):
    """A map (N, in_channels, H, W) → (N, out_channels, H', W'); a family derives what it takes.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, bias: as of `nn.Conv2d`.
        options: `padding_mode`, `device`, `dtype`; `dilation` and `groups` may only be 1.

    Raises:
        UsageError: the method does not allow it; the message says what it does.
    """

    reads_images: ClassVar[bool] = True
    allowed: ClassVar[Allowed]
    square: ClassVar[bool] = False
    """Whether the map keeps its channels: zeros are then appended before, or channels dropped behind."""

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
        super().__init__()
        name = type(self).__name__
        self.in_channels, self.out_channels = whole(name, in_channels=in_channels, out_channels=out_channels)
        check_dtype(name, options.get("dtype"))
        self.geometry: Geometry = self.allowed.geometry(kernel_size, stride, padding, options)
        self.stride = pair(name, "stride", stride)
        self.inner_channels = self.in_channels
        if self.allowed.rearranges and self.stride != (1, 1):
            self.before.append(SpaceToDepth(self.stride[0]))
            self.inner_channels *= self.stride[0] ** 2
        self.width = max(self.inner_channels, self.out_channels)
        if self.square and self.width > self.inner_channels:
            self.before.append(ZeroEntries(self.width - self.inner_channels, -3))
        if self.square and self.width > self.out_channels:
            self.after.append(FirstEntries(self.out_channels, -3))
        taps = self.geometry.kernel[0] * self.geometry.kernel[1]
        self.bias = new_bias(
            self.bias_channels(), self.inner_channels * taps, bias=bias, **tensor_options(options)
        )

    def bias_channels(self) -> int:
        """How many entries the bias has."""
        return self.out_channels

    def new_kernel(self, rows: int, columns: int, options: Options) -> nn.Parameter:
        """An uninitialised kernel (rows, columns, k, k)."""
        return nn.Parameter(torch.empty(rows, columns, *self.geometry.kernel, **tensor_options(options)))

    def fits(self, x: Tensor) -> bool:
        """(N, in_channels, H, W), or without N."""
        return x.dim() in (3, 4) and x.shape[-3] == self.in_channels

    def image_of(self, x: Tensor) -> tuple[int, ...]:
        """(h, w).

        Raises:
            UsageError: the image is padded circularly, and the stride does not divide it.
        """
        image = (int(x.shape[-2]), int(x.shape[-1]))
        circular = self.geometry.padding_mode == "circular"
        if circular and any(n % s for n, s in zip(image, self.geometry.stride, strict=True)):
            raise UsageError(
                f"{type(self).__name__}: the stride {self.stride} does not divide the circle {image}",
                hint="pad with zeros, or take an image whose sides are multiples of the stride",
            )
        return image

    def run(self, x: Tensor, *values: Tensor) -> Tensor:
        """K ∗ x + b.

        Raises:
            UsageError: circular padding is longer than the image.
        """
        geometry = self.geometry
        if geometry.padding_mode == "circular":
            largest = max(geometry.pads)
            if largest > min(x.shape[-2:]):
                raise UsageError(
                    f"{type(self).__name__}: no {largest} cells wrap around an image {tuple(x.shape[-2:])}",
                    hint="take a smaller kernel, or zero padding",
                )
            x = F.pad(x, geometry.pads, mode="circular")
            return F.conv2d(x, values[0], self.bias, geometry.stride)
        return F.conv2d(x, values[0], self.bias, geometry.stride, geometry.torch_padding)

    def linear_map(self, kernel: Tensor, image: tuple[int, ...]) -> Conv:
        """The map of that kernel, as the bounds know it."""
        geometry = self.geometry
        return Conv(
            kernel,
            image,
            stride=geometry.stride,
            padding=geometry.padding,
            padding_mode=geometry.padding_mode,
        )

    def frozen(self, image: tuple[int, ...], fit: Fit, *values: Tensor) -> nn.Module:
        """An `nn.Conv2d` with ‖K ∗‖ ≤ 1 on images of that size."""
        geometry = self.geometry
        layer = nn.Conv2d(
            self.inner_channels,
            self.out_channels,
            geometry.kernel,
            geometry.stride,
            geometry.torch_padding,
            padding_mode="circular" if geometry.padding_mode == "circular" else "zeros",
            device="meta",
        )
        kernel = fit(values[0], lambda stored: proved_norm(self.linear_map(stored, image)))
        return fit.filled(layer, kernel, self.bias)

    def extra_repr(self) -> str:
        """As of `nn.Conv2d`."""
        geometry = self.geometry
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={geometry.kernel}, stride={self.stride}, "
            f"padding={geometry.torch_padding!r}, padding_mode={geometry.padding_mode}, "
            f"bias={self.bias is not None}"
        )
