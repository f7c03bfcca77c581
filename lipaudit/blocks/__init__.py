"""Parts of a graph whose structure proves more than the product of their layers.

`RULES` are tried on every part with one way in and one way out that could profit: where paths meet, and where
a linear map follows an activation that follows a linear map.  A rule proves its number or does not fire;
`compose` takes the smallest of what is proved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lipaudit.analyze import Layer, Plan, Prover
from lipaudit.blocks import (
    averaged,
    convex_potential,
    linear_region,
    sandwich,
    semidefinite,
    skew_exponential,
)
from lipaudit.blocks.claim import Claim, Part, Proved, Rule, Stored
from lipaudit.blocks.linear_region import LINEAR
from lipaudit.blocks.region import between, chain_of, dominators, region
from lipaudit.blocks.wiring import wiring
from lipaudit.bound import Bound
from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import BoundMap, Gain, Node
from lipaudit.ops.activation import Elementwise
from lipaudit.ops.arithmetic import Limit
from lipaudit.ops.conv import Convolution
from lipaudit.ops.linear import Linear
from lipaudit.spectral import LinearMap
from lipaudit.spectral.certificate import Certificate

__all__ = ["RULES", "Claim", "confirmed", "find_claims"]

RULES: tuple[Rule, ...] = (
    skew_exponential.RULE,
    linear_region.RULE,
    convex_potential.RULE,
    sandwich.RULE,
    averaged.RULE,
    semidefinite.RULE,
)
"""In the order in which they are tried, cheap ones first."""

MOST_NODES = 200
"""Nodes of a region up to which it is looked at."""
MOST_BENDS = 4
"""Activations of a chain that is bounded as a whole."""
CLOSE = 1e-6
"""A bound this close to 1, or to what a rule can reach, ends the search for a better one."""
BUDGETS = {"fast": 5e9, "balanced": 1.2e11, "tight": 5e12}
"""Float operations per region, by profile."""


@dataclass(slots=True, eq=False)
class _Norms:
    """A prover that remembers, since regions share their maps."""

    prover: Prover
    known: dict[int, tuple[LinearMap, Bound]] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def __call__(self, linear_map: LinearMap) -> Bound:
        if id(linear_map) not in self.known:
            self.known[id(linear_map)] = (linear_map, self.prover(linear_map))
        self.asked.append(list(self.known).index(id(linear_map)))
        return self.known[id(linear_map)][1]

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Of what was asked for since `asked` was emptied, in that order."""
        return tuple(self.prover.certificates[index] for index in self.asked)


def find_claims(
    graph: LayerGraph, layers: Sequence[Layer], plan: Plan, advance: Callable[[], None] = lambda: None
) -> tuple[Claim, ...]:
    """What the rules prove about parts of the graph, in graph order.

    Args:
        graph: what to look at.
        layers: its gains, in graph order.
        plan: by which methods norms are bounded, and how hard to try.
        advance: called after each layer that was looked at.
    """
    gains = {layer.node.name: layer.gain for layer in layers}
    claims: list[Claim] = []
    settled: dict[str, set[str]] = {}
    for node, sources in reversed(list(_ends(graph))):
        advance()
        for source in sources:
            if source in settled.get(node.name, ()):
                continue
            claim = _claim(graph, source, node, gains, plan)
            if claim is not None:
                claims.append(claim)
                # Nothing within is looked at again; what ends in a linear part may begin before it.
                is_linear = claim.bound.method == linear_region.RULE.name
                starts = {claim.source, *claim.names} if is_linear else {n.name for n in graph} | {INPUT}
                for name in _enclosed(graph, claim):
                    settled.setdefault(name, set()).update(starts)
                break
    return tuple(reversed(claims))


def _enclosed(graph: LayerGraph, claim: Claim) -> set[str]:
    """The nodes inside, if all that read them are inside as well: else they may belong to other parts too."""
    inner = set(claim.names) - {claim.end}
    read_outside = any(n.name not in claim.names and not inner.isdisjoint(n.inputs) for n in graph)
    return set() if read_outside or graph.output in inner else inner


