"""A loss that asks for margins: cross-entropy with an offset and a temperature.

    loss = τ · CE((z − u·onehot(y))/τ, y)

The true logit is lowered by u before it is compared, so that the loss stays large until it leads by u; a
small τ makes the loss nearly linear in what is missing.  A network of constant 1 is certified at radius ε
where the true logit leads by √2·ε: u = √2·ε asks for just that, larger ones for more.

Prach, Lampert (2022), "Almost-orthogonal layers for efficient general-purpose Lipschitz networks", ECCV,
sec. 5.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.errors import UsageError
from lipaudit.layers.arguments import finite

__all__ = ["MarginLoss"]


class MarginLoss(nn.Module):
    """Cross-entropy with offset and temperature: logits (N, C), labels (N,) → a scalar, the mean.

    Args:
        offset: u ≥ 0, in units of the logits.
        temperature: τ > 0.
    """

    def __init__(self, offset: float = 2**0.5, temperature: float = 0.25) -> None:
        super().__init__()
        if not (finite(offset) and offset >= 0 and finite(temperature) and temperature > 0):
            raise UsageError(
                f"MarginLoss does not allow offset={offset!r}, temperature={temperature!r}",
                hint="allowed: an offset from 0 on, a temperature above 0, both finite",
            )
        self.offset, self.temperature = offset, temperature

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See the class."""
        wanted = F.one_hot(labels, logits.shape[-1]).to(logits)
        return self.temperature * F.cross_entropy((logits - self.offset * wanted) / self.temperature, labels)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"offset={self.offset}, temperature={self.temperature}"
