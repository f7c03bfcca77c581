"""From layers to the network: L(v) bounds the map input → v.

    L(input) = 1;   SUM: L(v) = Σ gᵢ L(uᵢ);   STACK: L(v) = √Σ (gᵢ L(uᵢ))².

Proof: ‖uᵢ(x) − uᵢ(y)‖ ≤ L(uᵢ)‖x − y‖ by induction, then the op's own promise.  All rounded up; an input
read twice is counted twice, which is sound and only loose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lipaudit.analyze import Layer
from lipaudit.bound import Bound
from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import Combine, Gain
from lipaudit.rounding import add_up, hypot_up, mul_up

__all__ = ["NetworkBound", "combined", "compose"]


@dataclass(frozen=True, slots=True)
class NetworkBound:
    """`total` bounds the whole network, `running[name]` the map from the input to that value."""

    total: Bound
    running: Mapping[str, float]


def combined(gain: Gain, inputs: Sequence[float]) -> float:
    """What an op makes of bounds on its inputs' differences, rounded up."""
    parts = [mul_up(b.value, value) for b, value in zip(gain.per_input, inputs, strict=True)]
    return add_up(*parts) if gain.combine is Combine.SUM else hypot_up(*parts)


def compose(graph: LayerGraph, layers: Sequence[Layer]) -> NetworkBound:
    """The Lipschitz bound of the whole graph."""
    running = {INPUT: 1.0}
    reasons: dict[str, str] = {}
    for layer in layers:
        node = layer.node
        running[node.name] = combined(layer.gain, [running[name] for name in node.inputs])
        if not layer.upper.is_finite:
            reasons[node.name] = layer.upper.note
    value = running[graph.output]
    if value < float("inf"):
        return NetworkBound(Bound(value, "composition"), running)
    culprits = "; ".join(f"{name}: {why}" for name, why in reasons.items())
    return NetworkBound(Bound.unbounded(culprits or "the product of the layers overflows"), running)
