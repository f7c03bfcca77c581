"""Clip, round, prove; and again with a smaller target, until what is proved keeps the limit.

A bound is about proportional to the weights: where it exceeds the limit by a hair (its slack, or rounding to
float32) all weights are multiplied by c/bound; where it is more, the map is clipped anew with so much smaller
a target.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lipaudit.analyze import Layer, Plan, Prover, joint
from lipaudit.errors import Unreached
from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node
from lipaudit.repair.methods import ClipMethod
from lipaudit.repair.stored import StoredLayer, with_map
from lipaudit.report.wording import shown_up
from lipaudit.spectral.maps import LinearMap

__all__ = ["Changed", "bounded", "clipped_layer", "scaled_layer"]

TRIES, CLIPS = 10, 3
HAIR = 0.005
"""Relative excess that is scaled away: it moves no singular value by more."""
ROUNDING = 2e-7
"""More than rounding to float32 adds to a norm, relatively."""
STEEPER = 6.0
"""By how much more is taken off with every try that rounding has undone: half precision needs some."""


@dataclass(frozen=True, slots=True, eq=False)
class Changed:
    """A layer with other weights.

    Args:
        layer: which.
        map: what it is now, rounding to the stored type included.
        tensor: what is to be stored.
        proved: its node with these weights, and the bound.
        start: vectors to begin with when it is clipped again.
    """

    layer: StoredLayer
    map: LinearMap
    tensor: Tensor
    proved: Layer
    start: Tensor | None = None


def bounded(graph: LayerGraph, node: Node, plan: Plan) -> Layer:
    """A node's bound as an audit proves it, without a witness."""
    prover = Prover(plan.method_of(node.name), plan)
    gain = node.op.gain(tuple(graph.shape_of(name) for name in node.inputs), prover)
    return Layer(node, gain, joint(gain), None, tuple(prover.found), tuple(prover.certificates))


def clipped_layer(
    graph: LayerGraph,
    layer: StoredLayer,
    limit: float,
    method: ClipMethod,
    plan: Plan,
    start: Tensor | None = None,
) -> Changed:
    """The layer with a proved norm of `limit` at most.

    Raises:
        Unreached: what can be stored does not keep it, or is 0.
        NotCovered: the method has no form for this map.
    """
    target = limit * (1 - ROUNDING)
    found, start = method.clip(layer.map, target, start)
    changed = _stored(graph, layer, found, plan, start)
    clips, shave = 1, ROUNDING
    for _ in range(TRIES):
        bound = changed.proved.upper.value
        if bound <= limit:
            return changed
        factor = limit / bound * (1 - shave)
        if factor < 1 - HAIR and clips < CLIPS and target * factor > 0:
            target, clips = target * factor, clips + 1
            found, start = method.clip(layer.map, target, start)
        else:
            # What is scaled is not rounded before: coarse types round the next one otherwise.
            found, shave = found.with_weight(found.weight * factor), shave * STEEPER
        changed = _stored(graph, layer, found, plan, start)
    raise Unreached(
        f"layer {layer.name}: a norm of {limit:g} is not reached by weights of type {_type_of(layer)}: "
        f"{shown_up(changed.proved.upper.value)} is proved",
        hint="store the weights in float32, or ask for a larger limit",
    )


def scaled_layer(graph: LayerGraph, changed: Changed, factor: float, plan: Plan) -> Changed:
    """The layer with all its weights times one factor.

    Raises:
        Unreached: nothing is left of them.
    """
    smaller = changed.map.with_weight(changed.map.weight * factor)
    return _stored(graph, changed.layer, smaller, plan, changed.start)


def _stored(
    graph: LayerGraph, layer: StoredLayer, linear_map: LinearMap, plan: Plan, start: Tensor | None
) -> Changed:
    """Rounded, then proved.

    Raises:
        Unreached: nothing is left of the weights.
    """
    tensor, seen = layer.rounded(linear_map.weight)
    rounded = layer.map.with_weight(seen)
    proved = bounded(graph, with_map(layer.node, rounded), plan)
    if proved.upper.value == 0:  # a layer of zeros keeps any limit, but is no smaller copy of the old one
        raise Unreached(
            f"layer {layer.name}: weights that keep the limit are too small for type {_type_of(layer)}: all "
            "of them would be 0",
            hint="ask for a larger limit",
        )
    return Changed(layer, rounded, tensor, proved, start)


def _type_of(layer: StoredLayer) -> str:
    return str(layer.stored.dtype).removeprefix("torch.")
