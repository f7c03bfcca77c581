"""Spectral rescaling: W̃ = diag(t)⁻¹W with t_i = (Σ_j |(WWᵀ)^(2^(T−1))|_ij)^(1/2^T); AOL is T = 1.

Proved: ‖W̃‖ ≤ 1 for every W, in exact arithmetic, for zero and circular padding, any stride and image size
(`rescaling`).  More steps lie closer to W/‖W‖ and cost more.

AOL: Prach, Lampert (2022), ECCV, arXiv 2208.03160.  T > 1: Delattre, Barthélemy, Allauzen (2024), arXiv
2402.00240.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch

from lipaudit.errors import UsageError
from lipaudit.layers.arguments import Allowed, Options, Padding, Pair, integer
from lipaudit.layers.convolution import ConvLayer, centred_
from lipaudit.layers.dense import MatrixLayer
from lipaudit.layers.derived import Values
from lipaudit.layers.rescaling import rescaled, rescaled_kernel

__all__ = ["AOLConv2d", "AOLLinear", "SpectralRescaledConv2d", "SpectralRescaledLinear"]

MOST_STEPS = 5
"""A power has (2^T(k − 1) + 1)² taps."""


class SpectralRescaledLinear(MatrixLayer):
    """y = diag(t)⁻¹Wx + b, of norm at most 1: (*, in_features) → (*, out_features).

    Where there are fewer inputs than outputs, the inputs are rescaled.

    Args:
        in_features, out_features, bias, device, dtype: as of `nn.Linear`.
        steps: T, from 1 to 5.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,  # noqa: FBT001, FBT002 - torch's own signature
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        steps: int = 3,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self.steps = _checked(type(self).__name__, steps)

    def derive(self, image: tuple[int, ...]) -> Values:
        """diag(t)⁻¹W."""
        del image
        return (rescaled(self.weight, self.steps),)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{super().extra_repr()}, steps={self.steps}"


class AOLLinear(SpectralRescaledLinear):
    """y = diag(t)⁻¹Wx + b with t_i = √Σ_j |WWᵀ|_ij, of norm at most 1: (*, in_features) → (*, out_features).

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
        super().__init__(in_features, out_features, bias, device, dtype, steps=1)


class SpectralRescaledConv2d(ConvLayer):
    """y = K̃ ∗ x + b with K̃ rescaled per channel, of norm at most 1 on every image.

    Any stride and padding, zero or circular (then the stride divides the image, and the padding copies no
    cell twice).

    Args:
        in_channels, out_channels, kernel_size, stride, padding, bias: as of `nn.Conv2d`.
        steps: T, from 1 to 5.
        options: `padding_mode` zeros or circular, `device`, `dtype`.
    """

    allowed: ClassVar[Allowed] = Allowed(
        "SpectralRescaledConv2d", ("zeros", "circular"), any_padding=True, rearranges=False
    )

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = 0,
        *,
        bias: bool = True,
        steps: int = 3,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias, **options)
        self.steps = _checked(type(self).__name__, steps)
        self.weight = self.new_kernel(out_channels, in_channels, options)
        centred_(self.weight)

    def derive(self, image: tuple[int, ...]) -> Values:
        """K̃."""
        del image
        return (rescaled_kernel(self.weight, self.geometry.stride, self.steps),)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{super().extra_repr()}, steps={self.steps}"


class AOLConv2d(SpectralRescaledConv2d):
    """y = K̃ ∗ x + b with K̃_ij = K_ij/√Σ_{l,u} |KKᵀ|_il,u, of norm at most 1 on every image.

    Where there are fewer inputs than outputs, the inputs are rescaled.  Any stride and padding, zero or
    circular (then the stride divides the image, and the padding copies no cell twice).

    Args:
        in_channels, out_channels, kernel_size, stride, padding, bias: as of `nn.Conv2d`.
        options: `padding_mode` zeros or circular, `device`, `dtype`.
    """

    allowed: ClassVar[Allowed] = Allowed(
        "AOLConv2d", ("zeros", "circular"), any_padding=True, rearranges=False
    )

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = 0,
        *,
        bias: bool = True,
        **options: Unpack[Options],
    ) -> None:
        # Before Python finds `steps` twice.
        self.allowed.check_names(options)
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, bias=bias, steps=1, **options
        )


def _checked(layer: str, steps: int) -> int:
    number = integer(steps)
    if number is None or not 1 <= number <= MOST_STEPS:
        raise UsageError(f"{layer} does not allow steps={steps!r}", hint=f"allowed: 1 to {MOST_STEPS}")
    return number
