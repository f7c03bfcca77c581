"""What the two kinds of potential blocks share: their sizes, hidden units and activation.

Where the channels change, zeros are appended before, or the last ones are dropped behind.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from lipaudit.layers.arguments import Allowed, Options, Padding, Pair, check_dtype, whole
from lipaudit.layers.convolution import ConvLayer
from lipaudit.layers.dense import new_bias
from lipaudit.layers.derived import Derived
from lipaudit.layers.potential import PotentialBlock, check_activation, potential_step, stored_step
from lipaudit.layers.rearrangement import FirstEntries, ZeroEntries
from lipaudit.layers.verified import Fit

__all__ = ["PotentialConv2d", "PotentialLinear"]


class PotentialLinear(Derived):
    """y = x − Wᵀ diag(s) φ(Wx + b): (*, in_features) → (*, out_features); a family derives W and s.

    Args:
        in_features, out_features, bias, device, dtype: as of `nn.Linear`.
        hidden_features: rows of W; default: the larger of both.
        activation: φ, with slopes in [0, 1]; default: ReLU.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,  # noqa: FBT001, FBT002 - torch's own signature
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        hidden_features: int | None = None,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.in_features, self.out_features = whole(name, in_features=in_features, out_features=out_features)
        width = max(self.in_features, self.out_features)
        asked = width if hidden_features is None else hidden_features
        (self.hidden_features,) = whole(name, hidden_features=asked)
        check_dtype(name, dtype)
        self.activation = check_activation(name, activation)
        if width > self.in_features:
            self.before.append(ZeroEntries(width - self.in_features, -1))
        if width > self.out_features:
            self.after.append(FirstEntries(self.out_features, -1))
        self.weight = nn.Parameter(torch.empty(self.hidden_features, width, device=device, dtype=dtype))
        nn.init.xavier_normal_(self.weight)
        self.bias = new_bias(self.hidden_features, width, bias=bias, device=device, dtype=dtype)

    def fits(self, x: Tensor) -> bool:
        """(*, in_features)."""
        return x.dim() > 0 and x.shape[-1] == self.in_features

    def run(self, x: Tensor, *values: Tensor) -> Tensor:
        """The block."""
        return potential_step(x, values[0], values[1], self.bias, self.activation)

    def frozen(self, image: tuple[int, ...], fit: Fit, *values: Tensor) -> nn.Module:
        """A `PotentialBlock` with proved ‖S^½W‖² ≤ 2."""
        weight, scale = stored_step(values[0], values[1], image, fit)
        return PotentialBlock(weight, scale, fit.bias(self.bias), self.activation)

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, hidden_features={self.hidden_features}"
        )


class PotentialConv2d(ConvLayer):
    """y = x − Wᵀ diag(s) φ(W ∗ x + b): (N, in, H, W) → (N, out, H/s, W/s); a family derives W and s.

    Args:
        in_channels, out_channels, bias: as of `nn.Conv2d`.
        kernel_size: odd, on the image behind space-to-depth.
        stride: s divides the image.
        padding: "same", or the number that it is.
        hidden_channels: rows of W; default: the larger of both.
        activation: φ, with slopes in [0, 1]; default: ReLU.
        options: `padding_mode` zeros, `device`, `dtype`.
    """

    square: ClassVar[bool] = True
    one_image: ClassVar[bool] = False
    """Whether the scales hold for one size of image only; what is frozen then refuses others."""
    allowed: ClassVar[Allowed] = Allowed("PotentialConv2d", odd=True)

    def __init__(  # noqa: PLR0913 - torch's own convolution has as many
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = "same",
        *,
        bias: bool = True,
        hidden_channels: int | None = None,
        activation: nn.Module | None = None,
        **options: Unpack[Options],
    ) -> None:
        self.asked: int | None = None
        if hidden_channels is not None:
            (self.asked,) = whole(type(self).__name__, hidden_channels=hidden_channels)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias, **options)
        self.hidden_channels = self.bias_channels()
        self.activation = check_activation(type(self).__name__, activation)
        self.weight = self.new_kernel(self.hidden_channels, self.width, options)
        nn.init.xavier_normal_(self.weight)

    def bias_channels(self) -> int:
        """As many as hidden units."""
        return self.width if self.asked is None else self.asked

    def run(self, x: Tensor, *values: Tensor) -> Tensor:
        """The block."""
        return potential_step(x, values[0], values[1], self.bias, self.activation)

    def frozen(self, image: tuple[int, ...], fit: Fit, *values: Tensor) -> nn.Module:
        """A `PotentialBlock` with proved ‖S^½W‖² ≤ 2 on images of that size."""
        weight, scale = stored_step(values[0], values[1], image, fit)
        only = image if self.one_image else None
        return PotentialBlock(weight, scale, fit.bias(self.bias), self.activation, only)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{super().extra_repr()}, hidden_channels={self.hidden_channels}"
