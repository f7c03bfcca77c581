"""Activations that exporters write in pieces: x·σ(βx), x − tanh x, x/(1 + |x|), ….

A node whose value is built from one tensor x by elementwise steps is written down as an expression,
e.g. mul(x, sigmoid(x)), and compared with the table.  A match is an identity between functions, so
the constant of the whole replaces an infinite or loose one:

    silu        x·σ(βx), β > 0: f(x) = silu(βx)/β, the same slopes: 1.0998… for every β
    mish        x·tanh(softplus(x)), β = 1
    gelu        a·x·(b + b·erf(cx)), c > 0: slopes 2|ab| times those of gelu, for every c
    hardswish   x·hardsigmoid(x) with slope 1/6, x·clamp(x + 3, 0, 6)·(1/6)
    softsign    x/(1 + |x|): slope 1/(1 + |x|)² ≤ 1
    tanhshrink  x − tanh(x): slope tanh² ≤ 1
    softshrink  0 for |x| ≤ λ, else x − λ·sign(x): continuous, slope 0 or 1
    softplus    x for βx > t, else c·softplus(βx), c = 1/β up to rounding

The slopes of softsign, tanhshrink, softshrink and softplus lie in [0, 1], which rules about blocks need.

**Softplus.**  What is written is s(x) = log(1 + e^βx)/β up to a jump, as with torch's own: with δ ≥ the
relative errors of β and c, and τ the smaller of t and the threshold of the inner softplus,

    βx > τ:  |x − s(x)| = log(1 + e^−βx)/β ≤ e^(−τ(1−δ))/β,
    else:    |c·softplus(β'x) − s(x)| ≤ δ(t + 1)/β + δ(1 + δ)·max(t, 1)/β,

the last since softplus(βx) ≤ t + 1, and its derivative in β is |x|σ(βx) ≤ t/β for x ≥ 0 and ≤ 1/(eβ) for x <
0.  Up to βx = t the inner function may return its argument: then c·β'·x is off by at most 2δ(1 + δ)·t/β
besides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import BoundMap, Gain, Node, Op, Shape, Unsupported
from lipaudit.ops.activation import CONSTANTS, SMALLEST_THRESHOLD, Elementwise
from lipaudit.ops.arithmetic import Affine, Limit, Sum
from lipaudit.passes.edit import edited, subfunction
from lipaudit.rounding import UNDERFLOW, UNIT, div_up, gamma, mul_up

__all__ = ["Composed", "compose_activations"]

Expression = tuple[object, ...] | str
DEPTH = 7
"""Longest chain of steps looked at."""
ROUNDINGS = 64
"""More than the constants of such a chain can have behind them; slopes are products of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Composed:
    """A recognised activation that still runs as it was written."""

    name: str
    function: Callable[[Tensor], Tensor]
    slope: float

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        return self.function(xs[0])

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """The supremum of the slope."""
        del shapes, spectral
        return Gain.of(self.slope, "slope")

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """A few steps of a few ulp each, none of which magnifies more than the whole by 64."""
        del shapes
        return 1024 * UNIT * (1 + self.slope) * (norms[0] + out) + UNDERFLOW


def compose_activations(graph: LayerGraph) -> LayerGraph:
    """The same function with known activations as one op each."""
    for name in [node.name for node in graph if isinstance(node.op, Unsupported | Sum | Affine)]:
        node = graph.node(name)
        composed = None if node is None else _composed(graph, node)
        if composed is not None:
            graph = edited(graph, {name: composed})
    return graph


def _composed(graph: LayerGraph, node: Node) -> Node | None:
    """The node as an activation of a value further up, if the table knows it."""
    for source in _sources(graph, node):
        expression = _expression(graph, node.name, source, DEPTH)
        softplus = _softplus(expression)
        if softplus is not None and node.shape == graph.shape_of(source):
            if not _is_positive_at_zero(graph, source, node):
                continue  # the comparison is the other way round
            return replace(node, op=softplus, inputs=(source,))
        known = _known(expression)
        if known is not None and math.isfinite(known[1]) and node.shape == graph.shape_of(source):
            name, slope = known
            function, rounded = subfunction(graph, source, node), _is_rounded(graph, node, source)
            if rounded:
                slope = mul_up(slope, 1 + gamma(ROUNDINGS))
            monotone = name in MONOTONE and not rounded
            op = Elementwise(name, function, slope, True) if monotone else Composed(name, function, slope)
            return replace(node, op=op, inputs=(source,))
    return None


