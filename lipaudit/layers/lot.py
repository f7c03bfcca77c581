"""LOT: the orthogonal matrix nearest to the kernel's symbol, at every frequency of the padded image.

    y = crop(irfft2(Q(ω)·rfft2(pad(x)))) + b,     Q(ω) = (K̂K̂ᴴ)^(−½)K̂(ω)

by Björck's iteration, whose norm is at most 1 after any number of steps (`orthogonal`).  Proved: ‖Q(ω)‖ ≤ 1,
and padding with zeros and cropping stretch nothing.  One kernel gives another map for each size of image.
A stride s is space-to-depth before.

Xu, Li, Li (2022), "LOT: Layer-wise orthogonal training on improving l2 certified robustness", NeurIPS,
arXiv 2210.11620.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.layers.arguments import Allowed, Options, Padding, Pair, whole
from lipaudit.layers.convolution import ConvLayer, centred_
from lipaudit.layers.derived import Values
from lipaudit.layers.frequency import FrequencyFilter, filtered, spectrum_of, stored_spectrum
from lipaudit.layers.orthogonal import bjorck
from lipaudit.layers.precision import tamed
from lipaudit.layers.verified import Fit

__all__ = ["LOTConv2d"]


class LOTConv2d(ConvLayer):
    """A zero-padded convolution of norm at most 1, nearly orthogonal: (N, in, H, W) → (N, out, H/s, W/s).

    Args:
        in_channels, out_channels, bias: as of `nn.Conv2d`.
        kernel_size: on the image behind space-to-depth.
        stride: s divides the image.
        padding: "same", or the number that it is.
        iterations: of Björck's method; fewer leave a contraction.
        options: `padding_mode` zeros, `device`, `dtype`.
    """

    allowed: ClassVar[Allowed] = Allowed("LOTConv2d")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = "same",
        *,
        bias: bool = True,
        iterations: int = 10,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias, **options)
        (self.iterations,) = whole("LOTConv2d", least=0, iterations=iterations)
        self.weight = self.new_kernel(out_channels, self.inner_channels, options)
        centred_(self.weight)

    def padded(self, image: tuple[int, ...]) -> tuple[int, int]:
        """The extent behind the padding."""
        (top, bottom), (left, right) = self.geometry.padding
        return image[0] + top + bottom, image[1] + left + right

    def derive(self, image: tuple[int, ...]) -> Values:
        """Q (h, ⌊w/2⌋ + 1, out, in) of the padded image."""
        return (bjorck(spectrum_of(tamed(self.weight), self.padded(image)), self.iterations),)

    def run(self, x: Tensor, *values: Tensor) -> Tensor:
        """crop(irfft2(Q·rfft2(pad(x)))) + b."""
        (top, _), (left, _) = self.geometry.padding
        y = filtered(F.pad(x, self.geometry.pads), values[0])
        y = y[..., top : top + x.shape[-2], left : left + x.shape[-1]]
        return y if self.bias is None else y + self.bias[:, None, None]

    def frozen(self, image: tuple[int, ...], fit: Fit, *values: Tensor) -> nn.Module:
        """A `FrequencyFilter` with ‖Q(ω)‖ ≤ 1."""
        parts = stored_spectrum(values[0], fit)
        return FrequencyFilter(*parts, fit.bias(self.bias), self.geometry.pads, self.padded(image))

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{super().extra_repr()}, iterations={self.iterations}"
