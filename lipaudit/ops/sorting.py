"""Sorting: a permutation of the entries at every point, hence 1-Lipschitz.

For a, b sorted entrywise, Σ(a₍ᵢ₎ − b₍ᵢ₎)² ≤ Σ(aᵢ − bᵢ)² (rearrangement inequality: Hardy, Littlewood, Pólya
1934, sec. 10.2).  GroupSort (Anil, Lucas, Grosse 2019) sorts groups, MaxMin sorts pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.graph.node import BoundMap, Gain, Shape
from lipaudit.ops.spec import Args, Exact, OpSpec, Untranslatable

__all__ = ["ROWS", "Sort", "TopK"]


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


def _msort(args: Args) -> Sort:
    """By the first axis."""
    args.ref("self")
    return Sort(0, descending=False)


@dataclass(frozen=True, slots=True, eq=False)
class TopK(Exact):
    """The k largest (or smallest) entries of each fibre along `dim`, in order: a part of the sorted fibre."""

    k: int
    dim: int
    largest: bool
    name: str = "topk"

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        return torch.topk(xs[0], self.k, self.dim, self.largest).values

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """1."""
        del shapes, spectral
        return Gain.of(1.0, "rearrangement")


def _topk(args: Args) -> tuple[TopK | None, ...]:
    args.ref("self")
    if not args.attr("sorted"):
        raise Untranslatable("topk in no particular order is no function")
    return (TopK(args.attr("k"), args.attr("dim"), bool(args.attr("largest"))), None)


ROWS = (
    OpSpec(("aten.sort.default", "aten.sort.stable"), _sort),
    OpSpec(("aten.msort.default",), _msort),
    OpSpec(("aten.topk.default",), _topk),
)
