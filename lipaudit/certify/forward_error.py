"""Logits in float64 together with a bound on their own rounding error.

With x̂ the computed activations, every op promises ‖fl(f(x̂)) − f(x̂)‖ ≤ e_f, and its gain carries the errors
of its inputs on:

    e(v) ≤ combine(gᵢ·e(uᵢ)) + e_f(x̂),      e(input) = 2u‖x‖ (pixels k/255 are rounded once).

Higham (2002), ch. 3; Jin, Tian, Ying et al. (2022), "Getting a-Round Guarantees", break certificates that
omit this term.  The recursion itself is evaluated in floating point; its result is widened by 0.1 %,
far more than its own rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lipaudit.analyze import Layer
from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import Combine
from lipaudit.rounding import UNDERFLOW, UNIT

__all__ = ["with_error"]

WIDEN = 1.001


def with_error(graph: LayerGraph, layers: Sequence[Layer]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A function of one sample: its outputs, and an l2 bound on their rounding error.

    Args:
        graph: what runs.
        layers: its gains, in graph order.

    Returns:
        f(x) for x of shape `graph.input_shape`, float64: (outputs flattened, error as a scalar).  Lift it
        with `torch.vmap`.
    """
    shapes = {layer.node.name: [graph.shape_of(i) for i in layer.node.inputs] for layer in layers}

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
        # Squares underflow below 1e-154: a norm that is computed may be too small by UNDERFLOW.
        values, norms = {INPUT: x}, {INPUT: torch.linalg.vector_norm(x) + UNDERFLOW}
        errors = {INPUT: 2 * UNIT * norms[INPUT]}
        for layer in layers:
            node = layer.node
            out = node.op.forward(*(values[i] for i in node.inputs))
            size = torch.linalg.vector_norm(out) + UNDERFLOW
            own = node.op.error(tuple(shapes[node.name]), tuple(norms[i] for i in node.inputs), size)
            errors[node.name] = _carried(layer, [errors[i] for i in node.inputs]) + own
            values[node.name], norms[node.name] = out, size
        return values[graph.output].flatten(), errors[graph.output] * WIDEN

    return evaluate


def _carried(layer: Layer, errors: list[Tensor]) -> Tensor:
    gains = [b.value for b in layer.gain.per_input]
    if math.inf in gains:
        return torch.full_like(errors[0], torch.inf)
    parts = torch.stack([g * e for g, e in zip(gains, errors, strict=True)])
    return parts.sum() if layer.gain.combine is Combine.SUM else torch.linalg.vector_norm(parts)
