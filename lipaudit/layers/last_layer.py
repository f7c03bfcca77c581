"""Last-layer normalisation: every row of the last matrix has length 1.

    z_i = ⟨w_i, x⟩/‖w_i‖ + b_i

Proved: each logit has constant 1 in x, and each difference z_i − z_j has constant ‖w_i/‖w_i‖ − w_j/‖w_j‖‖ ≤
2, which is what a margin is divided by.  The map to all logits at once has norm up to √classes: as the *last*
layer it may certify more than a matrix of norm 1; anywhere else it is no 1-Lipschitz layer.

Singla, Singla, Feizi (2022), ICLR, arXiv 2108.04062, sec. 4.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.layers.dense import MatrixLayer
from lipaudit.layers.derived import Values
from lipaudit.layers.precision import tamed
from lipaudit.layers.verified import Fit, dense_norm

__all__ = ["NormalizedLinear"]


class NormalizedLinear(MatrixLayer):
    """z_i = ⟨w_i, x⟩/‖w_i‖ + b_i: (*, in_features) → (*, out_features), for the last layer only.

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
        """Rows of length 1, up to rounding, whatever the size of their entries; rows that are 0 stay 0."""
        del image
        return (F.normalize(tamed(self.weight, -1), eps=torch.finfo(self.weight.dtype).tiny),)

    def frozen(self, image: tuple[int, ...], fit: Fit, *values: Tensor) -> nn.Module:
        """An `nn.Linear` with rows of proved length at most 1."""
        del image
        rows = [fit(row[None], dense_norm) for row in values[0]]
        layer = nn.Linear(self.in_features, self.out_features, device="meta")
        return fit.filled(layer, torch.cat(rows), self.bias)
