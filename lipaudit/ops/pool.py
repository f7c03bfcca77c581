"""Max and average pooling, adaptive ones included, in 1, 2 and 3 dimensions.

Both kinds are products over axes.  Along one axis, window y reads a set of cells; `windows` lists these
sets exactly as torch forms them (padding, dilation, ceil_mode, adaptive bounds).

**Max pool.**  |max_S a − max_S b| ≤ max_S|a − b|, so ‖out‖² ≤ Σ_windows Σ_{cell ∈ window}|a − b|², where a
cell counts once per window that reads it: gain ≤ √∏_axes (most windows over one cell).

**Average pool.**  The divisors of torch (`count_include_pad`, `divisor_override`, the clipped windows of
`ceil_mode`) are products over axes up to a constant, so T = c·A₁ ⊗ … ⊗ A_D with A_i[y, x] = 1/divisor_i(y)
for x in window y, and ‖T‖ = |c|·∏‖A_i‖ exactly.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from lipaudit.bound import Bound
from lipaudit.graph.node import BoundMap, Gain, Shape
from lipaudit.ops.spec import Args, Exact, OpSpec, Untranslatable
from lipaudit.rounding import UNDERFLOW, UNIT, gamma, mul_up, sqrt_up
from lipaudit.spectral.maps import Dense

__all__ = ["ROWS", "AveragePool", "MaxPool"]

Windows = tuple[tuple[tuple[int, ...], int], ...]
"""Per output position of one axis: the cells it reads, and its divisor."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Pooling geometry of one axis."""

    n: int
    k: int
    s: int
    p: int
    d: int
    n_out: int

    def windows(self, *, count_include_pad: bool) -> Windows:
        """The cells of each window and how torch counts them."""
        found = []
        for y in range(self.n_out):
            start = y * self.s - self.p
            end = min(start + self.k, self.n + self.p)
            cells = tuple(c for c in range(start, start + self.d * self.k, self.d) if 0 <= c < self.n)
            counted = end - start if count_include_pad else len(cells)
            found.append((cells, max(1, counted)))
        return tuple(found)


