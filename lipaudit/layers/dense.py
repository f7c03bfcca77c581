"""y = Wx + b with a matrix W that is derived: what the dense layers share."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.layers.arguments import check_dtype, whole
from lipaudit.layers.derived import Derived
from lipaudit.layers.verified import Fit, dense_norm

__all__ = ["DenseLayer", "MatrixLayer", "new_bias"]


def new_bias(
    size: int, fan_in: int, *, bias: bool, device: torch.device | str | None, dtype: torch.dtype | None
) -> nn.Parameter | None:
    """Drawn as torch draws biases, or None."""
    if not bias:
        return None
    limit = 1 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(size, device=device, dtype=dtype).uniform_(-limit, limit))


class DenseLayer(Derived):
    """A linear map (*, in_features) → (*, out_features); a family derives its matrix.

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
        super().__init__()
        name = type(self).__name__
        self.in_features, self.out_features = whole(name, in_features=in_features, out_features=out_features)
        check_dtype(name, dtype)
        self.bias = new_bias(self.out_features, self.in_features, bias=bias, device=device, dtype=dtype)

    def fits(self, x: Tensor) -> bool:
        """(*, in_features)."""
        return x.dim() > 0 and x.shape[-1] == self.in_features

    def run(self, x: Tensor, *values: Tensor) -> Tensor:
        """Wx + b."""
        return F.linear(x, values[0], self.bias)

    def frozen(self, image: tuple[int, ...], fit: Fit, *values: Tensor) -> nn.Module:
        """An `nn.Linear` with ‖W‖ ≤ 1."""
        del image
        layer = nn.Linear(self.in_features, self.out_features, device="meta")
        return fit.filled(layer, fit(values[0], dense_norm), self.bias)

    def extra_repr(self) -> str:
        """As of `nn.Linear`."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )


class MatrixLayer(DenseLayer):
    """A dense layer whose matrix is derived from a free one of the same shape, which starts orthogonal.

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
        nn.init.orthogonal_(self.weight)
