"""Maps that only move, append or drop entries: none of them stretches anything.

    SpaceToDepth(s)   (N, C, s·h, s·w) → (N, s²C, h, w)     a permutation: an isometry
    ZeroEntries       appends zeros along an axis            an isometry
    FirstEntries      keeps the first entries of an axis     a projection

Space-to-depth is the invertible downsampling of Jacobsen, Smeulders, Oyallon (2018), "i-RevNet", ICLR; zeros
before and dropped channels behind a square map: Singla, Feizi (2021), "Skew orthogonal convolutions", ICML.
"""

from __future__ import annotations

from types import EllipsisType

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lipaudit.errors import UsageError
from lipaudit.layers.arguments import integer, whole

__all__ = ["FirstEntries", "SpaceToDepth", "ZeroEntries"]


class SpaceToDepth(nn.PixelUnshuffle):
    """(N, C, s·h, s·w) → (N, s²C, h, w): an isometry.

    Args:
        downscale_factor: s.
    """

    def __init__(self, downscale_factor: int) -> None:
        super().__init__(*whole("SpaceToDepth", downscale_factor=downscale_factor))

    def forward(self, x: Tensor) -> Tensor:
        """See the class.

        Raises:
            UsageError: s does not divide the image.
        """
        s = self.downscale_factor
        if x.dim() < 3 or x.shape[-1] % s or x.shape[-2] % s:
            raise UsageError(
                f"space-to-depth by {s} does not fit an input of shape {tuple(x.shape)}",
                hint="both sides of the image must be multiples of the stride",
            )
        return super().forward(x)


class ZeroEntries(nn.Module):
    """Appends zeros along an axis: an isometry.

    Args:
        count: how many.
        dim: the axis, counted from the end: −3 for the channels of images, −1 for features.
    """

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        (self.count,) = whole("ZeroEntries", least=0, count=count)
        self.dim = _from_the_end("ZeroEntries", dim)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.pad(x, (*(0, 0) * (-self.dim - 1), 0, self.count))

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.count}, dim={self.dim}"


class FirstEntries(nn.Module):
    """Keeps the first entries of an axis: a projection.

    Args:
        count: how many.
        dim: the axis, counted from the end.
    """

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        (self.count,) = whole("FirstEntries", count=count)
        self.dim = _from_the_end("FirstEntries", dim)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        behind = (slice(None),) * (-self.dim - 1)
        kept: tuple[EllipsisType | slice, ...] = (..., slice(self.count), *behind)
        return x[kept]

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.count}, dim={self.dim}"


def _from_the_end(layer: str, dim: int) -> int:
    """An axis.

    Raises:
        UsageError: it is none, or counted from the front, where batches may or may not stand.
    """
    found = integer(dim)
    if found is None or found >= 0:
        raise UsageError(
            f"{layer} does not allow dim={dim!r}",
            hint="allowed: −1 for the last axis, −2 for the one before, …",
        )
    return found
