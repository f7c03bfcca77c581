"""SOC: skew orthogonal convolutions, y = Σ_{j ≤ m} Aʲx/j! + b with A skew-symmetric.

    dense    A = W − Wᵀ
    kernel   A = K − flip(K)ᵀ, an odd kernel on a zero-padded image: the map is skew, border included

Proved: norm at most 1 for any weights (`exponential`), and the nearer to an isometry the more terms: exp(A)
is orthogonal.  Where channels get more, zeros are appended before; where they get fewer, the last ones are
dropped behind.  A stride s is space-to-depth before.

Singla, Feizi (2021), "Skew orthogonal convolutions", ICML, arXiv 2105.11417.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.layers.arguments import Allowed, Options, Padding, Pair
from lipaudit.layers.convolution import ConvLayer
from lipaudit.layers.dense import DenseLayer
from lipaudit.layers.derived import Values
from lipaudit.layers.exponential import LIMITS, SkewExponential, check_terms, series, skew_within
from lipaudit.layers.rearrangement import FirstEntries, ZeroEntries
from lipaudit.layers.verified import Fit, dense_norm, proved_norm

__all__ = ["SOCConv2d", "SOCLinear"]

TERMS = 8


class SOCLinear(DenseLayer):
    """y = p(W − Wᵀ)x + b: (*, in_features) → (*, out_features).

    Args:
        in_features, out_features, bias, device, dtype: as of `nn.Linear`.
        terms: m, one of 3, 4, 7, 8, 11, 12.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,  # noqa: FBT001, FBT002 - torch's own signature
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        terms: int = TERMS,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self.terms = check_terms("SOCLinear", terms)
        self.width = width = max(self.in_features, self.out_features)
        if width > self.in_features:
            self.before.append(ZeroEntries(width - self.in_features, -1))
        if width > self.out_features:
            self.after.append(FirstEntries(self.out_features, -1))
        self.weight = nn.Parameter(torch.empty(width, width, device=device, dtype=dtype))
        nn.init.normal_(self.weight, std=0.5 * width**-0.5)

    def derive(self, image: tuple[int, ...]) -> Values:
        """A."""
        del image
        return (skew_within(self.weight, LIMITS[self.terms]),)

    def run(self, x: Tensor, *values: Tensor) -> Tensor:
        """p(A)x + b."""
        y = series(x, values[0], self.terms)
        return y if self.bias is None else y + _appended(self.bias, self.width)

    def frozen(self, image: tuple[int, ...], fit: Fit, *values: Tensor) -> nn.Module:
        """A `SkewExponential` with proved ‖A‖."""
        del image
        weight = fit(values[0], dense_norm, LIMITS[self.terms])
        bias = None if self.bias is None else _appended(self.bias, self.width)
        return SkewExponential(weight, fit.bias(bias), self.terms)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{super().extra_repr()}, terms={self.terms}"


class SOCConv2d(ConvLayer):
    """y = p(K − flip(K)ᵀ) ∗ x + b: (N, in, H, W) → (N, out, H/s, W/s).

    Args:
        in_channels, out_channels, bias: as of `nn.Conv2d`.
        kernel_size: odd, on the image behind space-to-depth.
        stride: s divides the image.
        padding: "same", or the number that it is.
        terms: m, one of 3, 4, 7, 8, 11, 12.
        options: `padding_mode` zeros, `device`, `dtype`.
    """

    allowed: ClassVar[Allowed] = Allowed("SOCConv2d", odd=True)
    square: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = "same",
        *,
        bias: bool = True,
        terms: int = TERMS,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias, **options)
        self.terms = check_terms("SOCConv2d", terms)
        self.weight = self.new_kernel(self.width, self.width, options)
        nn.init.normal_(self.weight, std=0.5 * self.weight[0].numel() ** -0.5)

    def derive(self, image: tuple[int, ...]) -> Values:
        """A."""
        del image
        return (skew_within(self.weight, LIMITS[self.terms]),)

    def run(self, x: Tensor, *values: Tensor) -> Tensor:
        """p(A)x + b."""
        y = series(x, values[0], self.terms)
        return y if self.bias is None else y + _appended(self.bias, self.width)[:, None, None]

    def frozen(self, image: tuple[int, ...], fit: Fit, *values: Tensor) -> nn.Module:
        """A `SkewExponential` with proved ‖A‖."""
        kernel = fit(
            values[0], lambda stored: proved_norm(self.linear_map(stored, image)), LIMITS[self.terms]
        )
        bias = None if self.bias is None else _appended(self.bias, self.width)
        return SkewExponential(kernel, fit.bias(bias), self.terms)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{super().extra_repr()}, terms={self.terms}"


def _appended(bias: Tensor, width: int) -> Tensor:
    """With zeros for the channels that are dropped."""
    return F.pad(bias, (0, width - len(bias)))
