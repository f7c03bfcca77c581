"""The linear parts of a graph: single layers, and the regions that the audit bounds as one linear map.

Only layers that can amplify are parts: by their numbers (convolutions, dense layers, pooling by averages,
means, contractions, Fourier transforms and blocks between them, resizing, scaling that was not folded, be it
by one factor for all), or by what they repeat (nearest upsampling, tiles, indices that occur twice, padding
by copies).  What only moves values or changes signs has no spectrum worth a look, and what adds or joins
several values is no map of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lipaudit.analyze import Layer
from lipaudit.blocks.claim import Claim
from lipaudit.blocks.linear_region import MIXING
from lipaudit.blocks.linear_region import RULE as LINEAR_REGION
from lipaudit.blocks.region import Region
from lipaudit.bound import Bound
from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Gain, Node, Shape
from lipaudit.ops.arithmetic import Affine, copies
from lipaudit.ops.fourier import Fourier
from lipaudit.ops.shape import Relayout
from lipaudit.passes.frequency_blocks import FrequencyBlocks

__all__ = ["LinearPart", "is_linear", "linear_parts"]

ORTHONORMAL = 1e-9
"""How far from 1 the computed norm of an orthonormal transform may be."""


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
        if is_linear(node, graph):
            region = Region(node.inputs[0], (node,))
            yield LinearPart(node.name, node.op.name, graph, region, gains, layer.upper)
        for claim in regions:
            if claim.end == node.name:
                inside = tuple(n for n in graph if n.name in claim.names)
                name = f"{inside[0].name} … {node.name}"
                yield LinearPart(name, "region", graph, Region(claim.source, inside), gains, claim.bound)


def is_linear(node: Node, graph: LayerGraph) -> bool:
    """Whether a layer is a linear map of one value that can amplify, by its numbers or by what it repeats."""
    rule = _AMPLIFIES.get(type(node.op))
    return rule is not None and len(node.inputs) == 1 and rule(node, graph.shape_of(node.inputs[0]))


def _scales(node: Node, shape: Shape) -> bool:
    # A shift alone, and a change of signs, stretches nothing; a shift that is larger than x repeats it.
    op: Any = node.op
    return bool((op.scale.abs() != 1).any()) or copies(shape, node.shape) > 1


def _repeats(node: Node, shape: Shape) -> bool:
    op: Any = node.op
    return bool(op.most_copies(shape) > 1)


def _stretches(node: Node, shape: Shape) -> bool:
    del shape
    op: Any = node.op
    return not math.isclose(op.norm(), 1.0, rel_tol=ORTHONORMAL)


_AMPLIFIES: dict[type, Callable[[Node, Shape], bool]] = {
    **dict.fromkeys((*MIXING, FrequencyBlocks), lambda _node, _shape: True),
    Affine: _scales,
    Relayout: _repeats,
    Fourier: _stretches,
}
"""Linear ops, and whether one of them can amplify what it is given (of this shape)."""