def adaptive_windows(n: int, n_out: int) -> Windows:
    """Torch's adaptive windows: ⌊yn/m⌋ … ⌈(y+1)n/m⌉."""
    bounds = [(y * n // n_out, -(-(y + 1) * n // n_out)) for y in range(n_out)]
    return tuple((tuple(range(a, b)), b - a) for a, b in bounds)


@dataclass(frozen=True, slots=True, eq=False)
class MaxPool(Exact):
    """Maximum over windows; `attributes` are for a reader."""

    function: Callable[[Tensor], Tensor]
    windows: tuple[Windows, ...]
    name: str = "max_pool"
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        return self.function(xs[0])

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """√∏ (most windows over one cell)."""
        del shapes, spectral
        overlap = 1
        for axis in self.windows:
            counted = Counter(c for cells, _ in axis for c in cells)
            overlap *= max(counted.values(), default=0)
        return Gain.of(sqrt_up(overlap), "window overlap")


@dataclass(frozen=True, slots=True, eq=False)
class AveragePool:
    """Mean over windows; `factor` is the constant c of the statement above, `attributes` are for a reader."""

    function: Callable[[Tensor], Tensor]
    windows: tuple[Windows, ...]
    extents: tuple[int, ...]
    factor: float = 1.0
    name: str = "avg_pool"
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        return self.function(xs[0])

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """|c|·∏‖A_i‖; forming 1/divisor rounds each entry once."""
        del shapes
        norms = [spectral(Dense(self._matrix(i))) for i in range(len(self.windows))]
        if not all(b.is_finite for b in norms):
            return Gain((Bound.unbounded("a pooling matrix has no bound"),))
        value = mul_up(self.factor, *(b.value for b in norms), 1 + gamma(2 * len(norms) + 2))
        return Gain.of(value, norms[0].method)

    def _matrix(self, axis: int) -> Tensor:
        matrix = torch.zeros(len(self.windows[axis]), self.extents[axis], dtype=torch.float64)
        for y, (cells, divisor) in enumerate(self.windows[axis]):
            matrix[y, list(cells)] = 1.0 / divisor
        return matrix

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """γ_m‖|T|‖‖x‖ with ‖|T|‖ ≤ ∏√(row sums · column sums)."""
        del shapes, out
        terms, size = 2, self.factor
        for axis in range(len(self.windows)):
            matrix = self._matrix(axis)
            size *= math.sqrt(float(matrix.sum(0).max()) * float(matrix.sum(1).max())) * (1 + 1e-12)
            terms *= max(len(cells) for cells, _ in self.windows[axis]) + 1
        return gamma(terms + 4) * size * norms[0] * (1 + 8 * UNIT) + UNDERFLOW


def _spread(values: Sequence[int], axes: int) -> tuple[int, ...]:
    return tuple(values) * axes if len(values) == 1 else tuple(values)


def _geometry(args: Args, axes: int, shape: Shape) -> tuple[dict[str, Any], tuple[Axis, ...]]:
    kernel = _spread(args.attr("kernel_size"), axes)
    stride = _spread(args.attr("stride") or kernel, axes)
    padding = _spread(args.attr("padding"), axes)
    dilation = _spread(args.attr("dilation"), axes) if "dilation" in args.values else (1,) * axes
    if len(shape) != axes + 2:
        raise Untranslatable(f"pooling over a tensor of shape {shape} has no rule")
    settings: dict[str, Any] = {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    rows = zip(shape[2:], kernel, stride, padding, dilation, args.output[2:], strict=True)
    return settings, tuple(Axis(*row) for row in rows)


def _max_pool(axes: int, *, indices: bool) -> Callable[[Args], MaxPool | tuple[MaxPool | None, ...]]:
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[axes - 1]

    def translate(args: Args) -> MaxPool | tuple[MaxPool | None, ...]:
        settings, geometry = _geometry(args, axes, args.ref("self"))
        settings["ceil_mode"] = bool(args.attr("ceil_mode"))
        windows = tuple(axis.windows(count_include_pad=False) for axis in geometry)
        op = MaxPool(lambda x: pool(x, **settings), windows, f"max_pool{axes}d", settings)
        return (op, None) if indices else op

    return translate


def _avg_pool(axes: int) -> Callable[[Args], AveragePool]:
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes - 1]

    def translate(args: Args) -> AveragePool:
        shape = args.ref("self")
        settings, geometry = _geometry(args, axes, shape)
        del settings["dilation"]
        include, ceil = bool(args.attr("count_include_pad")), bool(args.attr("ceil_mode"))
        settings |= {"ceil_mode": ceil, "count_include_pad": include}
        windows = tuple(axis.windows(count_include_pad=include) for axis in geometry)
        factor = 1.0
        override = args.attr("divisor_override") if "divisor_override" in args.values else None
        if override is not None:
            settings["divisor_override"] = override
            windows = tuple(tuple((cells, 1) for cells, _ in axis) for axis in windows)
            factor = mul_up(abs(1.0 / override), 1 + 2 * UNIT)

        def function(x: Tensor) -> Tensor:
            result: Tensor = pool(x, **settings)
            return result

        return AveragePool(function, windows, shape[2:], factor, f"avg_pool{axes}d", settings)

    return translate


def _adaptive(axes: int, kind: str) -> Callable[[Args], MaxPool | AveragePool | tuple[MaxPool | None, ...]]:
    pool = getattr(F, f"adaptive_{kind}_pool{axes}d")

    def translate(args: Args) -> MaxPool | AveragePool | tuple[MaxPool | None, ...]:
        shape = args.ref("self")
        args.ignore("output_size")
        size = args.output[2:]
        if len(shape) != axes + 2:
            raise Untranslatable(f"pooling over a tensor of shape {shape} has no rule")
        windows = tuple(adaptive_windows(n, m) for n, m in zip(shape[2:], size, strict=True))
        name = f"adaptive_{kind}_pool{axes}d"
        if kind == "max":
            return (MaxPool(lambda x: pool(x, size), windows, name), None)
        return AveragePool(lambda x: pool(x, size), windows, shape[2:], 1.0, name)

    return translate


ROWS = (
    *(OpSpec((f"aten.max_pool{d}d.default",), _max_pool(d, indices=False)) for d in (1, 2, 3)),
    *(OpSpec((f"aten.max_pool{d}d_with_indices.default",), _max_pool(d, indices=True)) for d in (1, 2, 3)),
    *(OpSpec((f"aten.avg_pool{d}d.default",), _avg_pool(d)) for d in (1, 2, 3)),
    *(OpSpec((f"aten.adaptive_max_pool{d}d.default",), _adaptive(d, "max")) for d in (1, 2, 3)),
    *(
        OpSpec(
            (f"aten.adaptive_avg_pool{d}d.default", f"aten._adaptive_avg_pool{d}d.default"),
            _adaptive(d, "avg"),
        )
        for d in (1, 2, 3)
    ),
)
