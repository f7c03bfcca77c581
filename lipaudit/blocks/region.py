"""Parts of a graph with one way in and one way out.

The value d dominates e if every path from the input to e meets d; then e is a function of d alone, and a
constant of d ↦ e may replace the product of the layers between them:  L(e) ≤ Lip(d ↦ e)·L(d).

Dominators: Lengauer, Tarjan (1979), ACM TOPLAS 1(1); here by intersection in topological order, as in
Cooper, Harvey, Kennedy (2001), "A simple, fast dominance algorithm".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lipaudit.analyze import combined
from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import Gain, Node

__all__ = ["Region", "between", "chain_of", "dominators", "region"]


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """The nodes between two values, in graph order; the last one is `end`.

    Every input of a node is `source` or an earlier node of the region.
    """

    source: str
    nodes: tuple[Node, ...]

    @property
    def end(self) -> Node:
        """The node whose value leaves."""
        return self.nodes[-1]


def dominators(graph: LayerGraph) -> Mapping[str, str]:
    """For every node the nearest value (not itself) that all paths to it meet."""
    depth, above = {INPUT: 0}, {INPUT: INPUT}
    for node in graph:
        meet = node.inputs[0] if node.inputs else INPUT
        for other in node.inputs[1:]:
            while meet != other:
                if depth[meet] >= depth[other]:
                    meet = above[meet]
                else:
                    other = above[other]  # noqa: PLW2901 - two fingers walk up the tree
        above[node.name], depth[node.name] = meet, depth[meet] + 1
    return {name: value for name, value in above.items() if name != INPUT}


def chain_of(above: Mapping[str, str], name: str) -> Iterator[str]:
    """The dominators of a node, nearest first, up to the input."""
    while name != INPUT:
        name = above[name]
        yield name


def region(graph: LayerGraph, source: str, end: str, most: int) -> Region | None:
    """What lies between a value and one it dominates; None if that is more than `most` nodes."""
    wanted, waiting = {end}, [end]
    while waiting:
        node = graph.node(waiting.pop())
        if node is None or len(wanted) > most:
            return None
        for name in node.inputs:
            if name != source and name not in wanted:
                wanted.add(name)
                waiting.append(name)
    return Region(source, tuple(node for node in graph if node.name in wanted))


def between(part: Region, gains: Mapping[str, Gain]) -> float:
    """What the layers' own gains give for the region, rounded up."""
    running = {part.source: 1.0}
    for node in part.nodes:
        running[node.name] = combined(gains[node.name], [running[name] for name in node.inputs])
    return running[part.end.name]
