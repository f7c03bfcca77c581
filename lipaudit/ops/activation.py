"""Elementwise functions of one variable, one row each: the supremum of |slope| over ℝ.

An elementwise f with |f(a) − f(b)| ≤ c|a − b| has gain c.  Constants are taken from the stored
attributes; the irrational ones are suprema in closed or bracketed form, rounded up:

    gelu (erf)   Φ(√2) + √2φ(√2)            at x = √2
    gelu (tanh)  1.128993068658771765…      at x ≈ 1.41850
    silu         1.099839320128866916…      at x ≈ 2.39936
    mish         1.088498161251727861…      at x ≈ 1.49057
    selu         λα                         as x → 0⁻
    erf          2/√π                       at x = 0

The rounding of one evaluation is taken as at most 16u(|x| + |y|) plus the row's `jump` (torch's
softplus returns x above its threshold: e⁻²⁰/β away from the true function).  The jump counts twice, at the
sample and at whatever it is compared with: so radii hold for the stored function, not for the true one only.

Slopes and signs: Hendrycks, Gimpel (2016), arXiv 1606.08415; Klambauer et al. (2017), arXiv
1706.02515; Misra (2019), arXiv 1908.08681; Ramachandran et al. (2017), arXiv 1710.05941.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from lipaudit.graph.node import BoundMap, Gain, Shape
from lipaudit.ops.spec import Args, OpSpec, Untranslatable
from lipaudit.rounding import UNDERFLOW, UNIT, div_up, mul_up

__all__ = ["CONSTANTS", "ROWS", "Elementwise"]

CONSTANTS = {
    "gelu": 1.128904145185155,
    "gelu_tanh": 1.128993068658772,
    "silu": 1.099839320128867,
    "mish": 1.088498161251728,
    "selu": 1.758099340847377,
    "erf": 1.1283791670955128,
}
"""Suprema of the slope, each the float64 above the exact value."""


@dataclass(frozen=True, slots=True, eq=False)
class Elementwise:
    """y = f(x) entry by entry, |slope| ≤ `slope`.

    `parameters` tell it from others of that name.  `monotone01` says that all slopes lie in [0, 1]; rules
    about averaged activations need it.  `exact` says that the function only compares and copies, so that
    evaluating it rounds nothing.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    slope: float
    monotone01: bool = False
    jump: float = 0.0
    exact: bool = False
    parameters: tuple[float, ...] = ()

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        return self.function(xs[0])

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """The supremum of the slope."""
        del shapes, spectral
        return Gain.of(self.slope, "slope")

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """A few ulp of input and output, and the jump."""
        if self.exact:
            return torch.zeros_like(out)
        entries = math.sqrt(math.prod(shapes[0]))
        return 16 * UNIT * (norms[0] + out) + entries * (2 * self.jump + UNDERFLOW)


Parameters = dict[str, float]
Build = Callable[[Parameters], Elementwise]


def _plain(name: str, function: Callable[[Tensor], Tensor], slope: float = 1.0) -> Build:
    """A function without parameters."""
    return lambda _: Elementwise(name, function, slope, exact=name == "abs")


def _monotone(name: str, function: Callable[[Tensor], Tensor], slope: float = 1.0) -> Build:
    """A function without parameters whose slopes lie in [0, 1]."""
    return lambda _: Elementwise(name, function, slope, monotone01=True, exact=name in ("relu", "relu6"))


def _elu(p: Parameters) -> Elementwise:
    alpha, scale, inner = p["alpha"], p["scale"], p["input_scale"]
    if inner < 0:
        raise Untranslatable("elu with a negative input_scale jumps in slope without bound")
    slope = mul_up(abs(scale), max(1.0, mul_up(abs(alpha), inner)))

    def function(x: Tensor) -> Tensor:
        return scale * torch.where(x > 0, x, alpha * torch.expm1(inner * x.clamp(max=0)))

    # αe^(inner·x)·inner ≥ 0: it rises where scale and α are positive.
    return Elementwise("elu", function, slope, monotone01=slope <= 1 and scale >= 0 and alpha >= 0)


def _celu(p: Parameters) -> Elementwise:
    alpha = p["alpha"]
    if alpha <= 0:
        raise Untranslatable("celu needs alpha > 0")
    return Elementwise(
        "celu",
        lambda x: torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0) / alpha)),
        1.0,
        monotone01=True,
    )


