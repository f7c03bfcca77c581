"""Reductions over axes: sum (√m), mean (1/√m), max, min (1) and norms, each over groups of m entries.

Groups are disjoint.  For a sum, (Σx)² ≤ m Σx² (Cauchy–Schwarz), attained; for a maximum,
|max a − max b| ≤ max|a − b| ≤ ‖a − b‖; for a norm, |‖a‖ₚ − ‖b‖ₚ| ≤ ‖a − b‖ₚ ≤ c‖a − b‖₂ with c = √m for p = 1
and c = 1 for p = 2 and ∞.
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

__all__ = ["ROWS", "Average", "ReduceExtremum", "VectorNorm"]


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


@dataclass(frozen=True, slots=True, eq=False)
class VectorNorm:
    """The p-norm over `dims`, p one of 1, 2, ∞; `terms` entries each."""

    p: float
    dims: tuple[int, ...]
    keepdim: bool
    terms: int
    name: str = "vector_norm"

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        lengths: Tensor = torch.linalg.vector_norm(xs[0], self.p, self.dims, self.keepdim)
        return lengths

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """√m for p = 1, else 1."""
        del shapes, spectral
        return Gain.of(sqrt_up(float(self.terms)) if self.p == 1 else 1.0, "exact")

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """γ_m‖y‖, and what squares lose to underflow."""
        del norms
        cells = math.sqrt(math.prod(shapes[0]))
        return gamma(self.terms + 8) * 2 * out + 2 * cells * UNDERFLOW


def _vector_norm(args: Args) -> VectorNorm:
    shape = args.ref("self")
    p = float(args.attr("ord"))
    if p not in (1.0, 2.0, math.inf):
        raise Untranslatable(f"a norm of order {p:g} has no rule")
    if args.attr("dtype") is not None:
        raise Untranslatable("a norm with a dtype of its own has no rule")
    dims = _dims(args.attr("dim"), shape)
    return VectorNorm(p, dims, bool(args.attr("keepdim")), _terms(dims, shape))


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
    OpSpec(("aten.linalg_vector_norm.default",), _vector_norm),
    OpSpec(("aten.max.dim",), _extremum(largest=True, indices=True)),
    OpSpec(("aten.min.dim",), _extremum(largest=False, indices=True)),
)
