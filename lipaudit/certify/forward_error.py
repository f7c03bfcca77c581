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

from lipaudit.analyze import Layer, carried
from lipaudit.blocks import Claim
from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.rounding import UNDERFLOW, UNIT

__all__ = ["with_error"]

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
    shapes = {layer.node.name: [graph.shape_of(i) for i in layer.node.inputs] for layer in layers}
    by_name = {layer.node.name: layer for layer in layers}
    ending = {name: [claim for claim in claims if claim.end == name] for name in by_name}

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
        # Squares underflow below 1e-154: a norm that is computed may be too small by UNDERFLOW.
        values, norms = {INPUT: x}, {INPUT: torch.linalg.vector_norm(x) + UNDERFLOW}
        errors, made = {INPUT: 2 * UNIT * norms[INPUT]}, {}
        for layer in layers:
            node = layer.node
            out = node.op.forward(*(values[i] for i in node.inputs))
            size = torch.linalg.vector_norm(out) + UNDERFLOW
            own = node.op.error(tuple(shapes[node.name]), tuple(norms[i] for i in node.inputs), size)
            made[node.name] = own
            errors[node.name] = carried(layer.gain, [errors[i] for i in node.inputs]) + own
            for claim in ending[node.name]:
                through = _through(claim, by_name, errors, made)
                errors[node.name] = torch.minimum(errors[node.name], through)
            values[node.name], norms[node.name] = out, size
        return values[graph.output].flatten(), errors[graph.output] * WIDEN

    return evaluate


def _through(
    claim: Claim, layers: Mapping[str, Layer], errors: Mapping[str, Tensor], made: Mapping[str, Tensor]
) -> Tensor:
    """The error behind a part: its source's, and what it makes itself."""
    inside = {claim.source: torch.zeros_like(errors[claim.source])}
    for name in claim.names:
        layer = layers[name]
        inside[name] = carried(layer.gain, [inside[i] for i in layer.node.inputs]) + made[name]
    return claim.bound.value * errors[claim.source] + inside[claim.end]