def _leaky(p: Parameters) -> Elementwise:
    a = p["negative_slope"]
    return Elementwise("leaky_relu", lambda x: torch.where(x > 0, x, a * x), max(1.0, abs(a)), 0 <= a <= 1)


def _hardtanh(p: Parameters) -> Elementwise:
    low, high = p["min_val"], p["max_val"]
    return Elementwise("hardtanh", lambda x: x.clamp(low, high), 1.0, monotone01=True, exact=True)


def _softplus(p: Parameters) -> Elementwise:
    beta, threshold = p["beta"], p["threshold"]
    if beta <= 0:
        raise Untranslatable("softplus needs beta > 0")

    def function(x: Tensor) -> Tensor:
        return torch.logaddexp(beta * x, torch.zeros_like(x)) / beta

    # The deployed function returns x above the threshold, log1p(e^−threshold)/β below the true one.
    if threshold < SMALLEST_THRESHOLD:
        raise Untranslatable(f"softplus with threshold {threshold} jumps there: discontinuous")
    jump = div_up(math.exp(-threshold) * (1 + 1e-9), beta)
    return Elementwise("softplus", function, 1.0, monotone01=True, jump=jump)


def _gelu(p: Parameters) -> Elementwise:
    approximate = str(p["approximate"])
    name = {"none": "gelu", "tanh": "gelu_tanh"}.get(approximate)
    if name is None:
        raise Untranslatable(f"gelu approximated by {approximate!r} has no rule")
    return Elementwise(name, lambda x: F.gelu(x, approximate=approximate), CONSTANTS[name])


def _softshrink(p: Parameters) -> Elementwise:
    lambd = p["lambd"]
    if lambd < 0:
        raise Untranslatable("softshrink needs lambd ≥ 0")
    return Elementwise("softshrink", lambda x: F.softshrink(x, lambd), 1.0, monotone01=True)


def _threshold(p: Parameters) -> Elementwise:
    threshold, value = p["threshold"], p["value"]
    if threshold != value:
        raise Untranslatable("threshold with a value other than the threshold jumps: discontinuous")
    return Elementwise("threshold", lambda x: torch.clamp(x, min=value), 1.0, monotone01=True, exact=True)


def hardsigmoid(x: Tensor) -> Tensor:
    """min(1, max(0, (x + 3)/6)); torch's own derivative holds 1/6 in float32 only, as it does for celu."""
    return ((x + 3.0) / 6.0).clamp(0.0, 1.0)


SMALLEST_THRESHOLD = 14.0
"""Here torch's softplus jumps by e⁻¹⁴/β = 8e-7/β: forward error rather than another function."""
SIXTH_UP = div_up(1.0, 6.0)
TABLE: Sequence[tuple[str, str, tuple[str, ...], Build]] = (
    # ATen call, its input, its parameters, the function
    ("aten.relu.default", "self", (), _monotone("relu", torch.relu)),
    ("aten.relu6.default", "self", (), _monotone("relu6", F.relu6)),
    ("aten.abs.default", "self", (), _plain("abs", torch.abs)),
    ("aten.hardtanh.default", "self", ("min_val", "max_val"), _hardtanh),
    ("aten.tanh.default", "self", (), _monotone("tanh", torch.tanh)),
    ("aten.sigmoid.default", "self", (), _monotone("sigmoid", torch.sigmoid, 0.25)),
    ("aten.softplus.default", "self", ("beta", "threshold"), _softplus),
    ("aten.log_sigmoid.default", "self", (), _monotone("logsigmoid", F.logsigmoid)),
    ("aten.sin.default", "self", (), _plain("sin", torch.sin)),
    ("aten.cos.default", "self", (), _plain("cos", torch.cos)),
    ("aten.atan.default", "self", (), _monotone("atan", torch.atan)),
    ("aten.asinh.default", "self", (), _monotone("asinh", torch.asinh)),
    ("aten.erf.default", "self", (), _plain("erf", torch.erf, CONSTANTS["erf"])),
    ("aten.leaky_relu.default", "self", ("negative_slope",), _leaky),
    ("aten.elu.default", "self", ("alpha", "scale", "input_scale"), _elu),
    ("aten.selu.default", "self", (), _plain("selu", F.selu, CONSTANTS["selu"])),
    ("aten.celu.default", "self", ("alpha",), _celu),
    ("aten.gelu.default", "self", ("approximate",), _gelu),
    ("aten.silu.default", "self", (), _plain("silu", F.silu, CONSTANTS["silu"])),
    ("aten.mish.default", "self", (), _plain("mish", F.mish, CONSTANTS["mish"])),
    ("aten.hardsigmoid.default", "self", (), _monotone("hardsigmoid", hardsigmoid, SIXTH_UP)),
    ("aten.hardswish.default", "self", (), _plain("hardswish", lambda x: x * hardsigmoid(x), 1.5)),
    ("aten.softshrink.default", "self", ("lambd",), _softshrink),
    ("aten.threshold.default", "self", ("threshold", "value"), _threshold),
)