def _is_positive_at_zero(graph: LayerGraph, source: str, node: Node) -> bool:
    """Which operand of a comparison is constant no expression tells: softplus(0) > 0, the other is 0."""
    shape = graph.shape_of(source)
    zeros = torch.zeros(shape, dtype=torch.float64, device=graph.device)
    return bool((subfunction(graph, source, node)(zeros) > 0).all())


def _is_rounded(graph: LayerGraph, node: Node, source: str) -> bool:
    """Whether a constant between source and node is known only up to rounding."""
    if isinstance(node.op, Affine) and node.op.ulps:
        return True
    inner = [graph.node(name) for name in node.inputs if name != source]
    return any(_is_rounded(graph, n, source) for n in inner if n is not None and _is_step(n.op))


def _sources(graph: LayerGraph, node: Node) -> list[str]:
    """Values that might be the x of an expression: everything within reach, nearest first."""
    found: list[str] = []
    front = list(node.inputs)
    for _ in range(DEPTH):
        found += [name for name in front if name not in found]
        nodes = [graph.node(name) for name in front]
        front = [name for n in nodes if n is not None and _is_step(n.op) for name in n.inputs]
    return found


def _is_step(op: Op) -> bool:
    return isinstance(op, Unsupported | Sum | Affine | Elementwise | Limit)


def _expression(  # noqa: PLR0911 - one return per kind of step
    graph: LayerGraph, name: str, source: str, depth: int
) -> Expression:
    """The value as a nested tuple over "x"; ("?",) where a step has no spelling."""
    if name == source:
        return "x"
    node = graph.node(name)
    if node is None or depth == 0 or not _is_step(node.op):
        return ("?",)
    parts = tuple(_expression(graph, i, source, depth - 1) for i in node.inputs)
    op = node.op
    if isinstance(op, Affine):
        if op.scale.numel() != 1 or op.shift.numel() != 1:
            return ("?",)
        return _affine(float(op.scale), float(op.shift), *parts)
    if isinstance(op, Limit):
        if op.low.numel() != 1 or op.high.numel() != 1:
            return ("?",)
        return ("clamp", float(op.low), float(op.high), *parts)
    if isinstance(op, Sum):
        return ("sum", op.factors, *parts)
    if isinstance(op, Unsupported):
        # Products commute: "x" goes last, so that one spelling is enough.
        ordered = tuple(sorted(parts, key=lambda p: p == "x")) if op.target == "aten.mul.Tensor" else parts
        return (op.target.removeprefix("aten."), *op.constants, *ordered)
    # A softplus of another beta is another function: its name alone would not tell.
    return (op.name, *getattr(op, "parameters", ()), *parts)


def _affine(scale: float, shift: float, inner: Expression) -> Expression:
    """Two factors in a row are one if their product is exact."""
    match inner:
        case ("affine", float(first), 0.0, inmost) if Fraction(scale) * Fraction(first) == scale * first:
            return ("affine", scale * first, shift, inmost)
    return ("affine", scale, shift, inner)


def _known(e: Expression) -> tuple[str, float] | None:
    """Name and slope of an expression in the table."""
    if e in EXACT:
        return EXACT[e]
    for rule in (_gelu, _silu, _mish, _hardswish, _softshrink):
        found = rule(e)
        if found is not None:
            return found
    return None


MONOTONE = ("softsign", "tanhshrink", "softshrink")
"""Those of the table whose slopes lie in [0, 1]."""
EXACT: dict[Expression, tuple[str, float]] = {
    ("mul.Tensor", ("hardsigmoid", "x"), "x"): ("hardswish", 1.5),
    ("sum", (1.0, -1.0), "x", ("tanh", "x")): ("tanhshrink", 1.0),
    ("div.Tensor", "x", ("affine", 1.0, 1.0, ("abs", "x"))): ("softsign", 1.0),
}


