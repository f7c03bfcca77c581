"""Activations whose Jacobian is orthogonal wherever it exists: no gradient shrinks on its way through.

    MaxMin        (a, b) ↦ (max(a, b), min(a, b)), channel i against channel i + C/2
    GroupSort     groups of neighbouring channels sorted
    Householder   (a, b) ↦ (a, b), or its reflection at the line of angle θ/2, θ learnt

Proved: constant 1.  Sorting is a permutation at every point and continuous; the two linear pieces of
Householder's agree on the line where they meet.

Chernodub, Nowicki (2016), "Norm-preserving orthogonal permutation linear unit activation functions", arXiv
1604.02313; Anil, Lucas, Grosse (2019), "Sorting out Lipschitz function approximation", ICML; Singla,
Singla, Feizi (2022), "Improved deterministic l2 robustness on CIFAR-10 and CIFAR-100", ICLR, arXiv
2108.04062.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lipaudit.errors import UsageError
from lipaudit.layers.arguments import whole

__all__ = ["GroupSort", "Householder", "MaxMin"]


class MaxMin(nn.Module):
    """(N, C, …) → (N, C, …), C even: channel i holds the larger of i and i + C/2, that one the smaller."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class.

        Raises:
            UsageError: the number of channels is odd.
        """
        a, b = _halves("MaxMin", x)
        return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)


class GroupSort(nn.Module):
    """(N, C, …) → (N, C, …): neighbouring channels sorted in groups, the smallest first.

    Args:
        group_size: divides C.
    """

    def __init__(self, group_size: int = 2) -> None:
        super().__init__()
        (self.group_size,) = whole("GroupSort", group_size=group_size)

    def forward(self, x: Tensor) -> Tensor:
        """See the class.

        Raises:
            UsageError: groups do not divide the channels.
        """
        if x.dim() < 2 or x.shape[1] % self.group_size:
            raise UsageError(
                f"GroupSort({self.group_size}) met an input of shape {tuple(x.shape)}",
                hint="axis 1 holds the channels, a multiple of the group's size",
            )
        grouped = x.reshape(x.shape[0], -1, self.group_size, *x.shape[2:])
        return grouped.sort(2).values.reshape(x.shape)

    def extra_repr(self) -> str:
        """The argument."""
        return str(self.group_size)


class Householder(nn.Module):
    """(N, C, …) → (N, C, …): pairs of channels i and i + C/2 reflected onto one side of a line.

    With a sin(θ/2) − b cos(θ/2) > 0 the pair (a, b) becomes (a cos θ + b sin θ, a sin θ − b cos θ), else it
    stays.  At θ = π/2, the start, that is (min, max).

    Args:
        channels: C, even.
        device, dtype: of θ (C/2,).
    """

    def __init__(
        self, channels: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        (count,) = whole("Householder", least=2, channels=channels)
        if count % 2:
            raise UsageError(f"Householder does not allow channels={channels}", hint="allowed: even numbers")
        self.theta = nn.Parameter(torch.full((count // 2,), math.pi / 2, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """See the class.

        Raises:
            UsageError: the number of channels is another one.
        """
        a, b = _halves("Householder", x)
        if a.shape[1] != len(self.theta):
            raise UsageError(
                f"Householder({2 * len(self.theta)}) met an input of shape {tuple(x.shape)}",
                hint="axis 1 holds the channels",
            )
        theta = self.theta.reshape(-1, *[1] * (x.dim() - 2))
        stays = a * torch.sin(theta / 2) - b * torch.cos(theta / 2) <= 0
        cosine, sine = torch.cos(theta), torch.sin(theta)
        first = torch.where(stays, a, a * cosine + b * sine)
        second = torch.where(stays, b, a * sine - b * cosine)
        return torch.cat([first, second], 1)

    def extra_repr(self) -> str:
        """The argument."""
        return str(2 * len(self.theta))


def _halves(layer: str, x: Tensor) -> tuple[Tensor, Tensor]:
    if x.dim() < 2 or x.shape[1] % 2:
        raise UsageError(
            f"{layer} met an input of shape {tuple(x.shape)}", hint="axis 1 holds an even number of channels"
        )
    a, b = x.chunk(2, 1)
    return a, b