DISCONTINUOUS = (
    "sign", "floor", "ceil", "round", "trunc", "frac", "heaviside", "hardshrink", "argmax", "argmin",
    "gt", "ge", "lt", "le", "eq", "ne", "logical_not", "logical_and", "logical_or", "isnan", "fmod",
    "remainder",
)  # fmt: skip
UNBOUNDED_SLOPE = {
    "exp": "its slope grows without bound",
    "expm1": "its slope grows without bound",
    "log": "its slope is infinite at 0",
    "log1p": "its slope is infinite at −1",
    "sqrt": "its slope is infinite at 0",
    "rsqrt": "it has a pole at 0",
    "reciprocal": "it has a pole at 0",
    "pow": "powers have no bounded slope",
    "square": "its slope grows without bound",
    "tan": "it has poles",
    "sinh": "its slope grows without bound",
    "cosh": "its slope grows without bound",
    "acos": "its slope is infinite at ±1",
    "asin": "its slope is infinite at ±1",
    "acosh": "its slope is infinite at 1",
    "atanh": "its slope is infinite at ±1",
    "prod": "the slope of a product grows with its other factors",
}


def why_unbounded(operation: str) -> str | None:
    """The reason an operation with no rule can have none, if it is a known one."""
    if operation in DISCONTINUOUS:
        return f"{operation} is discontinuous: no Lipschitz constant exists"
    if operation in UNBOUNDED_SLOPE:
        return f"{operation} has no Lipschitz constant: {UNBOUNDED_SLOPE[operation]}"
    return None


MAY_BE_INFINITE = ("aten.hardtanh.default",)
"""An infinite limit is none."""


def _row(target: str, source: str, parameters: tuple[str, ...], build: Build) -> OpSpec:
    def translate(args: Args) -> Elementwise:
        args.ref(source)
        given = {name: args.attr(name) for name in parameters}
        numbers = tuple(float(v) for v in given.values() if isinstance(v, int | float))
        if any(math.isnan(v) for v in numbers) or (
            math.inf in map(abs, numbers) and target not in MAY_BE_INFINITE
        ):
            raise Untranslatable(f"{target} with a parameter that is NaN or infinite")
        made = replace(build(given), parameters=numbers)
        if not math.isfinite(made.slope):
            raise Untranslatable(f"the slope of {target} exceeds float64")
        return made

    return OpSpec((target,), translate)


@dataclass(frozen=True, slots=True, eq=False)
class PRelu:
    """max(0, x) + a∘min(0, x), one slope or one per channel (axis 1)."""

    slopes: Tensor
    name: str = "prelu"

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        a = self.slopes.to(xs[0].dtype)
        if a.numel() > 1 and xs[0].dim() > 1:
            a = a.reshape(-1, *[1] * (xs[0].dim() - 2))
        return torch.where(xs[0] > 0, xs[0], a * xs[0])

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """max(1, max|a|)."""
        del shapes, spectral
        return Gain.of(max(1.0, float(self.slopes.abs().max())), "slope")

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """One rounding of the output."""
        del shapes, norms
        return 4 * UNIT * out + UNDERFLOW


def _prelu(args: Args) -> PRelu:
    args.ref("self")
    slopes = args.const("weight")
    if not bool(torch.isfinite(slopes).all()):
        raise Untranslatable("a slope of prelu is NaN or infinite")
    return PRelu(slopes)


ROWS = (*(_row(*row) for row in TABLE), OpSpec(("aten.prelu.default", "aten._prelu_kernel.default"), _prelu))