def _ends(graph: LayerGraph) -> Iterator[tuple[Node, list[str]]]:
    """Nodes at which a region may end, with the values it may start from, farthest first."""
    above = dominators(graph)
    for node in graph:
        starts = _chain_starts(graph, above, node)
        if len(node.inputs) > 1:
            starts.append(above[node.name])
        if isinstance(node.op, LINEAR) and not _goes_on(graph, node):
            starts += _linear_start(graph, above, node)
        if starts:
            yield node, list(dict.fromkeys(starts))


def _chain_starts(graph: LayerGraph, above: Mapping[str, str], end: Node) -> list[str]:
    """What linear maps before this one read, with activations and nothing joined in between."""
    if not isinstance(end.op, Linear | Convolution):
        return []
    found: list[str] = []
    bends, bent = 0, False
    for name in chain_of(above, end.name):
        node = graph.node(name)
        if node is None or len(node.inputs) > 1 or bends > MOST_BENDS:
            break
        if isinstance(node.op, Linear | Convolution):
            if not bent:
                break
            found, bent = [node.inputs[0], *found], False
        elif isinstance(node.op, Elementwise | Limit):
            bends, bent = bends + 1, True
    return found


def _linear_start(graph: LayerGraph, above: Mapping[str, str], end: Node) -> list[str]:
    """The farthest value from which everything up to here is linear."""
    best: list[str] = []
    for name in chain_of(above, end.name):
        part = region(graph, name, end.name, MOST_NODES)
        if part is None or not all(isinstance(node.op, LINEAR) for node in part.nodes):
            break
        best = [name]
    return best


def _goes_on(graph: LayerGraph, node: Node) -> bool:
    """Whether everything that reads the value is linear."""
    readers = [n for n in graph if node.name in n.inputs]
    return bool(readers) and all(isinstance(n.op, LINEAR) for n in readers)


def _claim(graph: LayerGraph, source: str, end: Node, gains: Mapping[str, Gain], plan: Plan) -> Claim | None:
    found = region(graph, source, end.name, MOST_NODES)
    if found is None or len(found.nodes) == 1:
        return None  # too large, or nothing but one layer
    plain = between(found, gains)
    norms = _Norms(Prover(plan.method_of(end.name), plan))
    own = {node.name: gains[node.name] for node in found.nodes}
    part = Part(graph, found, wiring(graph, found), own, plain, plain, norms, BUDGETS[plan.profile])
    best: Claim | None = None
    for rule in RULES:
        norms.asked.clear()
        proved = rule.prove(part)
        if proved is not None and proved.value < part.best:
            part = replace(part, best=proved.value)
            best = _made(part, rule, proved, norms.certificates)
        if best is not None and part.best <= 1 + CLOSE:
            break
    return best


def _made(part: Part, rule: Rule, proved: Proved, certificates: tuple[Certificate, ...]) -> Claim:
    names = tuple(node.name for node in part.region.nodes)
    bound = Bound(proved.value, rule.name)
    return Claim(
        part.region.source, part.region.end.name, names, bound, part.plain, proved.stored, certificates
    )


def confirmed(
    graph: LayerGraph,
    layers: Sequence[Layer],
    ends: tuple[str, str],
    rule: str,
    stored: Mapping[str, Stored],
    norms: BoundMap,
) -> Claim | None:
    """What a rule proves about a part with the free choice that was stored; nothing is searched for.

    Args:
        graph: the whole.
        layers: its gains.
        ends: the value that goes in, and the one that comes out.
        rule: a name from `RULES`.
        stored: the rule's free choice, which may be anything.
        norms: bounds of linear maps, proved.

    Returns:
        None where nothing is proved: no such part or rule, or a choice that is none.
    """
    source, end = ends
    row = next((r for r in RULES if r.name == rule), None)
    found = region(graph, source, end, MOST_NODES) if graph.node(end) is not None else None
    if row is None or found is None:
        return None
    own = {layer.node.name: layer.gain for layer in layers}
    plain = between(found, own)
    gains = {node.name: own[node.name] for node in found.nodes}
    part = Part(graph, found, wiring(graph, found), gains, plain, math.inf, norms, math.inf)
    proved = row.confirm(part, stored)
    return None if proved is None or proved.value == math.inf else _made(part, row, proved, ())
