"""Networks of one hidden layer: z = W φ(Jx + a) + d, with W and J in whatever pieces the graph holds them.

J and W are chains of linear operations: dense layers, convolutions, averages, diagonal maps, moved cells.
J is never formed; its adjoint is the graph's own derivative.  The rows of W are its adjoint on unit vectors.

**Rounding.**  For a linear op T with m terms in a sum, |fl(Tᵀv) − Tᵀv| ≤ γ_m|T|ᵀ|v| entry by entry (Higham
2002, sec. 3.5; any order), and ‖|T|ᵀ‖ = ‖|T|‖.  With g ≥ ‖T‖ and h ≥ ‖|T|‖, what v with ‖v‖ = 1 has become
and is off by obeys

    off ← g·off + γ_m·h·size,      size ← g·size + γ_m·h·size,

so ‖fl(Jᵀv) − Jᵀv‖ ≤ off·‖v‖.  m is at most the number of products that reach one cell: of output cells,
times the taps of a kernel, and the roundings behind a weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipaudit.analyze import Layer
from lipaudit.compose import NetworkBound
from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import Node, Op, Shape
from lipaudit.ops.activation import Elementwise
from lipaudit.ops.arithmetic import Affine
from lipaudit.ops.conv import Convolution
from lipaudit.ops.linear import Linear
from lipaudit.ops.pool import AveragePool
from lipaudit.ops.reduction import Average
from lipaudit.ops.shape import Relayout
from lipaudit.ops.smooth import Smooth, smooth
from lipaudit.rounding import UNDERFLOW, add_up, gamma, mul_up

__all__ = ["TwoLayer", "pulled", "two_layer"]

LINEAR = (Affine, Average, AveragePool, Convolution, Linear, Relayout)
LARGEST_ROWS = 50_000_000
"""Entries of W up to which it is formed."""


@dataclass(frozen=True, slots=True, eq=False)
class TwoLayer:
    """A network of one hidden layer with a smooth activation.

    Args:
        inner: x ↦ Jx + a, as a graph.
        activation: the node of φ.
        smooth: what is known of it.
        slope: sup |φ′|.
        norm: ≥ ‖J‖.
        rows: W as computed, (classes, units); for one logit w the rows 0 and w, so that the answer 1 leads by
            z and the answer 0 by −z, as with two logits 0 and z.
        rows_off: each row is at most this far from the true one (l2).
        pull_off: ‖fl(Jᵀv) − Jᵀv‖ ≤ pull_off·‖v‖.
    """

    inner: LayerGraph
    activation: Node
    smooth: Smooth
    slope: float
    norm: float
    rows: Tensor
    rows_off: float
    pull_off: float


def two_layer(graph: LayerGraph, layers: Sequence[Layer], bound: NetworkBound) -> TwoLayer | None:
    """The network as one of one hidden layer; None if it is none, or no norm of J is known.

    Args:
        graph: from the threat space to logits.
        layers: its gains.
        bound: what is proved of its values.
    """
    chain = _chain(graph)
    bends = [k for k, node in enumerate(chain) if not isinstance(node.op, LINEAR)]
    if len(bends) != 1:
        return None
    activation, before, behind = chain[bends[0]], chain[: bends[0]], chain[bends[0] + 1 :]
    known = smooth(activation.op) if isinstance(activation.op, Elementwise) else None
    classes, units = math.prod(graph.shape_of(graph.output)), math.prod(activation.shape)
    norm = bound.running[activation.inputs[0]]
    if known is None or math.inf in (norm, known.highest) or classes * units > LARGEST_ROWS:
        return None
    gains = {layer.node.name: layer.upper.value for layer in layers}
    rows = _rows(_part(graph, activation.name, behind), classes)
    rows = torch.cat([torch.zeros_like(rows), rows]) if classes == 1 else rows
    off, pull_off = _adjoint_off(behind, gains), _adjoint_off(before, gains)
    if math.inf in (off, pull_off) or not bool(rows.isfinite().all()):
        return None
    inner = _part(graph, INPUT, before)
    return TwoLayer(inner, activation, known, gains[activation.name], norm, rows, off, pull_off)


def pulled(net: TwoLayer, v: Tensor) -> Tensor:
    """Jᵀv for v (n, *activation): (n, *input without its leading 1)."""
    start = torch.zeros(len(v), *net.inner.input_shape[1:], dtype=torch.float64, device=net.inner.device)
    found: Tensor = torch.func.vjp(net.inner.run, start)[1](v)[0]
    return found


def _chain(graph: LayerGraph) -> list[Node]:
    """All nodes from the input to the output; empty if anything joins."""
    found: list[Node] = []
    node = graph.node(graph.output)
    while node is not None:
        if len(node.inputs) != 1:
            return []
        found.append(node)
        node = graph.node(node.inputs[0])
    return found[::-1]


def _part(graph: LayerGraph, source: str, nodes: Sequence[Node]) -> LayerGraph:
    """The map from one value of a chain through the nodes that follow it."""
    first = [replace(nodes[0], inputs=(INPUT,)), *nodes[1:]] if nodes else []
    return LayerGraph(
        graph.shape_of(source), tuple(first), nodes[-1].name if nodes else INPUT, device=graph.device
    )


def _rows(outer: LayerGraph, classes: int) -> Tensor:
    """The adjoint of a linear graph on every unit vector: (classes, cells of its input)."""
    start = torch.zeros(classes, *outer.input_shape[1:], dtype=torch.float64, device=outer.device)
    units = torch.eye(classes, dtype=torch.float64, device=outer.device)
    pull = torch.func.vjp(lambda v: outer.run(v).flatten(1), start)[1]
    pulled: Tensor = pull(units)[0]
    return pulled.flatten(1)


def _adjoint_off(nodes: Sequence[Node], gains: Mapping[str, float]) -> float:
    """The recursion of the module's text, evaluated rounding up."""
    off, size = 0.0, 1.0
    for node in reversed(nodes):
        gain = gains[node.name]
        relative, absolute = _terms(node.op, node.shape), _absolute(node.op, gain)
        if relative is None:
            return math.inf
        own = add_up(mul_up(relative, absolute, size), UNDERFLOW)
        off = add_up(mul_up(gain, off), own)
        size = add_up(mul_up(gain, size), own)
    return off


def _terms(op: Op, shape: Shape) -> float | None:
    """γ_m of an op's adjoint; None where it means nothing."""
    taps = op.map.weight.numel() if isinstance(op, Convolution) else 1
    ulps = op.ulps if isinstance(op, Affine | Convolution | Linear) else 0
    terms = math.prod(shape) * taps + ulps + 16
    return gamma(terms) if terms < 2**50 else None


def _absolute(op: Op, gain: float) -> float:
    """≥ ‖|T|‖; the other ops have one sign everywhere, or one entry per row."""
    return mul_up(op.absolute, 1 + 1e-9) if isinstance(op, Convolution | Linear) else gain
