"""CPL: convex potential layers, y = x − (2/B²) Wᵀφ(Wx + b) with B ≥ ‖W‖.

Proved: constant 1 for slopes of φ in [0, 1] (`potential`).  B is an upper bound: power iteration, as the
authors use it, stays below the norm and lets a block stretch by up to 0.4 %.

    dense    Gram iteration: B = ‖(WWᵀ)^(2^(t−1))‖_F^(1/2^t)
    kernel   the same at every frequency of a circular image of n + p cells, of which the zero-padded map on
             n cells is a part: B depends on the size of the image, and is derived anew for another one;
             a frozen block is for one size and refuses others

In float32 the scale is 0 from B = 1e19 on, where 2/B² is no normal number: the block is then the identity,
and what is frozen in float32 is it, too.
The gradient is that of ‖W‖ at its top singular vectors (of the grid's top frequency), scaled to B.

Meunier, Delattre, Araujo, Allauzen (2022), ICML, arXiv 2110.12690; Delattre, Barthélemy, Araujo, Allauzen
(2023), "Efficient bound of Lipschitz constant for convolutional layers by Gram iteration", ICML.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from lipaudit.layers.arguments import Allowed, Options, Padding, Pair
from lipaudit.layers.derived import Values
from lipaudit.layers.frequency import spectrum_of
from lipaudit.layers.potential import representable
from lipaudit.layers.precision import largest
from lipaudit.layers.residual import PotentialConv2d, PotentialLinear

__all__ = ["CPLConv2d", "CPLLinear"]

STEPS = 9
"""Squarings: B exceeds a norm of 64 equal singular values by 0.4 %, others by less."""


class CPLLinear(PotentialLinear):
    """y = x − (2/B²) Wᵀφ(Wx + b): (*, in_features) → (*, out_features).

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
        super().__init__(
            in_features,
            out_features,
            bias,
            device,
            dtype,
            hidden_features=hidden_features,
            activation=activation,
        )

    def derive(self, image: tuple[int, ...]) -> Values:
        """W and 2/B², for every unit."""
        del image
        return self.weight, _scales(_norm(self.weight[None]), self.hidden_features)


class CPLConv2d(PotentialConv2d):
    """y = x − (2/B²) Wᵀφ(W ∗ x + b): (N, in, H, W) → (N, out, H/s, W/s).

    Args:
        in_channels, out_channels, bias: as of `nn.Conv2d`.
        kernel_size: odd, on the image behind space-to-depth.
        stride: s divides the image.
        padding: "same", or the number that it is.
        hidden_channels: rows of W; default: the larger of both.
        activation: φ, with slopes in [0, 1]; default: ReLU.
        options: `padding_mode` zeros, `device`, `dtype`.
    """

    allowed: ClassVar[Allowed] = Allowed("CPLConv2d", odd=True)
    one_image: ClassVar[bool] = True

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
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            bias=bias,
            hidden_channels=hidden_channels,
            activation=activation,
            **options,
        )

    def derive(self, image: tuple[int, ...]) -> Values:
        """W and 2/B², for every unit."""
        circle = [n + k // 2 for n, k in zip(image, self.geometry.kernel, strict=True)]
        return self.weight, _scales(
            _norm(spectrum_of(self.weight, tuple(circle)).flatten(0, 1)), self.hidden_channels
        )


def _scales(bound: Tensor, units: int) -> Tensor:
    """2/B²; 1 where W is 0, and the block the identity."""
    live = bound != 0
    safe = torch.where(live, bound, 1.0)
    return torch.where(live, representable(2 / safe / safe, bound.dtype), 1.0).expand(units)


def _norm(matrices: Tensor) -> Tensor:
    """An upper bound on the norms of all matrices (F, p, q), with the gradient of the largest norm."""
    with torch.no_grad():
        common = largest(matrices)
        W = matrices.detach() / common
        gram = W @ W.mH if W.shape[-2] <= W.shape[-1] else W.mH @ W
        # log of what was divided out: G_t·e^scale is the 2^(t−1)-th power of the Gram matrix.
        size = gram.abs().amax()
        size = torch.where(size > 0, size, 1.0)
        gram, scale = gram / size, size.log()
        for _ in range(STEPS - 1):
            gram = gram @ gram
            peak = gram.abs().amax()
            peak = torch.where(peak > 0, peak, 1.0)
            gram, scale = gram / peak, 2 * scale + peak.log()
        norms = torch.linalg.matrix_norm(gram)
        # Selected by tensors: nothing is read back from a device.
        top = norms.argmax().reshape(1)
        bound = ((norms.amax().log() + scale) / 2**STEPS).exp()
        power = gram.index_select(0, top)[0]
        columns = torch.linalg.vector_norm(power, dim=0)
        vector = power.index_select(1, columns.argmax().reshape(1))[:, 0]
        vector = vector / columns.amax().clamp(min=torch.finfo(columns.dtype).tiny)
    matrix = matrices.index_select(0, top)[0] / common[0]
    matrix = matrix if W.shape[-2] > W.shape[-1] else matrix.mH
    witnessed = torch.linalg.vector_norm(matrix @ vector)
    positive = witnessed.detach() > 0
    ratio = torch.where(positive, witnessed / torch.where(positive, witnessed.detach(), 1.0), 0.0)
    result: Tensor = common.reshape(()) * bound * ratio
    return result
