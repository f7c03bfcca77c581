"""Layers that transform, multiply every frequency by a matrix, and transform back, as one op.

    y = F′ M F x,   F, F′ discrete Fourier transforms, M a constant matrix for every frequency:

Cayley and LOT layers, global filters, convolutions by the convolution theorem.  Gains multiply:
√N·max‖M_ω‖·√(2/N) where half a spectrum stands for the whole, √2 too much, and more where real and imaginary
parts run through different nodes.  Here all values between x and y are measured in a norm of their own,
‖v‖_w² = Σ_i w_i v_i², with positive weights w (∞ for cells that are constant), starting from w = 1:

    step           weights behind it                                                factor
    move           w/c for a cell that is copied c times                            1
    full           the least weight along the axis                                  n^(1−r)
    half           w_k times the least weight along the axis, w_k ∈ {1, 2}          n^(1−r)
    real           min_k v_k/w_k for weights v_k along the axis                     n^(1−r)
    linear part    u_ω/g_ω², u_ω the least weight of a class (`linear_blocks`)      1
    the end        1                                                                1/min w

so that ‖y − y′‖² ≤ (product of the factors)·‖x − x′‖².

Proof.  Moves: Σ_{copies} (w/c)v² = wv².  Transforms: see `ops.fourier`; ‖·‖_w only shrinks when weights do,
and scales along an axis when they are equal there.  Linear part: Σ_ω (u_ω/g_ω²)‖M_ω v_ω‖² ≤ Σ_ω u_ω‖v_ω‖² for
g_ω ≥ ‖M_ω‖. ∎  For rfft, M, irfft of equal lengths the weights w_k of the forward transform meet those of the
inverse, and all but max g_ω cancels; if lengths differ, or a spectrum is filled up wrongly, it does not, and
the bound is true of what the graph does.  No premise about M is needed: where M is not the conjugate at
mirrored frequencies, taking real parts is a projection, which the weights count as such.

Trockman, Kolter (2021), "Orthogonalizing Convolutional Layers with the Cayley Transform", ICLR;
Xu, Li, Li (2022), "LOT: Layer-wise Orthogonal Training on Improving l2 Certified Robustness", NeurIPS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import BoundMap, Gain, Node, Shape
from lipaudit.ops.fourier import Fourier
from lipaudit.ops.shape import Relayout
from lipaudit.passes.edit import edited, subfunction
from lipaudit.passes.linear_blocks import (
    Blocks,
    between,
    blocks_between,
    carried_error,
    is_linear,
    source_of,
)
from lipaudit.rounding import UNDERFLOW, sqrt_up, up

__all__ = ["FrequencyBlocks", "frequency_blocks"]

SHRUNK = 1 - 2.0**-50
"""Pays for the rounding of w/c."""
FAR = 2.0**1000
"""Finite weights stay below this and above its reciprocal."""


@dataclass(frozen=True, slots=True, eq=False)
class FrequencyBlocks:
    """The recognised part of the graph.

    Args:
        function: all of it, of one sample.
        steps: what it consists of, one after the other, each with the shape that it starts from.
        rounding: c with ‖fl f(x) − f(x)‖ ≤ c(‖x‖ + 1).
        device: where the constants lie.
    """

    function: Callable[[Tensor], Tensor]
    steps: tuple[tuple[Shape, Fourier | Relayout | Blocks], ...]
    rounding: float
    device: torch.device
    name: str = "frequency_blocks"

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        return self.function(xs[0])

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """√(product of the factors), see above."""
        del shapes, spectral
        factor, weights = Fraction(1), torch.ones(self.steps[0][0], dtype=torch.float64)
        for shape, step in self.steps:
            if isinstance(step, Fourier):
                factor *= _product(step)
                weights = _transformed(step, weights.reshape(shape))
            elif isinstance(step, Relayout):
                weights = _copied(step, weights.reshape(shape))
            else:
                weights = step.weighed(weights, self.device)
            weights = _tamed(weights)
        least = float(weights.min())
        squared = up(factor / Fraction(least)) if 0 < least < math.inf else math.inf if least <= 0 else 0.0
        return Gain.of(sqrt_up(squared), "frequency blocks")

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """What the steps round, carried to the end."""
        del shapes, out
        return self.rounding * (norms[0] + UNDERFLOW) + UNDERFLOW


def frequency_blocks(graph: LayerGraph) -> LayerGraph:
    """The same function with every such layer as one op."""
    for name in [node.name for node in reversed(graph.nodes) if isinstance(node.op, Fourier)]:
        node = graph.node(name)
        found = None if node is None or not isinstance(node.op, Fourier) else _layer(graph, node)
        if found is not None:
            graph = edited(graph, {name: found})
    return graph


def _layer(graph: LayerGraph, end: Node) -> Node | None:
    """The node that stands for everything up to the end, or None."""
    steps = _steps(graph, end)
    if sum(isinstance(node.op, Fourier) for _, node in steps) < 2:
        return None
    made: list[tuple[Shape, Fourier | Relayout | Blocks]] = []
    for start, node in steps:
        linear = None if isinstance(node.op, Fourier | Relayout) else blocks_between(graph, start, node)
        step = node.op if isinstance(node.op, Fourier | Relayout) else linear
        if step is None:
            return None
        made.append((graph.shape_of(start), step))
    source = steps[0][0]
    nodes = between(graph, source, end)
    _, rounding = carried_error(graph, source, nodes)
    op = FrequencyBlocks(subfunction(graph, source, end), tuple(made), rounding, graph.device)
    return replace(end, op=op, inputs=(source,))


def _steps(graph: LayerGraph, end: Node) -> list[tuple[str, Node]]:
    """Transforms, moves and linear parts that lead to `end`, each with the value that it starts from.

    The first one is a transform.
    """
    steps: list[tuple[str, Node]] = []
    node: Node | None = end
    while node is not None:
        if isinstance(node.op, Fourier) or (isinstance(node.op, Relayout) and is_linear(node)):
            source: str | None = node.inputs[0]
        else:
            source = source_of(graph, node.name)
        if source is None:
            break
        steps.append((source, node))
        node = graph.node(source)
    while steps and not isinstance(steps[-1][1].op, Fourier):
        steps.pop()
    return steps[::-1]


def _product(op: Fourier) -> Fraction:
    total = Fraction(1)
    for axis in op.axes:
        total *= op.squared(axis)
    return total


def _transformed(op: Fourier, weights: Tensor) -> Tensor:
    """Weights behind a transform."""
    v = weights if op.from_real else weights.amin(-1)
    for axis in op.axes:
        taken = v.narrow(axis.place, 0, axis.kept).movedim(axis.place, -1)
        if axis.kind == "real":
            taken = taken / axis.weights(axis.kept)
        made = taken.amin(-1, keepdim=True).expand(*taken.shape[:-1], axis.made)
        if axis.kind == "half":
            made = made * axis.weights(axis.made)
        v = made.movedim(-1, axis.place)
    return v if op.to_real else v[..., None].expand(*v.shape, 2)


def _tamed(weights: Tensor) -> Tensor:
    """Weights that a step can divide and multiply without over- or underflow; less is always sound.

    Only constants weigh `inf`, and where a weight is 0 nothing is proved.
    """
    finite = torch.where(weights < 1 / FAR, 0.0, weights.clamp(max=FAR))
    return torch.where(weights.isinf(), weights, finite)


def _copied(op: Relayout, weights: Tensor) -> Tensor:
    """Weights behind a move."""
    sources = op.sources(tuple(weights.shape))
    copies = torch.bincount(sources[sources >= 0], minlength=weights.numel()).clamp(min=1)
    shared = torch.where(copies > 1, weights.flatten() / copies * SHRUNK, weights.flatten())
    return torch.where(sources >= 0, shared[sources.clamp(min=0)], torch.inf)
