"""Biases that suit smaller weights: no bound speaks of biases, so they may be chosen freely.

Layer by layer in the order of the graph, x the activations of the network as it was and x′ those of the
clipped network with the biases fitted so far.  Let y be the old pre-activation, batch norm included, and z
the new one with the old bias; a bias b′ = b + δ adds g∘δ to it (`stored_bias`; g = 1 without batch norm).
The pre-activations shall follow the old ones up to one factor per layer:

    minimise  E‖z + g∘δ − s·y‖²  over δ and s.

With g = 1, per channel and with E over samples and positions,

    s = Σ_c Cov(z_c, y_c) / Σ_c Var(y_c),      b′ = b + s·E[y] − E[z].

A factor is free since ReLU networks are positively homogeneous: f(s·x) = s·f(x) for s > 0 of every operation
up to the next bias, and the largest score stays the largest.  So plain rescaling becomes a scaled copy of the
network: z − b = r·t·Wx where x′ = t·x, hence s = r·t and b′ = s·b, on any inputs.  Where an operation in
between is not homogeneous (measured on samples: f(2x) is no multiple of f(x)), s = 1: its inputs keep their
means.

Nagel et al. (2019), "Data-free quantization through weight equalization and bias correction", ICCV, corrects
means with s = 1 in this way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import Node
from lipaudit.repair.stored import linear_map_of, with_map
from lipaudit.repair.stored_bias import StoredBias, stretches

__all__ = ["Fitted", "fit_biases", "sample_count"]

SAMPLES, FEWEST, CELLS = 256, 4, 2**25
"""Inputs to fit on; fewer where n of the largest activations have more cells (256 MB each)."""
LEAST, ROUNDING = 1e-6, 1e-12
"""Of the correlation of old and new pre-activations, and of what varies in the new one: below, it does not
follow the old one.  The scale itself may be as small as it likes: behind many clipped layers it is."""
TRIED, PARALLEL = 4, 1e-3
"""Samples on which homogeneity is measured, and the relative part of f(2x) beside f(x) that is no matter."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A new bias.

    Args:
        tensor: in the type and shape in which it is stored.
        scale: s, of the pre-activation behind it.
    """

    tensor: Tensor
    scale: float


def sample_count(graph: LayerGraph) -> int:
    """How many samples to fit on."""
    largest = max((torch.Size(node.shape).numel() for node in graph), default=1)
    return min(SAMPLES, max(FEWEST, CELLS // max(1, largest)))


@torch.no_grad()
def fit_biases(
    graph: LayerGraph, weights: Mapping[str, Tensor], biases: Sequence[StoredBias], inputs: Tensor
) -> dict[str, Fitted]:
    """New biases by key.

    Args:
        graph: the network as it was, nothing folded.
        weights: of the linear layers that changed, by node, in the graph's shape.
        biases: which may be changed.
        inputs: (n, *input of the graph without its leading 1) float64.

    Returns:
        Biases that change; those whose fit is not finite, or has no positive scale, stay.
    """
    ends = {bias.stretch.end: bias for bias in biases}
    free = _scalable(graph, ends, inputs[:TRIED])
    start = inputs.unsqueeze(1)
    old, new = {INPUT: start}, {INPUT: start}
    left = {name: graph.uses(name) for name in (INPUT, *(node.name for node in graph))}
    fitted: dict[str, Fitted] = {}
    for node in graph:
        old[node.name] = new[node.name] = _run(node, old)
        moved = any(new[name] is not old[name] for name in node.inputs)
        if moved or node.name in weights:
            new[node.name] = _run(_changed(node, weights), new)
            if node.name in ends:
                bias = ends[node.name]
                found = _fitted(bias, old[node.name], new[node.name], free=node.name in free)
                if found is not None:
                    fitted[bias.key] = found
                    new[node.name] = new[node.name] + _shift(bias, found.tensor)
        for name in node.inputs:
            left[name] -= 1
            if not left[name]:
                old.pop(name), new.pop(name)
    return fitted


def _changed(node: Node, weights: Mapping[str, Tensor]) -> Node:
    linear_map = linear_map_of(node)
    if linear_map is None or node.name not in weights:
        return node
    return with_map(node, linear_map.with_weight(weights[node.name]))


def _run(node: Node, values: Mapping[str, Tensor]) -> Tensor:
    """A node's values (n, *shape) from those of its inputs."""
    result: Tensor = torch.vmap(node.op.forward)(*(values[name] for name in node.inputs))
    return result


def _shift(bias: StoredBias, tensor: Tensor) -> Tensor:
    """g∘δ of a bias as it is stored."""
    return bias.gain * (tensor.double() - bias.stored.double()).reshape(bias.shape)


def _fitted(bias: StoredBias, old: Tensor, new: Tensor, *, free: bool) -> Fitted | None:
    """The bias for pre-activations (n, *shape); None where the old one stays."""
    gain = bias.gain.expand(old.shape[1:])
    square = (gain**2).sum_to_size(bias.shape) * len(old)

    def along(values: Tensor) -> Tensor:
        """δ for which g∘δ is nearest to the values."""
        found = (gain * values.sum(0)).sum_to_size(bias.shape)
        return torch.where(square > 0, found / torch.where(square > 0, square, 1.0), 0.0)

    scale, follows = 1.0, True
    if free:
        beside_old, beside_new = old - gain * along(old), new - gain * along(new)
        sizes = [float(torch.linalg.vector_norm(beside)) for beside in (beside_old, beside_new)]
        product = float((beside_old * beside_new).sum())
        heard = sizes[1] > ROUNDING * float(torch.linalg.vector_norm(new))
        follows = heard and product > LEAST * sizes[0] * sizes[1]
        scale = product / sizes[0] / sizes[0] if follows else 0.0
    before = bias.stored.double().reshape(bias.shape)
    tensor = (before + along(scale * old - new)).reshape(bias.stored.shape).to(bias.stored.dtype)
    if not follows or not bool(torch.isfinite(tensor).all()):
        return None
    return Fitted(tensor, scale)


def _scalable(graph: LayerGraph, ends: Collection[str], inputs: Tensor) -> set[str]:
    """Ends whose value only meets positively homogeneous operations until the next bias is fitted."""
    refitted = {stretch.name for stretch in stretches(graph) if stretch.end in ends}
    values, others = {INPUT: inputs.unsqueeze(1)}, set()
    for node in graph:
        values[node.name] = _run(node, values)
        if node.name not in refitted and not _is_homogeneous(node, values):
            others.add(node.name)
    fixed: set[str] = set()
    for node in reversed(graph.nodes):
        if node.name in others or (node.name in fixed and node.name not in refitted):
            fixed.update(node.inputs)
    return set(ends) - fixed


def _is_homogeneous(node: Node, values: Mapping[str, Tensor]) -> bool:
    """Whether f(2x) is a positive multiple of f(x) on the samples: ×2 is exact in floating point.

    Masks stay as they are where they go in; where they come out they shall be the same.
    """
    given = {name: values[name] for name in node.inputs}
    doubled = {name: 2 * value if value.is_floating_point() else value for name, value in given.items()}
    once = values[node.name].flatten(1).double()
    twice = _run(node, doubled).flatten(1).double()
    factor = (once * twice).sum() / (once**2).sum().clamp(min=torch.finfo(torch.float64).tiny)
    beside = torch.linalg.vector_norm(twice - factor * once)
    return bool(factor >= 0) and bool(beside <= PARALLEL * torch.linalg.vector_norm(twice))
