"""Reductions over axes: sum (√m), mean (1/√m), max and min (1), each over groups of m entries.

Groups are disjoint.  For a sum, (Σx)² ≤ m Σx² (Cauchy–Schwarz), attained; for a maximum,
|max a − max b| ≤ max|a − b| ≤ ‖a − b‖.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.graph.node import BoundMap, Gain, Op, Shape
from lipaudit.ops.spec import Args, Exact, OpSpec, Untranslatable
from lipaudit.rounding import UNDERFLOW, div_up, gamma, sqrt_down, sqrt_up

__all__ = ["ROWS", "Average", "ReduceExtremum"]


@dataclass(frozen=True, slots=True, eq=False)
class Average:
    """Sum or mean over `dims`."""

    dims: tuple[int, ...]
    keepdim: bool
    mean: bool
    terms: int

    @property
    def name(self) -> str:
        """Mean or sum."""
        return "mean" if self.mean else "sum"

    def forward(self, *xs: Tensor) -> Tensor:
        """The map itself."""
        reduce = torch.mean if self.mean else torch.sum
        return reduce(xs[0], dim=self.dims, keepdim=self.keepdim)

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """1/√m or √m."""
        del shapes, spectral
        m = float(self.terms)
        return Gain.of(div_up(1.0, sqrt_down(m)) if self.mean else sqrt_up(m), "exact")

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """γ_m times the gain of |x|."""
        del shapes, out
        root = math.sqrt(self.terms)
        return gamma(self.terms + 6) * (1 / root if self.mean else root) * norms[0] + UNDERFLOW


@dataclass(frozen=True, slots=True, eq=False)
class ReduceExtremum(Exact):
    """Maximum or minimum over `dims`; `terms` entries each."""

    dims: tuple[int, ...]
    keepdim: bool
    largest: bool
    terms: int

    @property
    def name(self) -> str:
        """Amax or amin."""
        return "amax" if self.largest else "amin"

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        reduce = torch.amax if self.largest else torch.amin
        return reduce(xs[0], dim=self.dims, keepdim=self.keepdim)

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """1."""
        del shapes, spectral
        return Gain.of(1.0, "exact")


def _dims(given: int | Sequence[int] | None, shape: Shape) -> tuple[int, ...]:
    dims = range(len(shape)) if given is None or given == [] else [given] if isinstance(given, int) else given
    return tuple(d % len(shape) for d in dims)


def _terms(dims: tuple[int, ...], shape: Shape) -> int:
    count = math.prod(shape[d] for d in dims)
    if count == 0:
        raise Untranslatable("a reduction over no entries")
    return count


def _average(*, mean: bool) -> Callable[[Args], Average]:
    def translate(args: Args) -> Average:
        shape = args.ref("self")
        args.ignore("dtype")
        dims = _dims(args.attr("dim") if "dim" in args.values else None, shape)
        keepdim = bool(args.attr("keepdim")) if "keepdim" in args.values else False
        return Average(dims, keepdim, mean, _terms(dims, shape))

    return translate


def _extremum(*, largest: bool, indices: bool = False) -> Callable[[Args], Op | tuple[Op | None, ...]]:
    def translate(args: Args) -> Op | tuple[Op | None, ...]:
        shape = args.ref("self")
        dims = _dims(args.attr("dim") if "dim" in args.values else None, shape)
        keepdim = bool(args.attr("keepdim")) if "keepdim" in args.values else False
        op = ReduceExtremum(dims, keepdim, largest, _terms(dims, shape))
        return (op, None) if indices else op

    return translate


ROWS = (
    OpSpec(("aten.mean.dim", "aten.mean.default"), _average(mean=True)),
    OpSpec(("aten.sum.dim_IntList", "aten.sum.default"), _average(mean=False)),
    OpSpec(("aten.amax.default", "aten.max.default"), _extremum(largest=True)),
    OpSpec(("aten.amin.default", "aten.min.default"), _extremum(largest=False)),
    OpSpec(("aten.max.dim",), _extremum(largest=True, indices=True)),
    OpSpec(("aten.min.dim",), _extremum(largest=False, indices=True)),
)
