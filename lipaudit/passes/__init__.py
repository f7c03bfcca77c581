"""Rewriting a graph into one that computes the same function and is easier to bound.

Each pass is a function LayerGraph → LayerGraph in a file of its own, with its proof.  `PASSES` is the
order they run in; `simplify` runs them all.
"""

from __future__ import annotations

from collections.abc import Callable

from lipaudit.graph.graph import LayerGraph
from lipaudit.passes.collect_terms import collect_terms
from lipaudit.passes.compose_activations import compose_activations
from lipaudit.passes.drop_identities import drop_identities
from lipaudit.passes.fold_affine import fold_affine
from lipaudit.passes.frequency_blocks import frequency_blocks
from lipaudit.passes.half_planes import half_planes
from lipaudit.passes.join_moves import join_moves
from lipaudit.passes.local_response import local_response
from lipaudit.passes.merge_moves import merge_moves
from lipaudit.passes.merge_padding import merge_padding
from lipaudit.passes.peel_softmax import peel_softmax
from lipaudit.passes.sort_pairs import sort_pairs

__all__ = ["PASSES", "simplify"]

PASSES: tuple[Callable[[LayerGraph], LayerGraph], ...] = (
    drop_identities,
    peel_softmax,
    compose_activations,
    local_response,
    merge_moves,
    frequency_blocks,
    join_moves,
    half_planes,
    sort_pairs,
    collect_terms,
    merge_padding,
    fold_affine,
)


def simplify(graph: LayerGraph) -> LayerGraph:
    """All passes, in order."""
    for rewrite in PASSES:
        graph = rewrite(graph)
    return graph
