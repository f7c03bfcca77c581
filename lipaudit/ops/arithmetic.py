"""Sums of live tensors, and affine maps with constants: y = scale ∘ x + shift.

Every multiplication, division, addition and subtraction with a constant (batch norm in eval mode and
input normalisation included) is one `Affine`.  Where x is broadcast against a larger constant, each
cell is first copied m times, and the map is diag(scale) ∘ copy:

    ‖·‖ ≤ max|scale|·√m.

`ulps` counts the roundings behind `scale`; `shift_size` bounds |shift| entrywise before cancellation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lipaudit.bound import Bound
from lipaudit.graph.node import BoundMap, Combine, Gain, Shape
from lipaudit.ops.spec import Args, Exact, OpSpec, Untranslatable
from lipaudit.rounding import UNDERFLOW, gamma, mul_up, sqrt_up

__all__ = ["ROWS", "Affine", "Extremum", "Limit", "Sum", "copies"]


LARGEST_DIVISOR = 1e300
"""Reciprocals of larger ones are subnormal and not rounded relatively."""


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """y = scale ∘ x + shift, broadcast as torch does; `scale` and `shift` are float64 tensors."""

    scale: Tensor
    shift: Tensor
    ulps: int = 0
    shift_size: Tensor | None = None
    name: str = "affine"

    def forward(self, *xs: Tensor) -> Tensor:
        """The map itself."""
        return xs[0] * self.scale.to(xs[0].dtype) + self.shift.to(xs[0].dtype)

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """max|scale|·√copies."""
        del spectral
        unsure = 1 + gamma(self.ulps + 1) if self.ulps else 1.0
        return Gain.of(mul_up(self._norm(shapes[0]), unsure), "diagonal")

    def _norm(self, shape: Shape) -> float:
        largest = float(self.scale.abs().max())
        copied = copies(shape, np.broadcast_shapes(shape, self.scale.shape, self.shift.shape))
        return mul_up(largest, sqrt_up(copied))

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """γ(max|scale|‖x‖√copies + ‖shift‖)."""
        del out
        full = np.broadcast_shapes(shapes[0], self.scale.shape, self.shift.shape)
        size = (self.shift if self.shift_size is None else self.shift_size).expand(full)
        shift = float(torch.linalg.vector_norm(size))
        return gamma(self.ulps + 4) * (self._norm(shapes[0]) * norms[0] + shift) + UNDERFLOW


@dataclass(frozen=True, slots=True, eq=False)
class Sum:
    """y = Σ cᵢ xᵢ of live tensors, broadcast."""

    factors: tuple[float, ...]
    name: str = "add"

    def forward(self, *xs: Tensor) -> Tensor:
        """The sum."""
        total = xs[0] * self.factors[0] if self.factors[0] != 1 else xs[0]
        for x, factor in zip(xs[1:], self.factors[1:], strict=True):
            total = total + x if factor == 1 else total + x * factor
        return total

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """|cᵢ|√copiesᵢ for each input."""
        del spectral
        full = np.broadcast_shapes(*shapes)
        return Gain(
            tuple(
                Bound.computed(mul_up(abs(c), sqrt_up(copies(shape, full))), "sum")
                for c, shape in zip(self.factors, shapes, strict=True)
            )
        )

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """γ Σ |cᵢ|√copies ‖xᵢ‖."""
        del out
        full = np.broadcast_shapes(*shapes)
        total = torch.zeros_like(norms[0])
        for c, shape, norm in zip(self.factors, shapes, norms, strict=True):
            total = total + abs(c) * math.sqrt(copies(shape, full)) * norm
        return gamma(len(norms) + 4) * total + UNDERFLOW


@dataclass(frozen=True, slots=True, eq=False)
class Extremum(Exact):
    """max(a, b) or min(a, b) of two live tensors, broadcast.

    |max(a,b) − max(a',b')| ≤ max(|a−a'|, |b−b'|) entrywise, so ‖·‖² ≤ ‖a−a'‖² + ‖b−b'‖²: STACK.
    """

    largest: bool

    @property
    def name(self) -> str:
        """Maximum or minimum."""
        return "maximum" if self.largest else "minimum"

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        return torch.maximum(*xs) if self.largest else torch.minimum(*xs)

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """√copies for each input, stacked."""
        del spectral
        full = np.broadcast_shapes(*shapes)
        each = tuple(Bound(sqrt_up(copies(shape, full)), self.name) for shape in shapes)
        return Gain(each, Combine.STACK)


@dataclass(frozen=True, slots=True, eq=False)
class Limit(Exact):
    """clamp(x, low, high) to constants (±inf where there is none); slopes in [0, 1]."""

    low: Tensor
    high: Tensor
    name: str = "clamp"

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself; where low > high torch returns high."""
        return torch.minimum(torch.maximum(xs[0], self.low.to(xs[0].dtype)), self.high.to(xs[0].dtype))

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """√copies (1 unless the limits are larger than x)."""
        del spectral
        full = np.broadcast_shapes(shapes[0], self.low.shape, self.high.shape)
        return Gain.of(sqrt_up(copies(shapes[0], full)), "slope ≤ 1")


