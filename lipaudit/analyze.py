"""One bracket per layer: the gain an op proves for itself, and a witness of how tight that is.

An op asks for the norms of linear maps while it states its gain; `Prover` answers with the bound of a
bracket and remembers the whole proof: its estimate becomes the layer's lower end, and the report says what
every method proved.  For the other ops a power iteration on the Jacobian at random points finds a witness.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from lipaudit.bound import Bound, Estimate
from lipaudit.errors import LipauditError, UsageError
from lipaudit.graph.derivative import pushforward
from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Combine, Gain, Node, Shape, Unsupported
from lipaudit.rounding import UNDERFLOW, add_up, coarse_up, hypot_up, mul_up, sqrt_down, sub_down
from lipaudit.spectral import METHODS, LinearMap, Proof, prove
from lipaudit.spectral.certificate import Certificate
from lipaudit.spectral.method import DEFAULT
from lipaudit.spectral.select import AUTO, BALANCED, check_memory, chosen, profile_named

__all__ = ["Layer", "Plan", "Prover", "analyze", "carried", "combined", "joint", "traced"]

SHAVE = 1 - 1e-9
"""Jacobian products in float64 err by far less than this, relatively."""
POWER_STEPS = 6
LARGEST_JACOBIAN = 20_000_000
"""Entries of input and output up to which a witness is searched for a nonlinear op."""


@dataclass(frozen=True, slots=True)
class Plan:
    """By which methods the layers' norms are bounded, and how hard.

    Args:
        choices: pairs (pattern of a layer's name, method); of those that match a name the last one counts,
            and `auto` if none does.
        profile: a name from `PROFILES`.
        memory: bytes that a method's own tensors may take at a time.
    """

    choices: tuple[tuple[str, str], ...] = ()
    profile: str = BALANCED
    memory: int = DEFAULT.memory

    @classmethod
    def of(cls, methods: Iterable[str], profile: str, memory: int) -> Plan:
        """From texts `NAME` (for all layers) or `PATTERN=NAME`.

        Raises:
            UsageError: if no method or profile has that name, a pattern is empty, or `memory` is no amount
                with which anything could be done.
        """
        check_memory(memory)
        choices = []
        for text in methods:
            pattern, separator, name = text.rpartition("=")
            if separator and not pattern:
                raise UsageError(
                    f"--method {text}: the layer's name is missing", hint="conv1=dense, or *=dense"
                )
            chosen(METHODS, name)
            choices.append((pattern if separator else "*", name))
        profile_named(profile)
        return cls(tuple(choices), profile, memory)

    def method_of(self, layer: str) -> str:
        """The method asked for a layer."""
        return next((name for pattern, name in reversed(self.choices) if fnmatchcase(layer, pattern)), AUTO)

    def check(self, layers: Sequence[str]) -> None:
        """Every pattern must mean a layer: one that is misspelt would leave a looser bound without a word.

        Raises:
            UsageError: naming similar layers.
        """
        for pattern, name in self.choices:
            if pattern != "*" and not any(fnmatchcase(layer, pattern) for layer in layers):
                near = get_close_matches(pattern, layers, n=3) or list(layers[:3])
                raise UsageError(
                    f"--method {pattern}={name}: no layer is called so",
                    hint=f"layers are called {', '.join(near)}, …; * stands for any text",
                )


STANDARD = Plan()


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One node with its gain; `upper` and `lower` bracket its constant in all inputs jointly.

    lower is None where nothing was searched for.  `proofs` tell of every linear map that the gain rests on,
    in the order in which the op asked; `certificates` are what it takes to prove their norms again.
    """

    node: Node
    gain: Gain
    upper: Bound
    lower: Estimate | None
    proofs: tuple[Proof, ...] = ()
    certificates: tuple[Certificate, ...] = ()


@dataclass(slots=True)
class Prover:
    """Answers an op's questions for norms and keeps the proofs."""

    method: str
    plan: Plan
    found: list[Proof] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)

    def __call__(self, linear_map: LinearMap) -> Bound:
        """The upper end of a bracket, which is kept; on a coarse grid, where threads leave no trace."""
        found = prove(linear_map, self.method, self.plan.profile, self.plan.memory)
        above = found.bracket.above
        coarse = replace(above, value=coarse_up(above.value))
        found = replace(found, bracket=replace(found.bracket, above=coarse))
        self.found.append(found)
        self.certificates.append(Certificate.of(linear_map, found.bracket.above))
        return found.bracket.above


