"""Layers that transform, multiply every frequency by a matrix, and transform back, as one op.

    y = F′ M F x,   F, F′ discrete Fourier transforms, M a constant matrix for every frequency: Cayley and LOT layers,
    global filters, convolutions by the convolution theorem.

Gains multiply: √N·max‖M_ω‖·√(2/N) where half a spectrum stands for the whole, √2 too much, and more where real
and imaginary parts run through different nodes.  Here all values between x and y are measured in a norm of
their own, ‖v‖_w² = Σ_i w_i v_i², with positive weights w (∞ for cells that are constant), starting from w = 1:

    move           a cell copied c times hands on w/c                                    factor 1
    full           the least weight along the axis for all of it                         n^(1−r)
    half           w_k times the least weight along the axis, w_k ∈ {1, 2}               n^(1−r)
    real           min_k v_k/w_k for weights v_k along the axis                          n^(1−r)
    linear part    each class of cells (`linear_blocks`) keeps its least weight          max_ω ‖M_ω‖²
    at the end     1                                                                     1/min w

so that ‖y − y′‖² ≤ (product of the factors)·‖x − x′‖².

Proof.  Moves: Σ_{copies} (w/c)v² = wv².  Transforms: see `ops.fourier`; ‖·‖_w only shrinks when weights do, and
scales along an axis when they are equal there.  Linear part: ‖Mv‖² = Σ_ω u_ω‖M_ω v_ω‖² ≤ max‖M_ω‖² Σ u_ω‖v_ω‖²,
with u_ω ≤ the weights of class ω. ∎  For rfft, M, irfft of equal lengths the weights w_k of the forward transform
meet those of the inverse, and all factors but max‖M_ω‖ cancel; if lengths differ, or a spectrum is filled up
wrongly, they do not, and the bound is true of what the graph does.  No premise about M is needed: where M is
not the conjugate at mirrored frequencies, taking real parts is a projection, which the weights count as such.

Trockman, Kolter (2021), "Orthogonalizing Convolutional Layers with the Cayley Transform", ICLR;
Xu, Li, Li (2022), "LOT: Layer-wise Orthogonal Training on Improving l2 Certified Robustness", NeurIPS.
"""

from __future__ import annotations

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
from lipaudit.rounding import UNDERFLOW, mul_up, sqrt_up, up

__all__ = ["FrequencyBlocks", "frequency_blocks"]

SHRUNK = 1 - 2.0**-50
"""Pays for the rounding of w/c."""


@dataclass(frozen=True, slots=True, eq=False)
class FrequencyBlocks:
    """The recognised part of the graph.

    Args:
        function: all of it, of one sample.
        factor: the product of all factors but those of linear parts.
        parts: the linear parts.
        rounding: c with ‖fl f(x) − f(x)‖ ≤ c(‖x‖ + 1).
        device: where the constants lie.
    """

    function: Callable[[Tensor], Tensor]
    factor: Fraction
    parts: tuple[Blocks, ...]
    rounding: float
    device: torch.device
    name: str = "frequency_blocks"

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        return self.function(xs[0])

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """√factor · ∏ max_ω ‖M_ω‖."""
        del shapes, spectral
        norms = [part.norm(self.device) for part in self.parts]
        return Gain.of(mul_up(sqrt_up(up(self.factor)), *norms), "frequency blocks")

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
    source = steps[0][0]
    weights = torch.ones(graph.shape_of(source), dtype=torch.float64)
    factor, parts = Fraction(1), []
    for start, node in steps:
        if isinstance(node.op, Fourier):
            factor *= _product(node.op)
            weights = _transformed(node.op, weights)
        elif isinstance(node.op, Relayout):
            weights = _copied(node.op, weights)
        else:
            blocks = blocks_between(graph, start, node)
            if blocks is None:
                return None
            parts.append(blocks)
            weights = _kept(blocks, weights).reshape(node.shape)
    least = float(weights.min())
    nodes = between(graph, source, end)
    _, rounding = carried_error(graph, source, nodes)
    op = FrequencyBlocks(
        subfunction(graph, source, end),
        factor / Fraction(least) if least < float("inf") else Fraction(0),
        tuple(parts),
        rounding,
        graph.device,
    )
    return replace(end, op=op, inputs=(source,))


def _steps(graph: LayerGraph, end: Node) -> list[tuple[str, Node]]:
    """Transforms, moves and linear parts that lead to `end`, one after the other, each with what it starts from.

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


def _copied(op: Relayout, weights: Tensor) -> Tensor:
    """Weights behind a move."""
    sources = op.sources(tuple(weights.shape))
    copies = torch.bincount(sources[sources >= 0], minlength=weights.numel()).clamp(min=1)
    shared = torch.where(copies > 1, weights.flatten() / copies * SHRUNK, weights.flatten())
    return torch.where(sources >= 0, shared[sources.clamp(min=0)], torch.inf)


def _kept(blocks: Blocks, weights: Tensor) -> Tensor:
    """The least weight of each output cell's class."""
    count = int(blocks.class_in.max()) + 1
    least = torch.full((count,), torch.inf, dtype=torch.float64)
    least = least.scatter_reduce(0, blocks.class_in, weights.flatten(), "amin")
    return torch.where(blocks.class_out >= 0, least[blocks.class_out.clamp(min=0)], torch.inf)