def copies(shape: Shape, full: Shape) -> int:
    """How often broadcasting from `shape` to `full` repeats each cell."""
    return math.prod(full) // max(1, math.prod(shape))


def _sum(sign: int, *, reverse: bool = False) -> Callable[[Args], Sum | Affine]:
    """a + sign·alpha·b (or, reversed, b + sign·alpha·a); either may be constant."""

    def translate(args: Args) -> Sum | Affine:
        alpha = float(args.attr("alpha")) if "alpha" in args.values else 1.0
        if not math.isfinite(alpha):
            raise Untranslatable(f"a sum with the factor {alpha} has no bound")
        factors = {"self": 1.0, "other": sign * alpha}
        if reverse:
            factors = {"self": sign * alpha, "other": 1.0}
        if args.is_live("self") and args.is_live("other"):
            args.ref("self")
            args.ref("other")
            return Sum((factors["self"], factors["other"]))
        live, fixed = ("self", "other") if args.is_live("self") else ("other", "self")
        args.ref(live)
        shift = args.const(fixed) * factors[fixed]
        if not bool(torch.isfinite(shift).all()):
            raise Untranslatable("a constant that is added is NaN or infinite")
        return Affine(torch.tensor(factors[live], dtype=torch.float64), shift, name="add constant")

    return translate


def _mul(args: Args) -> Affine:
    if args.is_live("self") and args.is_live("other"):
        raise Untranslatable("a product of two tensors that both depend on the input is unbounded")
    live, fixed = ("self", "other") if args.is_live("self") else ("other", "self")
    args.ref(live)
    return _scaling(args.const(fixed), name="mul constant")


def _div(args: Args) -> Affine:
    if args.is_live("other"):
        raise Untranslatable("division by a tensor that depends on the input is unbounded near 0")
    args.ref("self")
    if args.values.get("rounding_mode") is not None:
        raise Untranslatable("division with rounding is discontinuous")
    divisor = args.const("other")
    if not bool((divisor != 0).all()):
        raise Untranslatable("division by a constant that contains 0")
    if not bool((divisor.abs() <= LARGEST_DIVISOR).all()):
        raise Untranslatable("division by a constant that is NaN, infinite or beyond 1e300")
    return _scaling(1.0 / divisor, ulps=1, name="div constant")


def _neg(args: Args) -> Affine:
    args.ref("self")
    return _scaling(torch.tensor(-1.0, dtype=torch.float64), name="neg")


def _scaling(scale: Tensor, *, ulps: int = 0, name: str) -> Affine:
    if not bool(torch.isfinite(scale).all()):
        raise Untranslatable("a constant factor is NaN or infinite")
    return Affine(scale, torch.zeros((), dtype=torch.float64), ulps, name=name)


def _extremum(*, largest: bool) -> Callable[[Args], Extremum | Limit]:
    def translate(args: Args) -> Extremum | Limit:
        if args.is_live("self") and args.is_live("other"):
            args.ref("self")
            args.ref("other")
            return Extremum(largest)
        live, fixed = ("self", "other") if args.is_live("self") else ("other", "self")
        args.ref(live)
        limit = args.const(fixed)
        return _limit(limit if largest else None, None if largest else limit)

    return translate


def _clamp(args: Args) -> Limit | Extremum:
    """clamp with constant limits, or with one live one (then it is a maximum or minimum)."""
    live = [n for n in ("min", "max") if args.is_live(n)]
    args.ref("self")
    if not live:
        low = args.optional("min") if "min" in args.values else None
        return _limit(low, args.optional("max") if "max" in args.values else None)
    if len(live) == 2 or any(args.values.get(n) is not None for n in ("min", "max") if n not in live):
        raise Untranslatable("clamp between two limits of which one depends on the input has no rule")
    args.ref(live[0])
    return Extremum(largest=live[0] == "min")


def _limit(low: Tensor | None, high: Tensor | None) -> Limit:
    low = torch.tensor(-torch.inf, dtype=torch.float64) if low is None else low
    high = torch.tensor(torch.inf, dtype=torch.float64) if high is None else high
    if bool(torch.isnan(low).any() | torch.isnan(high).any()):
        raise Untranslatable("a limit of clamp is NaN")
    return Limit(low, high)


ROWS = (
    OpSpec(("aten.add.Tensor", "aten.add.Scalar"), _sum(1)),
    OpSpec(("aten.sub.Tensor", "aten.sub.Scalar"), _sum(-1)),
    OpSpec(("aten.rsub.Tensor", "aten.rsub.Scalar"), _sum(-1, reverse=True)),
    OpSpec(("aten.mul.Tensor", "aten.mul.Scalar"), _mul),
    OpSpec(("aten.div.Tensor", "aten.div.Scalar", "aten.div.Tensor_mode"), _div),
    OpSpec(("aten.neg.default",), _neg),
    OpSpec(
        (
            "aten.clamp.default",
            "aten.clamp.Tensor",
            "aten.clamp_min.default",
            "aten.clamp_min.Tensor",
            "aten.clamp_max.default",
            "aten.clamp_max.Tensor",
        ),
        _clamp,
    ),
    OpSpec(("aten.maximum.default", "aten.max.other"), _extremum(largest=True)),
    OpSpec(("aten.minimum.default", "aten.min.other"), _extremum(largest=False)),
)