def analyze(
    graph: LayerGraph, plan: Plan = STANDARD, advance: Callable[[Layer], None] = lambda _: None
) -> tuple[Layer, ...]:
    """Every layer's gain and bracket, in graph order.

    Args:
        graph: what to analyse.
        plan: which methods to use, and how hard to try; a named method falls back to `auto` where it has no
            statement.
        advance: called with each layer that is finished.

    Raises:
        InputRefused: for weights that are not finite, naming the layer.
        UsageError: if the plan names a layer that is not there.
    """
    plan.check([node.name for node in graph])
    layers = []
    for node in graph:
        shapes = tuple(graph.shape_of(name) for name in node.inputs)
        layers.append(_layer(node, shapes, Prover(plan.method_of(node.name), plan), graph.device))
        advance(layers[-1])
    return tuple(layers)


def _layer(node: Node, shapes: tuple[Shape, ...], prover: Prover, device: torch.device) -> Layer:
    try:
        gain = node.op.gain(shapes, prover)
    except LipauditError as error:
        error.message = f"layer {node.name}: {error.message}"
        error.args = (error.message,)
        raise
    upper = joint(gain)
    proofs, kept = tuple(prover.found), tuple(prover.certificates)
    if len(proofs) == 1 and len(gain.per_input) == 1 and upper.is_finite:
        known = proofs[0].bracket
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
            return Layer(node, gain, upper, lower, proofs, kept)
    if isinstance(node.op, Unsupported) or not upper.is_finite:
        return Layer(node, gain, upper, None, proofs, kept)
    lower = _witness(node, shapes, device)
    return Layer(node, gain, upper, lower, proofs, kept)


def combined(gain: Gain, inputs: Sequence[float]) -> float:
    """What an op makes of bounds on its inputs' differences, rounded up."""
    parts = [mul_up(b.value, value) for b, value in zip(gain.per_input, inputs, strict=True)]
    return add_up(*parts) if gain.combine is Combine.SUM else hypot_up(*parts)


def carried(gain: Gain, errors: Sequence[Tensor]) -> Tensor:
    """The same for bounds on errors, per sample, in floating point: callers widen the result."""
    gains = [b.value for b in gain.per_input]
    if math.inf in gains:
        return torch.full_like(errors[0], torch.inf)
    parts = torch.stack([g * e for g, e in zip(gains, errors, strict=True)])
    return parts.sum() if gain.combine is Combine.SUM else torch.linalg.vector_norm(parts)


def traced(
    graph: LayerGraph, nodes: Collection[Node], source: str, x: Tensor
) -> Iterator[tuple[Node, Tensor, Tensor]]:
    """Run nodes on one sample: each with its value, and what evaluating it rounds by itself.

    A value that no further node reads is let go.

    Args:
        graph: theirs.
        nodes: in graph order; each reads `source` or nodes before it.
        source: the value that is known.
        x: that value.
    """
    # Squares underflow below 1e-154: a norm that is computed may be too small by UNDERFLOW.
    values, norms = {source: x}, {source: torch.linalg.vector_norm(x) + UNDERFLOW}
    readers = Counter(name for node in nodes for name in set(node.inputs))
    for node in nodes:
        out = node.op.forward(*(values[i] for i in node.inputs))
        # Comparisons and casts to whole numbers have no bound, but values, which later operations read.
        exact = out if out.is_floating_point() or out.is_complex() else out.double()
        size = torch.linalg.vector_norm(exact) + UNDERFLOW
        shapes = tuple(graph.shape_of(i) for i in node.inputs)
        values[node.name], norms[node.name] = out, size
        for name in set(node.inputs):
            readers[name] -= 1
            if not readers[name]:
                del values[name]
        yield node, out, node.op.error(shapes, tuple(norms[i] for i in node.inputs), size)


def joint(gain: Gain) -> Bound:
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
