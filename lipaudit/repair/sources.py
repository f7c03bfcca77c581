"""Where the layers of a network have their weights and biases from: tensors of the model's file, or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lipaudit.graph.graph import LayerGraph
from lipaudit.load.translate import translate
from lipaudit.passes.peel_softmax import peel_softmax
from lipaudit.repair.following import followed
from lipaudit.repair.opened import Opened
from lipaudit.repair.readers import several_in_program
from lipaudit.repair.stored import LeftAlone, StoredLayer, match
from lipaudit.repair.stored_bias import StoredBias, stored_biases

__all__ = ["Sources", "find_sources"]


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """What was found.

    Args:
        raw: the model's network, nothing folded.
        layers: whose weights are a tensor of the file that nothing else reads.
        biases: the same of biases.
        left: the other layers, with the reason.
    """

    raw: LayerGraph
    layers: Sequence[StoredLayer]
    biases: Sequence[StoredBias]
    left: Sequence[LeftAlone]


def find_sources(opened: Opened, simplified: LayerGraph, *, biases: bool) -> Sources:
    """Find them by their numbers, and ask the program whether it is so.

    Args:
        opened: the model.
        simplified: its network, folded.
        biases: whether those are wanted, too.
    """
    program, state = opened.loaded.program, opened.weights.tensors
    raw = translate(program, opened.loaded.titles)
    shared = opened.weights.shared | several_in_program(program, state)
    layers, left = match(simplified, raw, state, shared)
    # The largest score stays the largest without the head, whatever factor the scores have.
    added = stored_biases(peel_softmax(raw), program, state, shared) if biases else []
    sure, kept, strayed = followed(opened, raw, layers, added)
    return Sources(raw, sure, kept, [*left, *strayed])
