"""From a wish to changed layers: caps per layer, or one bound for the whole.

One limit for every layer is each layer's own affair.  A bound for the whole is shared out (`budget`), all
layers are clipped to their shares, and the whole is bounded as an audit does it; as rules about parts make it
smaller than the product, the shares are corrected by what came out, and what is left over in the end is one
factor on the last layer that changed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from torch import Tensor

from lipaudit.clock import Clock
from lipaudit.errors import Incomplete, Unreached
from lipaudit.graph.graph import LayerGraph, batched
from lipaudit.repair.budget import losses, shared
from lipaudit.repair.methods import ClipMethod
from lipaudit.repair.network import Network
from lipaudit.repair.proving import ROUNDING, STEEPER, Changed, clipped_layer, scaled_layer
from lipaudit.repair.stored import StoredLayer
from lipaudit.report.wording import shown_up

__all__ = ["Changes", "cap_layers", "reach"]

Changes = dict[str, Changed]
ROUNDS, CLOSE_ENOUGH, LAST_HAIR = 6, 0.02, 1e-9
"""How often shares are corrected, the share of the target that may be given away, and what floats cost."""
HAIRS = 8
"""How often a hair is taken off in the end: the last ones outweigh the coarsest type's rounding, 2⁻⁹."""
LEAST = 1e-6
"""What is taken off at least, so that every layer's share of it is more than rounding."""
AIM = 1 - 2e-8
"""Reports round bounds up to nine digits: what they say shall keep the limit, too."""
TINIEST = sys.float_info.min
"""No factor is below that: 0 could not be shared out."""
SAMPLES = 64
"""Activations that losses are measured on."""


def cap_layers(
    network: Network,
    free: Sequence[StoredLayer],
    limit: float,
    method: ClipMethod,
    clock: Clock,
) -> Changes:
    """The proved norm of each of these layers at most `limit`, as reports state it.

    Raises:
        Unreached: one does not get there.
    """
    changes: Changes = {}
    clock.stage("clipping", len(free))
    for layer in free:
        if network.stated(layer.name) > limit:
            changes[layer.name] = clipped_layer(network.graph, layer, AIM * limit, method, network.plan)
        clock.advance()
    return changes


def reach(
    network: Network,
    free: Sequence[StoredLayer],
    target: float,
    method: ClipMethod,
    samples: Tensor | None,
    clock: Clock,
) -> Changes:
    """Layers changed so that the whole is bounded by `target`.

    Args:
        network: before.
        free: layers that may change.
        target: for the bound of the whole.
        method: how.
        samples: (n, *input of the graph) float64 on its device, to measure losses on; None for noise.
        clock: told of every layer of every round.

    Raises:
        Incomplete: the whole has no bound.
        Unreached: it is not reached.
    """
    before = network.bound.total
    target = AIM * target
    if before.value <= target:
        return {}
    if not before.is_finite:
        raise Incomplete(
            f"the network has no bound to bring down: {before.note}",
            hint="--layer-norm C bounds its layers one by one",
        )
    free = [layer for layer in free if network.norm(layer.name) > 0]
    if not free:
        raise Unreached("all layers that may change are 0", hint="let more layers change (--layer)")
    clock.stage("measuring losses", 0)
    inputs = {} if samples is None else _inputs(network.graph, free, samples)
    costs = [
        losses(layer.map, network.norm(layer.name), method.name, inputs.get(layer.name)) for layer in free
    ]
    factor, kept = min(1 - LEAST, max(TINIEST, target / before.value)), (0.0, Changes())
    starts: dict[str, Tensor | None] = {}
    changes: Changes = {}
    for attempt in range(1, ROUNDS + 1):
        changes = {}
        clock.stage(f"clipping, round {attempt} of at most {ROUNDS}", len(free))
        for layer, share in zip(free, shared(costs, factor), strict=True):
            if share < 1 - LAST_HAIR:
                limit, start = share * network.norm(layer.name), starts.get(layer.name)
                changes[layer.name] = clipped_layer(network.graph, layer, limit, method, network.plan, start)
                starts[layer.name] = changes[layer.name].start
            clock.advance()
        reached = network.with_changes(changes).bound.total.value
        if kept[0] < reached <= target:
            kept = reached, changes
        if abs(reached / target - 1) <= CLOSE_ENOUGH:
            break
        factor = min(1 - LAST_HAIR, max(TINIEST, factor * (target / reached)))
    # Scaling away a little excess costs less than giving away more than that.
    return kept[1] if kept[0] >= target * (1 - CLOSE_ENOUGH) else _last_hair(network, changes, target)


def _last_hair(network: Network, changes: Changes, target: float) -> Changes:
    """One factor on the last layer that changed."""
    for tried in range(HAIRS):
        reached = network.with_changes(changes).bound.total.value
        if reached <= target:
            return changes
        last = [node.name for node in network.graph if node.name in changes][-1]
        factor = target / reached * (1 - ROUNDING * STEEPER**tried)
        changes = {**changes, last: scaled_layer(network.graph, changes[last], factor, network.plan)}
    raise Unreached(
        f"the bound of the whole stays at {shown_up(reached)}, {target:g} was asked for",
        hint="ask for less, or let more layers change (--layer)",
    )


def _inputs(graph: LayerGraph, free: Sequence[StoredLayer], samples: Tensor) -> dict[str, Tensor]:
    """What reaches each layer on the samples: (n, *in_shape of its map)."""
    found = {}
    for layer in free:
        source = layer.node.inputs[0]
        values = batched(lambda x, name=source: graph.values(x)[name])(samples)  # type: ignore[misc]
        shape = layer.map.in_shape
        rows = values.reshape(-1, *shape)
        found[layer.name] = rows[: max(1, SAMPLES * math.ceil(len(rows) / max(1, len(samples))))]
    return found
