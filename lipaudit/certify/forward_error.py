"""Logits in float64 together with a bound on their own rounding error.

With x̂ the computed activations, every op promises ‖fl(f(x̂)) − f(x̂)‖ ≤ e_f, and its gain carries the errors
of its inputs on:

    e(v) ≤ combine(gᵢ·e(uᵢ)) + e_f(x̂),      e(input) = 2u‖x‖ (pixels k/255 are rounded once).

A claim about the part between two values (`blocks`) carries the error of its source on by one number; what
the part itself rounds follows the same recursion with an exact source:

    e(end) ≤ claim·e(source) + e_part(end),      e_part(source) = 0.

Higham (2002), ch. 3; Jin, Tian, Ying et al. (2022), "Getting a-Round Guarantees", break certificates that
omit this term.  The recursion itself is evaluated in floating point; its result is widened by 0.1 %,
far more than its own rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lipaudit.analyze import Layer, carried, traced
from lipaudit.blocks import Claim
from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import Gain, Node
from lipaudit.rounding import UNDERFLOW, UNIT

__all__ = ["WIDEN", "inside", "with_error"]

WIDEN = 1.001


def with_error(
    graph: LayerGraph, layers: Sequence[Layer], claims: Sequence[Claim] = ()
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A function of one sample: its outputs, and an l2 bound on their rounding error.

    Args:
        graph: what runs.
        layers: its gains, in graph order.
        claims: bounds of parts of it.

    Returns:
        f(x) for x of shape `graph.input_shape`, float64: (outputs flattened, error as a scalar).  Lift it
        with `torch.vmap`.
    """
    gains = {layer.node.name: layer.gain for layer in layers}
    nodes = {layer.node.name: layer.node for layer in layers}
    ending = {name: [claim for claim in claims if claim.end == name] for name in gains}

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
        norm = torch.linalg.vector_norm(x) + UNDERFLOW
        last, errors, made = x, {INPUT: 2 * UNIT * norm}, {}
        for node, out, own in traced(graph, nodes.values(), INPUT, x):
            name = node.name
            made[name] = own
            last = out if name == graph.output else last
            errors[name] = carried(gains[name], [errors[i] for i in node.inputs]) + own
            for claim in ending[name]:
                part = [nodes[n] for n in claim.names]
                through = claim.bound.value * errors[claim.source] + inside(part, claim.source, gains, made)
                errors[name] = torch.minimum(errors[name], through)
        return last.flatten(), errors[graph.output] * WIDEN

    return evaluate


def inside(
    part: Sequence[Node], source: str, gains: Mapping[str, Gain], made: Mapping[str, Tensor]
) -> Tensor:
    """The error at the end of a part whose source is exact: what the part itself makes, carried on."""
    errors = {source: torch.zeros_like(made[part[0].name])}
    for node in part:
        errors[node.name] = carried(gains[node.name], [errors[i] for i in node.inputs]) + made[node.name]
    return errors[part[-1].name]
