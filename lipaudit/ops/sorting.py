"""Sorting: a permutation of the entries at every point, hence 1-Lipschitz.

For a, b sorted entrywise, Σ(a₍ᵢ₎ − b₍ᵢ₎)² ≤ Σ(aᵢ − bᵢ)² (rearrangement inequality: Hardy, Littlewood, Pólya
1934, sec. 10.2).  GroupSort (Anil, Lucas, Grosse 2019) sorts groups, MaxMin sorts pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.graph.node import BoundMap, Gain, Shape
from lipaudit.ops.spec import Args, Exact, OpSpec

__all__ = ["ROWS", "Sort"]


@dataclass(frozen=True, slots=True, eq=False)
class Sort(Exact):
    """Entries of each fibre along `dim` in order."""

    dim: int
    descending: bool
    name: str = "sort"

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        return torch.sort(xs[0], dim=self.dim, descending=self.descending).values

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """1."""
        del shapes, spectral
        return Gain.of(1.0, "rearrangement")


def _sort(args: Args) -> tuple[Sort | None, ...]:
    args.ref("self")
    args.ignore("stable")
    return (Sort(args.attr("dim"), bool(args.attr("descending"))), None)


ROWS = (OpSpec(("aten.sort.default", "aten.sort.stable"), _sort),)
