"""Batch activation variance: how far a batch of samples is spread behind every layer.

    V(v) = 1/(B − 1) · Σ_i ‖v_i − v̄‖²,      v_i the activations of sample i, v̄ their mean

**Statement.**  If v is a function g of the value u alone, sample by sample, then V(v) ≤ Lip(g)²·V(u).
Proof.  Σ_i ‖v_i − v̄‖² = 1/(2B) Σ_ij ‖v_i − v_j‖², and every ‖v_i − v_j‖ ≤ Lip(g)‖u_i − u_j‖. ∎

So growth proves a constant, and no growth proves nothing.  u is the value closest before v that all paths
to v meet: a tap inside a branch may grow beside a branch that shrinks.

In floating point u is taken as computed and v_i = g(u_i) + ε_i with the errors that ops promise.  √V is a
seminorm of the whole batch, so √Σ‖ε_i‖² is subtracted.  About the computed mean m the sum of squares is at
least that about v̄, by B‖m − v̄‖² ≤ (γ_B|X|_F)², X all activations together:

    |v_i − m|_F·(1 + γ) ≥ √((B − 1)V(v)) ≥ |v_i − m|_F·(1 − γ) − γ|X|_F − √Σ‖ε_i‖²,      γ = γ_(BN + 4).

Prach, Brau, Buttazzo, Lampert (2024), "1-Lipschitz layers compared", CVPR, report this variance.

"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.analyze import Layer, traced
from lipaudit.blocks import Claim
from lipaudit.blocks.region import Region, between, dominators, region
from lipaudit.bound import Bound, Bracket, Estimate
from lipaudit.certify.forward_error import WIDEN, inside
from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import Gain
from lipaudit.rounding import UNDERFLOW, gamma

__all__ = ["Spread", "batch_variance", "sample_count"]

ROUNDED = 1 + 2.0**-48
"""More than the few operations on single numbers here round."""

LARGEST_BATCH = 64
LARGEST_CELLS = 2e7
"""Activations of a whole batch that are held at a time."""


@dataclass(frozen=True, slots=True)
class Spread:
    """V behind one value, and what its growth since `source` proves of the map between them (None: nothing).

    `variance` is None where activations are not finite.
    """

    name: str
    variance: float | None
    source: str = ""
    growth: Estimate | None = None


def sample_count(graph: LayerGraph, available: int) -> int:
    """How many samples a batch takes; 0 where two of them are too large or not there."""
    cells = math.prod(graph.input_shape) + sum(math.prod(node.shape) for node in graph)
    count = min(LARGEST_BATCH, available, int(LARGEST_CELLS / max(1, cells)))
    return count if count > 1 else 0


def batch_variance(
    graph: LayerGraph, layers: Sequence[Layer], samples: Tensor, claims: Sequence[Claim] = ()
) -> tuple[Spread, ...]:
    """The spread behind the input and every layer, in graph order.

    Args:
        graph: what runs.
        layers: its gains, in graph order.
        samples: (B, *input shape without its leading 1), B ≥ 2.
        claims: bounds of parts of it, which growth must respect.

    Raises:
        Falsified: if growth contradicts a gain or a claim.
    """
    gains = {layer.node.name: layer.gain for layer in layers}
    values: dict[str, list[Tensor]] = {INPUT: [x.unsqueeze(0) for x in samples]}
    made: dict[str, list[Tensor]] = {}
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
        for x in values[INPUT]:
            for node, out, own in traced(graph, [layer.node for layer in layers], INPUT, x):
                values.setdefault(node.name, []).append(out)
                made.setdefault(node.name, []).append(own)
    batches = {name: torch.stack(parts).flatten(1) for name, parts in values.items()}
    errors = {name: torch.stack(parts) for name, parts in made.items()}
    found = [Spread(INPUT, _variance(batches[INPUT]))]
    above = dominators(graph)
    for layer in layers:
        name, source = layer.node.name, above[layer.node.name]
        part = region(graph, source, name, len(graph.nodes))
        variance = _variance(batches[name])
        if part is None or variance is None or found[0].variance is None:
            found.append(Spread(name, variance))
            continue
        growth = _growth(batches[source], batches[name], _made(part, gains, errors))
        Bracket(_bound(part, gains, claims), growth)
        found.append(Spread(name, variance, source, growth))
    return tuple(found)


def _made(part: Region, gains: Mapping[str, Gain], errors: Mapping[str, Tensor]) -> Tensor:
    """√Σ‖ε_i‖² at the end of a part."""
    count = len(errors[part.end.name])
    each = [
        inside(part.nodes, part.source, gains, {node.name: errors[node.name][i] for node in part.nodes})
        for i in range(count)
    ]
    size: Tensor = torch.linalg.vector_norm(torch.stack(each)) * WIDEN
    return size


def _bound(part: Region, gains: Mapping[str, Gain], claims: Sequence[Claim]) -> Bound:
    """What is claimed about a part."""
    plain = between(part, gains)
    known = [c.bound for c in claims if (c.source, c.end) == (part.source, part.end.name)]
    layers = Bound(plain, "layers") if plain < math.inf else Bound.unbounded("a layer has no bound")
    return min([layers, *known], key=lambda bound: bound.value)


def _spread(batch: Tensor) -> Tensor:
    """|v_i − m|_F."""
    size: Tensor = torch.linalg.vector_norm(batch - batch.mean(dim=0))
    return size


def _variance(batch: Tensor) -> float | None:
    value = float(_spread(batch)) ** 2 / (len(batch) - 1)
    return value if math.isfinite(value) else None


def _growth(source: Tensor, end: Tensor, made: Tensor) -> Estimate:
    """√(V(end)/V(source)), from below."""
    loss = [gamma(batch.numel() + 4) for batch in (source, end)]
    most = float(_spread(source)) * (1 + loss[0]) * ROUNDED + UNDERFLOW
    lost = loss[1] * float(torch.linalg.vector_norm(end)) * WIDEN + float(made) + UNDERFLOW
    least = float(_spread(end)) * (1 - loss[1]) / ROUNDED - lost
    ratio = least / most if math.isfinite(most) and math.isfinite(least) else 0.0
    value = max(0.0, ratio / ROUNDED)
    return Estimate(value if math.isfinite(value) else 0.0, "batch variance", f"{len(end)} samples")
