"""Changing a graph: put nodes in others' places, follow aliases, drop what nobody reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import Node

__all__ = ["edited", "exchanged", "single_use", "subfunction"]


def edited(
    graph: LayerGraph,
    replaced: Mapping[str, Node] | None = None,
    aliases: Mapping[str, str] | None = None,
    output: str | None = None,
    note: str = "",
) -> LayerGraph:
    """A graph with some nodes replaced, others bypassed, and dead nodes dropped.

    Args:
        graph: what to start from.
        replaced: by name, the node that takes its place (it may have a new name, op and inputs; its
            inputs must stand earlier in the order).
        aliases: value `key` is now read from `aliases[key]`.
        output: a new output.
        note: what a reader of the report must know about it.
    """
    replaced, aliases = replaced or {}, dict(aliases or {})
    aliases.update({old: new.name for old, new in replaced.items() if old != new.name})

    def resolve(name: str) -> str:
        while name in aliases:
            name = aliases[name]
        return name

    nodes = [replaced.get(n.name, n) for n in graph.nodes if n.name in replaced or n.name not in aliases]
    nodes = [replace(n, inputs=tuple(resolve(i) for i in n.inputs)) for n in nodes]
    end = resolve(output or graph.output)
    alive = {end}
    for node in reversed(nodes):
        if node.name in alive:
            alive.update(node.inputs)
    kept = tuple(n for n in nodes if n.name in alive)
    notes = (*graph.notes, note) if note else graph.notes
    _check_order(kept)
    return replace(graph, nodes=kept, output=end, notes=notes)


def exchanged(graph: LayerGraph, earlier: Node, later: Node) -> LayerGraph:
    """A graph in which two nodes that followed each other do so in the other order, under their own names.

    Args:
        graph: in which `later` stands before `earlier`, its only reader.
        earlier: reads what `later` read.
        later: reads `earlier`; whatever read `earlier` reads `later` now.
    """

    def resolve(name: str) -> str:
        return later.name if name == earlier.name else name

    swapped = {later.name: earlier, earlier.name: later}
    nodes = tuple(
        swapped[n.name] if n.name in swapped else replace(n, inputs=tuple(map(resolve, n.inputs)))
        for n in graph.nodes
    )
    _check_order(nodes)
    return replace(graph, nodes=nodes, output=resolve(graph.output))


def single_use(graph: LayerGraph, name: str) -> bool:
    """Whether exactly one node (and not the output) reads that value."""
    return graph.uses(name) == 1 and graph.output != name


def subfunction(graph: LayerGraph, source: str, end: Node) -> Callable[[Tensor], Tensor]:
    """The part of the graph from the value `source` to `end`, as one function of one sample."""
    needed: list[Node] = []
    wanted = {end.name}
    for node in reversed(graph.nodes):
        if node.name in wanted and node.name != source:
            needed.append(node)
            wanted.update(name for name in node.inputs if name != source)

    def run(x: Tensor) -> Tensor:
        values = {source: x}
        for node in reversed(needed):
            values[node.name] = node.op.forward(*(values[name] for name in node.inputs))
        return values[end.name]

    return run


def _check_order(nodes: tuple[Node, ...]) -> None:
    """Every input stands earlier: the invariant all passes keep."""
    known = {INPUT}
    for node in nodes:
        if not known.issuperset(node.inputs):
            msg = f"{node.name} reads {set(node.inputs) - known} before it exists"
            raise AssertionError(msg)
        known.add(node.name)
