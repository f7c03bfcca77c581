"""SLL: SDP-based Lipschitz layers, y = x − 2Wᵀ T⁻¹φ(Wx + b), T_i = Σ_j |WWᵀ|_ij q_j/q_i, q > 0.

Proved: constant 1 for slopes of φ in [0, 1] and any W, q (`potential`).  T − WWᵀ is similar to a symmetric
diagonally dominant matrix by the weights q, so WWᵀ ⪯ T, that is ‖T^(−½)W‖ ≤ 1.  For kernels the sum runs
over all shifts of the self-correlation as well, and holds for every size of image.  Units whose row is 0 do
do nothing.

Computed for rows U_i = W_i/m_i, m_i the largest entry of W_i, whose squares neither overflow nor vanish:

    T_i = m_i² Σ_j |UUᵀ|_ij p_j/p_i,    p_i = m_i q_i,

where any p > 0 is proved as well as any q, so that what is too small for a number may be taken larger.

Araujo, Havens, Delattre, Allauzen, Hu (2023), "A unified algebraic perspective on Lipschitz neural networks",
ICLR, arXiv 2303.03169.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.layers.arguments import Allowed, Options, Padding, Pair
from lipaudit.layers.derived import Values
from lipaudit.layers.potential import representable
from lipaudit.layers.precision import largest, tamed
from lipaudit.layers.residual import PotentialConv2d, PotentialLinear

__all__ = ["SLLConv2d", "SLLLinear"]

SMALLEST = 1e-28
"""Of p, the largest being 1 or below: no ratio overflows in float32."""


class SLLLinear(PotentialLinear):
    """y = x − 2Wᵀ T⁻¹φ(Wx + b): (*, in_features) → (*, out_features).

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
        self.log_q = nn.Parameter(torch.zeros(self.hidden_features, device=device, dtype=dtype))

    def derive(self, image: tuple[int, ...]) -> Values:
        """W and 2/T."""
        del image
        rows = tamed(self.weight, 1)
        return self.weight, _scales(rows @ rows.T, self.log_q, largest(self.weight, 1).flatten())


class SLLConv2d(PotentialConv2d):
    """y = x − 2Wᵀ T⁻¹φ(W ∗ x + b): (N, in, H, W) → (N, out, H/s, W/s).

    Args:
        in_channels, out_channels, bias: as of `nn.Conv2d`.
        kernel_size: odd, on the image behind space-to-depth.
        stride: s divides the image.
        padding: "same", or the number that it is.
        hidden_channels: rows of W; default: the larger of both.
        activation: φ, with slopes in [0, 1]; default: ReLU.
        options: `padding_mode` zeros, `device`, `dtype`.
    """

    allowed: ClassVar[Allowed] = Allowed("SLLConv2d", odd=True)

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
        self.log_q = nn.Parameter(torch.zeros_like(self.weight[:, 0, 0, 0]))

    def derive(self, image: tuple[int, ...]) -> Values:
        """W and 2/T."""
        del image
        reach = [k - 1 for k in self.geometry.kernel]
        rows = tamed(self.weight, 1, 2, 3)
        correlation = F.conv2d(rows, rows, padding=reach).abs().sum((2, 3))
        return self.weight, _scales(correlation, self.log_q, largest(self.weight, 1, 2, 3).flatten())


def _scales(correlation: Tensor, log_q: Tensor, sizes: Tensor) -> Tensor:
    """2/T from UUᵀ (hidden, hidden) and m (hidden,); 0 where a row of W is 0."""
    q = torch.exp(log_q - log_q.detach().max())
    p = (q * (sizes / sizes.max())).clamp(min=SMALLEST)
    sums = (correlation.abs() * p).sum(1) / p
    live = sums != 0
    scales = representable(2 / torch.where(live, sums, 1.0) / sizes / sizes, sizes.dtype)
    return torch.where(live, scales, 0.0)
