"""How the program tries to refute what it is about to claim: the bound by ascent, the radii by an attack.

Besides, how a batch of samples spreads from layer to layer: growth refutes bounds that are too small.

Effort goes by the size of the network, so that a large one is attacked too.  What could not be attacked is
said: a claim nobody tried to refute must not look like one that survived.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.analyze import Layer
from lipaudit.bound import Bracket, Estimate
from lipaudit.certify.attack import Ascent, Evaluate, L2Attack, ascend, attack_balls
from lipaudit.certify.dataset import Certification
from lipaudit.certify.forward_error import with_error
from lipaudit.certify.variance import Spread, batch_variance, sample_count
from lipaudit.compose import NetworkBound
from lipaudit.data import Dataset
from lipaudit.errors import Falsified, LipauditError
from lipaudit.graph.graph import LayerGraph
from lipaudit.ops.conv import Convolution

__all__ = ["Outcome", "falsify"]

ATTACKED_SAMPLES = 8
SMALL_NETWORK = 3e8
"""Multiplications per sample up to which the attack makes its full effort."""
STARTING_POINTS = 64
FARTHEST = 1e3
"""An infinite radius is attacked this far."""


SWITCHED_OFF = "Nobody tried to refute these claims: the attack was switched off."
NOTHING_FINITE = "No finite bound was claimed, so nothing was attacked."
FAILED = "The claims were not attacked: "
"""And why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`below`: the witnessed ratio; `tried`: the attack on radii; `note`: why there is none of them.

    `spreads`: the variance of `batch` samples behind every layer, empty if there is no batch.
    """

    below: Estimate | None
    tried: L2Attack | None
    note: str = ""
    batch: int = 0
    spreads: tuple[Spread, ...] = ()


def falsify(
    graph: LayerGraph,
    layers: Sequence[Layer],
    bound: NetworkBound,
    data: Dataset | None,
    run: Certification | None,
) -> Outcome:
    """Try to refute the bound and the radii.

    Args:
        graph: from the threat space to logits.
        layers: its gains.
        bound: the claim about the network.
        data: where to start from; random points without.
        run: the claims about samples.

    Raises:
        Falsified: if that succeeds.
    """
    if not bound.total.is_finite:
        return Outcome(None, None, NOTHING_FINITE)
    evaluate = with_error(graph, layers, bound.claims)
    small = _cost(graph) <= SMALL_NETWORK
    points = _starting_points(graph, data, STARTING_POINTS if small else 1)
    try:
        below = ascend(evaluate, points, Ascent() if small else Ascent(3, 2, 1))
        Bracket(bound.total, below)
        tried = _attack(evaluate, data, run, 20 if small else 5, graph.device)
        batch = 0 if data is None else sample_count(graph, len(data))
        samples = _starting_points(graph, data, batch)
        spreads = batch_variance(graph, layers, samples, bound.claims) if batch else ()
    except RuntimeError as error:
        if isinstance(error, LipauditError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return Outcome(None, None, f"{FAILED}{reason[:200]}")
    return Outcome(below, tried, batch=batch, spreads=spreads)


def _attack(
    evaluate: Evaluate, data: Dataset | None, run: Certification | None, steps: int, device: torch.device
) -> L2Attack:
    """Attack a handful of samples, spread over the certified radii."""
    if data is None or run is None:
        return L2Attack(0, 0, 0)
    radii = run.radii.radius
    certified = (radii > 0).nonzero().flatten()
    ordered = certified[radii[certified].argsort()]
    count = min(ATTACKED_SAMPLES, len(ordered))
    if not count:
        return L2Attack(0, 0, 0)
    picks = ordered[torch.linspace(0, len(ordered) - 1, count).long()]
    images = torch.cat([data.pixels(int(i), int(i) + 1) for i in picks]).to(device)
    balls = radii[picks].clamp(max=FARTHEST).to(device)
    tried, hits = attack_balls(evaluate, images, run.labels[picks].to(device), balls, steps)
    if hits:
        hit = picks[hits[0]]
        raise Falsified(
            f"sample {int(run.indices[hit])}: an attack changed the class inside the certified radius "
            f"{float(radii[hit])!r}",
            hint="this is a defect of lipaudit: please report the model and the data set",
        )
    return tried


def _starting_points(graph: LayerGraph, data: Dataset | None, count: int) -> Tensor:
    shape = graph.input_shape[1:]
    if data is not None:
        return data.pixels(0, min(count, len(data))).reshape(-1, *shape).to(graph.device)
    generator = torch.Generator().manual_seed(0)
    return torch.rand((count, *shape), generator=generator, dtype=torch.float64).to(graph.device)


def _cost(graph: LayerGraph) -> float:
    """Multiplications of the convolutions for one sample."""
    maps = [n.op.map for n in graph if isinstance(n.op, Convolution)]
    return float(sum(m.weight.numel() * math.prod(m.base().out_image) for m in maps))
