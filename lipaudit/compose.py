"""From layers to the network: L(v) bounds the map input → v.

    L(input) = 1;   SUM: L(v) = Σ gᵢ L(uᵢ);   STACK: L(v) = √Σ (gᵢ L(uᵢ))².

Proof: ‖uᵢ(x) − uᵢ(y)‖ ≤ L(uᵢ)‖x − y‖ by induction, then the op's own promise.  All rounded up; an input
read twice is counted twice, which is sound and only loose.  Where a claim about the part between two values
is smaller than what the layers give, it takes their place:  L(end) ≤ claim·L(source)   (`blocks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lipaudit.analyze import Layer, combined
from lipaudit.blocks import Claim
from lipaudit.bound import Bound
from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.rounding import mul_up

__all__ = ["NetworkBound", "compose"]


@dataclass(frozen=True, slots=True)
class NetworkBound:
    """`total` bounds the whole network, `running[name]` the map from the input to that value.

    `claims` are those that were used.
    """

    total: Bound
    running: Mapping[str, float]
    claims: tuple[Claim, ...] = ()


def compose(graph: LayerGraph, layers: Sequence[Layer], claims: Sequence[Claim] = ()) -> NetworkBound:
    """The Lipschitz bound of the whole graph.

    Args:
        graph: the network.
        layers: its gains, in graph order; without those that end it, the whole is unbounded.
        claims: what is proved about parts of it.
    """
    running = {INPUT: 1.0}
    reasons: dict[str, str] = {}
    used = []
    for layer in layers:
        node = layer.node
        value = combined(layer.gain, [running[name] for name in node.inputs])
        for claim in claims:
            if claim.end == node.name:
                through = mul_up(claim.bound.value, running[claim.source])
                if through < value:
                    value = through
                    used.append(claim)
        running[node.name] = value
        if not layer.upper.is_finite:
            reasons[node.name] = layer.upper.note
    total = running.get(graph.output)
    if total is None:
        return NetworkBound(Bound.unbounded("not every layer was looked at"), running, tuple(used))
    if total < float("inf"):
        return NetworkBound(Bound(total, "composition"), running, tuple(used))
    culprits = "; ".join(f"{name}: {why}" for name, why in reasons.items())
    bound = Bound.unbounded(culprits or "the product of the layers overflows")
    return NetworkBound(bound, running, tuple(used))