def _softplus(e: Expression) -> Elementwise | None:
    """The true softplus, and how far what is written may be from it; see above."""
    match e:
        case ("where.self", ("gt.Tensor" | "gt.Scalar", float(t), argument), "x", lower):
            pass
        case _:
            return None
    beta, c = 1.0, 1.0
    match lower:
        case ("affine", float(c), 0.0, inmost):
            lower = inmost
    match argument:
        case ("affine", float(beta), 0.0, "x"):
            pass
        case "x":
            pass
        case _:
            return None
    match lower:
        case ("softplus", 1.0, float(inner), same) if same == argument:
            pass
        case _:
            return None
    off = gamma(ROUNDINGS)
    if not (beta > 0 and t >= SMALLEST_THRESHOLD and abs(Fraction(c) * Fraction(beta) - 1) <= off):
        return None
    jump = math.exp(-min(t, inner) * (1 - 2 * off)) + 8 * off * (t + 1)
    if not jump <= math.exp(-SMALLEST_THRESHOLD) * 2:
        return None

    def function(x: Tensor) -> Tensor:
        return torch.logaddexp(beta * x, torch.zeros_like(x)) / beta

    jump = div_up(jump * (1 + 1e-9), beta)
    return Elementwise("softplus", function, 1.0, monotone01=True, jump=jump, parameters=(beta, t))


def _silu(e: Expression) -> tuple[str, float] | None:
    match e:
        case ("mul.Tensor", ("sigmoid", "x"), "x"):
            return "silu", CONSTANTS["silu"]
        case ("mul.Tensor", ("sigmoid", ("affine", float(beta), 0.0, "x")), "x") if beta > 0:
            return "silu", CONSTANTS["silu"]
    return None


def _mish(e: Expression) -> tuple[str, float] | None:
    match e:
        case ("mul.Tensor", ("tanh", ("softplus", 1.0, float(), "x")), "x"):
            return "mish", CONSTANTS["mish"]
    return None


def _gelu(e: Expression) -> tuple[str, float] | None:
    factor = 1.0
    match e:
        case ("affine", float(outer), 0.0, inner) if isinstance(inner, tuple):
            factor, e = abs(outer), inner
    match e:
        case ("mul.Tensor", ("affine", float(b), float(b2), ("erf", argument)), other) if b == b2:
            pass
        case ("mul.Tensor", other, ("affine", float(b), float(b2), ("erf", argument))) if b == b2:
            pass
        case _:
            return None
    match argument:
        case ("affine", float(c), 0.0, "x") if c > 0:
            pass
        case "x":
            pass
        case _:
            return None
    match other:
        case ("affine", float(a), 0.0, "x"):
            factor = mul_up(factor, abs(a))
        case "x":
            pass
        case _:
            return None
    return "gelu", mul_up(2.0, factor, abs(b), CONSTANTS["gelu"])


def _hardswish(e: Expression) -> tuple[str, float] | None:
    match e:
        case ("affine", float(s), 0.0, ("mul.Tensor", ("clamp", 0.0, 6.0, ("affine", 1.0, 3.0, "x")), "x")):
            return "hardswish", mul_up(9.0, abs(s))
        case ("affine", float(s), 0.0, ("mul.Tensor", ("relu6", ("affine", 1.0, 3.0, "x")), "x")):
            return "hardswish", mul_up(9.0, abs(s))
        case (
            "affine",
            float(s),
            0.0,
            ("mul.Tensor", ("hardtanh", 0.0, 6.0, ("affine", 1.0, 3.0, "x")), "x"),
        ):
            return "hardswish", mul_up(9.0, abs(s))
    return None


def _softshrink(e: Expression) -> tuple[str, float] | None:
    match e:
        case (
            "where.self",
            ("gt.Scalar", float(limit), ("abs", "x")),
            ("sum", (1.0, -1.0), "x", ("affine", float(jump), 0.0, ("sign.default", "x"))),
            ("affine", 0.0, 0.0, "x"),
        ) if limit == jump >= 0:
            return "softshrink", 1.0
    return None
