"""Dropout in eval mode, float casts, clones and views to the same shape change nothing: read past them."""

from __future__ import annotations

from lipaudit.graph.graph import LayerGraph
from lipaudit.ops.shape import Relayout
from lipaudit.passes.edit import edited

__all__ = ["drop_identities"]


def drop_identities(graph: LayerGraph) -> LayerGraph:
    """The same function without nodes that return their input."""
    aliases = {
        node.name: node.inputs[0]
        for node in graph
        if isinstance(node.op, Relayout)
        and node.op.name in ("identity", "reshape")
        and graph.shape_of(node.inputs[0]) == node.shape
    }
    return edited(graph, aliases=aliases) if aliases else graph
