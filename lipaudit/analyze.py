"""One bracket per layer: the gain an op proves for itself, and a witness of how tight that is.

An op asks for the norms of linear maps while it states its gain; `Prover` answers with the bound of a
bracket and remembers the bracket, whose estimate becomes the layer's lower end.  For the other ops a
power iteration on the Jacobian at random points finds a witness.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lipaudit.bound import Bound, Bracket, Estimate
from lipaudit.errors import LipauditError, NotCovered
from lipaudit.graph.derivative import pushforward
from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Combine, Gain, Node, Shape, Unsupported
from lipaudit.rounding import hypot_up, sqrt_down, sub_down
from lipaudit.spectral import LinearMap, bracket

__all__ = ["Layer", "analyze"]

SHAVE = 1 - 1e-9
"""Jacobian products in float64 err by far less than this, relatively."""
POWER_STEPS = 6
LARGEST_JACOBIAN = 20_000_000
"""Entries of input and output up to which a witness is searched for a nonlinear op."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One node with its gain; `upper` and `lower` bracket its constant in all inputs jointly.

    lower is None where nothing was searched for.
    """

    node: Node
    gain: Gain
    upper: Bound
    lower: Estimate | None


@dataclass(slots=True)
class Prover:
    """Answers an op's questions for norms and keeps the brackets."""

    method: str
    found: list[Bracket] = field(default_factory=list)

    def __call__(self, linear_map: LinearMap) -> Bound:
        try:
            found = bracket(linear_map, self.method)
        except NotCovered:
            found = bracket(linear_map)
        self.found.append(found)
        return found.above


def analyze(
    graph: LayerGraph, method: str = "auto", advance: Callable[[], None] = lambda: None
) -> tuple[Layer, ...]:
    """Every layer's gain and bracket, in graph order.

    Args:
        graph: what to analyse.
        method: a spectral method's name, or `auto`; a named method falls back to `auto` where it has no
            statement.
        advance: called after each layer.

    Raises:
        InputRefused: for weights that are not finite, naming the layer.
    """
    layers = []
    for node in graph:
        shapes = tuple(graph.shape_of(name) for name in node.inputs)
        layers.append(_layer(node, shapes, method, graph.device))
        advance()
    return tuple(layers)


def _layer(node: Node, shapes: tuple[Shape, ...], method: str, device: torch.device) -> Layer:
    prover = Prover(method)
    try:
        gain = node.op.gain(shapes, prover)
    except LipauditError as error:
        error.message = f"layer {node.name}: {error.message}"
        error.args = (error.message,)
        raise
    upper = _joint(gain)
    if len(prover.found) == 1 and len(gain.per_input) == 1 and upper.is_finite:
        known = prover.found[0]
        # What the op added to the map's bound (the rounding of folded weights) may also be missing below.
        added = (
            sub_down(upper.value, known.above.value) * (1 + 1e-15)
            if upper.value != known.above.value
            else 0.0
        )
        lower: Estimate | None = Estimate(
            sub_down(known.below.value, added), known.below.method, known.below.note
        )
        if upper.value >= known.above.value:
            return Layer(node, gain, upper, lower)
    if isinstance(node.op, Unsupported) or not upper.is_finite:
        return Layer(node, gain, upper, None)
    lower = _witness(node, shapes, device)
    return Layer(node, gain, upper, lower)


def _joint(gain: Gain) -> Bound:
    """The op's constant with respect to all inputs jointly: SUM √Σg², STACK max g."""
    missing = next((b for b in gain.per_input if not b.is_finite), None)
    if missing is not None:
        return missing
    values = [b.value for b in gain.per_input]
    joint = hypot_up(*values) if gain.combine is Combine.SUM else max(values)
    return Bound(joint, gain.per_input[0].method, gain.per_input[0].note)


def _witness(node: Node, shapes: tuple[Shape, ...], device: torch.device) -> Estimate | None:
    """A direction in which one op's Jacobian at a random point is large.

    Power iteration finds it.  If the op rounds nothing, the Jacobian's column at the direction's largest
    entry is exact too, and usually says the same without rounding.
    """
    sizes = [math.prod(shape) for shape in shapes]
    if sum(sizes) + math.prod(node.shape) > LARGEST_JACOBIAN:
        return None
    if not sum(sizes) or not math.prod(node.shape):
        return Estimate(0.0, "jacobian", "nothing goes in, or nothing comes out")
    generator = torch.Generator().manual_seed(0)
    point, direction = torch.randn(2, sum(sizes), generator=generator, dtype=torch.float64).to(device)
    point = 2 * point

    def function(flat: Tensor) -> Tensor:
        parts = [p.reshape(shape) for p, shape in zip(flat.split(sizes), shapes, strict=True)]
        return node.op.forward(*parts).flatten()

    best = 0.0
    value, pulled = torch.func.vjp(function, point)[:2]
    for _ in range(POWER_STEPS):
        # Of length about 1, whatever the gain: squares of tiny entries would underflow.
        direction = direction / direction.abs().max()
        direction = direction / torch.linalg.vector_norm(direction)
        image = pushforward(function, point, direction)
        best = max(best, _length(image) / _length(direction) * SHAVE)
        (direction,) = pulled(image)
        if not bool(direction.any()) or not bool(torch.isfinite(direction).all()):
            break
    size = torch.linalg.vector_norm(value)
    if direction.isfinite().all() and not bool(node.op.error(shapes, (size,) * len(shapes), size)):
        column = torch.zeros_like(point)
        column[direction.abs().argmax()] = 1.0
        image = pushforward(function, point, column)
        best = max(best, sqrt_down(float((image * image).sum())))
    return Estimate(best, "jacobian") if math.isfinite(best) else None


def _length(v: Tensor) -> float:
    """‖v‖ without over- or underflow, to a few units in the last place."""
    largest = float(v.abs().max())
    return largest * float(torch.linalg.vector_norm(v / largest)) if largest > 0 else 0.0
