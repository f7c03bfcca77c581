"""A network under repair: its layers' bounds, which of them may change, and what follows for the whole.

**Left alone** is a layer whose weights are tied, computed or not in the file (`stored`), and one inside a
part that is bounded by its structure (convex potential, sandwich, skew polynomial): there weights stand in
two places or are normalised together, and the part's own bound is about 1 already.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from lipaudit.analyze import Layer, Plan
from lipaudit.blocks import Claim, convex_potential, find_claims, sandwich, skew_exponential
from lipaudit.compose import NetworkBound, compose
from lipaudit.errors import UsageError
from lipaudit.graph.graph import LayerGraph
from lipaudit.repair.proving import Changed, bounded
from lipaudit.repair.stored import LeftAlone, StoredLayer, linear_map_of
from lipaudit.report.wording import shown_up

__all__ = ["Network", "parts"]

TIED = frozenset(rule.RULE.name for rule in (convex_potential, skew_exponential))
"""Rules that fire only where weights stand in several places."""
ABOUT_ONE, FAR = 1.001, 1.2
"""The sandwich rule speaks of any two dense layers; made for it are those it bounds by 1, and far better than
their product."""


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
        return next(layer.upper.value for layer in self.layers if layer.node.name == name)

    def structured(self) -> dict[str, Claim]:
        """Layers inside parts that are bounded by their structure, with the claim that says so."""
        return {name: claim for claim in self.bound.claims if _is_structure(claim) for name in claim.names}


def _is_structure(claim: Claim) -> bool:
    if claim.bound.method in TIED:
        return True
    made_for = claim.bound.value <= ABOUT_ONE and claim.plain >= FAR * claim.bound.value
    return claim.bound.method == sandwich.RULE.name and made_for


def parts(
    network: Network, found: Sequence[StoredLayer], left: Sequence[LeftAlone], patterns: Collection[str]
) -> tuple[list[StoredLayer], list[LeftAlone], list[str]]:
    """Layers that may change, layers that may not, and names that nobody asked for.

    Raises:
        UsageError: a pattern means no linear layer.
    """
    names = [node.name for node in network.graph if linear_map_of(node) is not None]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(
                f"--layer {pattern}: no linear layer is called so",
                hint=f"{', '.join(names[:6])}{', …' if len(names) > 6 else ''}; * stands for any text",
            )
    asked = {n for n in names if not patterns or any(fnmatchcase(n, pattern) for pattern in patterns)}
    inside = network.structured()
    free = [layer for layer in found if layer.name in asked and layer.name not in inside]
    held = [alone for alone in left if alone.name in asked and alone.name not in inside]
    held += [
        LeftAlone(
            name,
            f"in a block whose structure bounds it by {shown_up(claim.bound.value)} ({claim.bound.method})",
        )
        for name, claim in inside.items()
        if name in asked
    ]
    return free, held, [name for name in names if name not in asked]
