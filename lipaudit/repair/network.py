"""A network under repair: its layers' bounds, and what follows from them for the whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lipaudit.analyze import Layer, Plan
from lipaudit.blocks import find_claims
from lipaudit.compose import NetworkBound, compose
from lipaudit.graph.graph import LayerGraph
from lipaudit.repair.proving import Changed, bounded
from lipaudit.report.number import Number

__all__ = ["Network"]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A graph with its bounds.

    Args:
        graph: simplified, from the threat space to scores.
        layers: bounds, in graph order.
        bound: of the whole.
        plan: how they are proved.
    """

    graph: LayerGraph
    layers: tuple[Layer, ...]
    bound: NetworkBound
    plan: Plan

    @classmethod
    def of(cls, graph: LayerGraph, plan: Plan) -> Network:
        """All bounds anew."""
        plan.check([node.name for node in graph])
        return cls._joined(graph, [bounded(graph, node, plan) for node in graph], plan)

    @classmethod
    def _joined(cls, graph: LayerGraph, layers: Sequence[Layer], plan: Plan) -> Network:
        claims = find_claims(graph, layers, plan)
        return cls(graph, tuple(layers), compose(graph, layers, claims), plan)

    def with_changes(self, changes: Mapping[str, Changed]) -> Network:
        """The network with those layers changed, by name."""
        nodes = tuple(changes[n.name].proved.node if n.name in changes else n for n in self.graph)
        layers = [changes[la.node.name].proved if la.node.name in changes else la for la in self.layers]
        return self._joined(replace(self.graph, nodes=nodes), layers, self.plan)

    def norm(self, name: str) -> float:
        """The bound of a layer."""
        return self._layer(name).upper.value

    def stated(self, name: str) -> float:
        """The bound of a layer as reports state it, rounded up: this is what budgets are compared with."""
        value = Number.from_bound(self._layer(name).upper).value
        return math.inf if value is None else value

    def _layer(self, name: str) -> Layer:
        return next(layer for layer in self.layers if layer.node.name == name)
