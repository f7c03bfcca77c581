"""Sandwich layers: y = √2·Aᵀ Ψ φ(√2·Ψ⁻¹Bx + b), AAᵀ + BBᵀ = I, Ψ > 0 diagonal.

Proved: constant 1 for slopes of φ in [0, 1].  The Jacobian is 2AᵀDB with D diagonal, 0 ≤ D ≤ I (Ψ cancels);
for unit vectors a, c let p = Aa, q = Bc: 2pᵀDq ≤ 2Σ max(p_i q_i, 0) ≤ ½Σ(p_i + q_i)² ≤ ½‖[A B]‖²·2 = 1.

    dense    [A B]ᵀ = cayley(free)
    kernel   [A B] an orthogonal convolution (`bcop`), with zero padding a block of one: ‖[A B]‖ ≤ 1

As many hidden units as outputs.  A stride s of the convolution is space-to-depth before.  The authors
orthogonalise kernels per frequency; composed projectors give the same constraint with a small kernel.

Wang, Manchester (2023), "Direct parameterization of Lipschitz-bounded deep networks", ICML, arXiv 2301.11526.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import ClassVar, Unpack

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.layers.arguments import Allowed, Options, Padding, Pair
from lipaudit.layers.bcop import composed, projector_parameters
from lipaudit.layers.convolution import ConvLayer
from lipaudit.layers.dense import DenseLayer
from lipaudit.layers.derived import Values
from lipaudit.layers.orthogonal import cayley
from lipaudit.layers.potential import check_activation
from lipaudit.layers.verified import MOST, Fit, dense_norm, proved_norm

__all__ = ["SandwichBlock", "SandwichConv2d", "SandwichLinear"]

LONGEST = 40.0
"""|log Ψ|: beyond e^88 float32 has no numbers, and the products with Ψ need room, too."""


class SandwichLinear(DenseLayer):
    """y = √2·Aᵀ Ψ φ(√2·Ψ⁻¹Bx + b): (*, in_features) → (*, out_features).

    Args:
        in_features, out_features, bias, device, dtype: as of `nn.Linear`.
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
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self.activation = check_activation("SandwichLinear", activation)
        self.weight = nn.Parameter(
            torch.empty(self.in_features + self.out_features, self.out_features, device=device, dtype=dtype)
        )
        nn.init.xavier_normal_(self.weight)
        self.log_psi = nn.Parameter(torch.zeros(self.out_features, device=device, dtype=dtype))

    def derive(self, image: tuple[int, ...]) -> Values:
        """√2·ΨA (hidden, out) and √2·Ψ⁻¹B (hidden, in)."""
        del image
        return _scaled(cayley(self.weight).T, self.out_features, self.log_psi)

    def run(self, x: Tensor, *values: Tensor) -> Tensor:
        """The layer."""
        return _sandwich(x, values[0], values[1], self.bias, self.activation)

    def frozen(self, image: tuple[int, ...], fit: Fit, *values: Tensor) -> nn.Module:
        """A `SandwichBlock` with proved constant 1."""
        del image
        outer, inner = _stored(values, _psi(self.log_psi.detach().double()), fit, dense_norm)
        return SandwichBlock(outer, inner, fit.bias(self.bias), self.activation)


