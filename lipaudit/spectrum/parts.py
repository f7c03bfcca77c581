"""The linear parts of a graph: single layers, and the regions that the audit bounds as one linear map.

Only layers that amplify by their numbers are parts: convolutions, dense layers, pooling by averages, means,
contractions, blocks between a pair of Fourier transforms, resizing, and scaling that was not folded, be it by
one factor for all.  What only moves, copies or adds values, or changes signs, has no spectrum worth a look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.analyze import Layer
from lipaudit.blocks.claim import Claim
from lipaudit.blocks.linear_region import MIXING
from lipaudit.blocks.linear_region import RULE as LINEAR_REGION
from lipaudit.blocks.region import Region
from lipaudit.bound import Bound
from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Gain, Shape
from lipaudit.ops.arithmetic import Affine
from lipaudit.passes.frequency_blocks import FrequencyBlocks

__all__ = ["LinearPart", "is_linear", "linear_parts"]


@dataclass(frozen=True, slots=True, eq=False)
class LinearPart:
    """An affine map within a graph.

    Args:
        name: what it is called.
        op: what it is.
        graph: the whole.
        region: its nodes.
        gains: of the graph's nodes.
        bound: certified, on its norm.
    """

    name: str
    op: str
    graph: LayerGraph
    region: Region
    gains: Mapping[str, Gain]
    bound: Bound

    @property
    def in_shape(self) -> Shape:
        """Of its input, leading 1 included."""
        return self.graph.shape_of(self.region.source)

    @property
    def out_shape(self) -> Shape:
        """Of its output, leading 1 included."""
        return self.region.end.shape

    @property
    def alone(self) -> object | None:
        """Its only op; None if it has several."""
        return self.region.end.op if len(self.region.nodes) == 1 else None

    def run(self, batch: Tensor) -> Tensor:
        """The affine map of a batch (b, *in_shape)."""
        result: Tensor = torch.vmap(self._one)(batch)
        return result

    def _one(self, x: Tensor) -> Tensor:
        values = {self.region.source: x}
        for node in self.region.nodes:
            values[node.name] = node.op.forward(*(values[name] for name in node.inputs))
        return values[self.region.end.name]


def linear_parts(
    graph: LayerGraph, layers: Sequence[Layer], claims: Sequence[Claim]
) -> tuple[LinearPart, ...]:
    """All of them, in graph order; a region stands behind its last layer.

    Args:
        graph: what was analysed.
        layers: its layers with their bounds.
        claims: what was proved about parts of it.
    """
    gains = {layer.node.name: layer.gain for layer in layers}
    regions = [claim for claim in claims if claim.bound.method == LINEAR_REGION.name]
    return tuple(_found(graph, layers, regions, gains))


def _found(
    graph: LayerGraph, layers: Sequence[Layer], regions: Sequence[Claim], gains: Mapping[str, Gain]
) -> Iterator[LinearPart]:
    for layer in layers:
        node = layer.node
        if is_linear(node.op) and len(node.inputs) == 1:
            region = Region(node.inputs[0], (node,))
            yield LinearPart(node.name, node.op.name, graph, region, gains, layer.upper)
        for claim in regions:
            if claim.end == node.name:
                inside = tuple(n for n in graph if n.name in claim.names)
                name = f"{inside[0].name} … {node.name}"
                yield LinearPart(name, "region", graph, Region(claim.source, inside), gains, claim.bound)


def is_linear(op: object) -> bool:
    """Whether an op is linear and amplifies by its numbers."""
    # A shift alone, and a change of signs, stretches nothing.
    return isinstance(op, (*MIXING, FrequencyBlocks)) or (
        isinstance(op, Affine) and bool((op.scale.abs() != 1).any())
    )
