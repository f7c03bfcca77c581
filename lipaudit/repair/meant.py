"""The network that a file shall hold once some of its tensors are others: nothing else of it moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node
from lipaudit.ops.arithmetic import Affine
from lipaudit.ops.conv import Convolution
from lipaudit.ops.linear import Linear
from lipaudit.repair.likeness import differing
from lipaudit.repair.stored import StoredLayer, linear_map_of, with_map
from lipaudit.repair.stored_bias import StoredBias

__all__ = ["strayed"]

CLOSE = 1e-12
"""Roundings of β − μ·scale, relative to its terms: a graph holds the difference alone."""


def strayed(
    before: LayerGraph,
    after: LayerGraph,
    layers: Sequence[StoredLayer],
    biases: Sequence[StoredBias],
    changed: Mapping[str, Tensor],
) -> tuple[str, ...]:
    """Names of the nodes of a network that are not what they should be now.

    Args:
        before: the network as it was, nothing folded.
        after: as it is with the new tensors.
        layers: whose weights are among the file's tensors.
        biases: the same of biases.
        changed: the new tensors by key, as they are stored.
    """
    nodes = {node.name: node for node in before}
    slack: dict[str, float] = {}
    for layer in layers:
        if layer.key in changed:
            node = nodes[layer.name]
            linear_map = linear_map_of(node)
            assert linear_map is not None  # noqa: S101 - of `match`
            weight = layer.as_weight(changed[layer.key].cpu())
            nodes[layer.name] = with_map(node, linear_map.with_weight(weight))
    for bias in biases:
        if bias.key in changed:
            new = changed[bias.key].cpu().double()
            nodes[bias.node] = _with_bias(nodes[bias.node], bias, new, slack)
    meant = replace(before, nodes=tuple(nodes[node.name] for node in before))
    return differing(meant, after, slack)


def _with_bias(node: Node, bias: StoredBias, new: Tensor, slack: dict[str, float]) -> Node:
    op, shaped = node.op, new.reshape(bias.shape)
    if isinstance(op, Linear | Convolution):
        return replace(node, op=replace(op, bias=shaped))
    assert isinstance(op, Affine)  # noqa: S101 - of `stored_biases`
    if op.shift_size is None:
        return replace(node, op=replace(op, shift=shaped))
    old = bias.stored.cpu().double().reshape(bias.shape)
    size = op.shift_size + shaped.abs() - old.abs()
    slack[node.name] = CLOSE * float((op.shift_size + shaped.abs() + old.abs()).max())
    return replace(node, op=replace(op, shift=op.shift + (shaped - old), shift_size=size))