class SandwichConv2d(ConvLayer):
    """y = √2·Aᵀ Ψ φ(√2·Ψ⁻¹B ∗ x + b): (N, in, H, W) → (N, out, H/s, W/s).

    Args:
        in_channels, out_channels, bias: as of `nn.Conv2d`.
        kernel_size: odd, on the image behind space-to-depth.
        stride: s divides the image.
        padding: "same", or the number that it is.
        activation: φ, with slopes in [0, 1]; default: ReLU.
        options: `padding_mode` zeros, `device`, `dtype`.
    """

    allowed: ClassVar[Allowed] = Allowed("SandwichConv2d", odd=True)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = "same",
        *,
        bias: bool = True,
        activation: nn.Module | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias, **options)
        self.activation = check_activation("SandwichConv2d", activation)
        long = self.inner_channels + self.out_channels
        self.start, self.bases = projector_parameters(long, self.out_channels, self.geometry.kernel, options)
        self.log_psi = nn.Parameter(torch.zeros_like(self.start[0]))

    def derive(self, image: tuple[int, ...]) -> Values:
        """√2·ΨA (hidden, out, k, k) and √2·Ψ⁻¹B (hidden, in, k, k)."""
        del image
        both = composed(self.start, self.bases, self.geometry.kernel).transpose(0, 1)
        return _scaled(both, self.out_channels, self.log_psi)

    def run(self, x: Tensor, *values: Tensor) -> Tensor:
        """The layer."""
        return _sandwich(x, values[0], values[1], self.bias, self.activation)

    def frozen(self, image: tuple[int, ...], fit: Fit, *values: Tensor) -> nn.Module:
        """A `SandwichBlock` with proved constant 1."""
        psi = _psi(self.log_psi.detach().double())
        outer, inner = _stored(values, psi, fit, lambda both: proved_norm(self.linear_map(both, image)))
        return SandwichBlock(outer, inner, fit.bias(self.bias), self.activation)


class SandwichBlock(nn.Module):
    """y = Gφ(Wx + b) with stored Gᵀ and W.

    Args:
        outer: Gᵀ, (hidden, out) or a kernel (hidden, out, k, k).
        inner: W, (hidden, in) or a kernel (hidden, in, k, k).
        bias: (hidden,), or None.
        activation: φ.
    """

    def __init__(self, outer: Tensor, inner: Tensor, bias: Tensor | None, activation: nn.Module) -> None:
        super().__init__()
        self.outer, self.inner = nn.Parameter(outer), nn.Parameter(inner)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.activation = copy.deepcopy(check_activation("SandwichBlock", activation))

    def forward(self, x: Tensor) -> Tensor:
        """As of the layer."""
        return _sandwich(x, self.outer, self.inner, self.bias, self.activation)


def _sandwich(x: Tensor, outer: Tensor, inner: Tensor, bias: Tensor | None, phi: nn.Module) -> Tensor:
    """Gφ(Wx + b), of matrices, or of kernels with zero padding "same", k odd."""
    if inner.dim() == 2:
        return F.linear(phi(F.linear(x, inner, bias)), outer.t())
    padding = [k // 2 for k in inner.shape[2:]]
    return F.conv_transpose2d(phi(F.conv2d(x, inner, bias, padding=padding)), outer, padding=padding)


def _psi(log_psi: Tensor) -> Tensor:
    """Ψ: any is proved, and a longer logarithm counts as one of `LONGEST`."""
    return log_psi.clamp(-LONGEST, LONGEST).exp()


def _scaled(both: Tensor, outputs: int, log_psi: Tensor) -> Values:
    """√2·ΨA and √2·Ψ⁻¹B from [A B], whose columns come first for A."""
    psi = _psi(log_psi).reshape(-1, *[1] * (both.dim() - 1))
    return math.sqrt(2) * both[:, :outputs] * psi, math.sqrt(2) * both[:, outputs:] / psi


def _stored(values: Values, psi: Tensor, fit: Fit, norm: Callable[[Tensor], float]) -> tuple[Tensor, Tensor]:
    """Both maps as stored, with proved ½‖[Ψ⁻¹Gᵀ, ΨW]‖² ≤ 1."""
    outputs = values[0].shape[1]
    psi = psi.reshape(-1, *[1] * (values[0].dim() - 1))

    def constant(stored: Tensor) -> float:
        outer, inner = stored.double().split((outputs, stored.shape[1] - outputs), 1)
        return norm(torch.cat([outer / psi, inner * psi], 1)) / math.sqrt(2)

    stored = fit(torch.cat(values, 1), constant, MOST)
    return stored[:, :outputs].clone(), stored[:, outputs:].clone()
