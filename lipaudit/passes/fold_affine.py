"""Batch norm, input normalisation and constant factors move into the linear map beside them.

    scale∘(Wx + b) + shift = (diag(scale)W)x + (scale∘b + shift)
    W(scale∘x + shift) + b = (W diag(scale))x + (W shift + b)
    s₂∘(s₁∘x + t₁) + t₂    = (s₂s₁)∘x + (s₂∘t₁ + t₂)

‖diag(scale)W‖ ≤ max|scale|·‖W‖, so the bound never grows, and usually falls a lot.  Per-channel factors
commute with every padding mode (padded cells copy cells of the same channel); the shift's way through
the padding is computed, not assumed: W shift is an image of its own where padding with zeros cuts it.

The products are rounded: `ulps` counts the two roundings of a fold (a product, and a sum in the bias; none
where float32 numbers are multiplied and nothing is added) and those behind `scale`, so bounds and forward
errors speak of the exact map; the roundings of the inner products in W shift number as many as those of the
layer itself, which its forward error counts anyway.
`bias_size` bounds the terms of the new bias before cancellation.

A diagonal map also moves past a reshape or permutation on its way to a dense layer:
move(scale∘x + shift) = move(scale)∘move(x) + move(shift).

Names go with the layers: budgets and waivers ask for them.  What was folded into a layer with weights stands
under that layer's name, a batch norm that is left over among them; two other diagonal maps under the second
one's (the first may be the preprocessing, which is no layer of the model), and what changes places takes its
name along.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node
from lipaudit.ops.arithmetic import Affine
from lipaudit.ops.conv import Convolution
from lipaudit.ops.linear import Linear
from lipaudit.ops.shape import Relayout
from lipaudit.passes.edit import edited, exchanged, single_use

__all__ = ["fold_affine"]

LARGEST = 4_000_000
"""Entries up to which a scale is spread out to move past a reshape."""
_LEARNED = "batch_norm"
"""Of diagonal maps, those with weights."""
SMALLEST_FACTOR, LARGEST_FACTOR = 2.0**-300, 2.0**300
"""Nothing outside is folded: products of two numbers inside, and their sums, stay far from float64's ends."""


def fold_affine(graph: LayerGraph) -> LayerGraph:
    """The same function with diagonal maps folded, as often as one can be."""
    while (folded := _next_fold(graph)) is not None:
        graph = folded
    return graph


def _next_fold(graph: LayerGraph) -> LayerGraph | None:
    """The graph after the first place where something folds."""
    for node in graph:
        before = graph.node(node.inputs[0]) if len(node.inputs) == 1 else None
        if before is None or not single_use(graph, before.name):
            continue
        merged = _merged(graph, before, node)
        if merged is None:
            swapped = _swapped(graph, before, node)
            if swapped is not None:
                return exchanged(graph, *swapped)
        elif merged.name == before.name:
            return edited(graph, {before.name: merged}, {node.name: before.name})
        else:
            return edited(graph, {node.name: merged})
    return None


def _merged(graph: LayerGraph, first: Node, second: Node) -> Node | None:
    """One node for two, or None."""
    a, b = first.op, second.op
    shape = graph.shape_of(first.inputs[0])
    if not (isinstance(a, Affine) or isinstance(b, Affine)) or not (_is_tame(a) and _is_tame(b)):
        return None
    op: Affine | Linear | Convolution | None = None
    if isinstance(b, Affine) and first.shape == second.shape:
        if isinstance(a, Convolution):
            op = _conv_then_scale(a, b)
        elif isinstance(a, Linear):
            op = _linear_then_scale(a, b, first.shape)
        elif isinstance(a, Affine) and shape == first.shape:
            op = _two_scales(a, b)
    elif isinstance(a, Affine) and shape == first.shape:
        if isinstance(b, Convolution):
            op = _scale_then_conv(a, b)
        elif isinstance(b, Linear):
            op = _scale_then_linear(a, b, first.shape)
    if op is None:
        return None
    learned = isinstance(a, Affine) and isinstance(b, Affine) and a.name == _LEARNED != b.name
    named = first if learned or not isinstance(a, Affine) else second
    return replace(named, op=op, inputs=first.inputs, shape=second.shape)


def _is_tame(op: object) -> bool:
    """Whether every nonzero constant of the op is far from the ends of float64."""
    if isinstance(op, Affine):
        constants = [op.scale, op.shift, op.shift_size]
    elif isinstance(op, Linear):
        constants = [op.weight, op.bias, op.bias_size]
    elif isinstance(op, Convolution):
        constants = [op.map.weight, op.bias, op.bias_size]
    else:
        return False
    sizes = [c.abs() for c in constants if c is not None]
    return all(bool(((s == 0) | ((s >= SMALLEST_FACTOR) & (s <= LARGEST_FACTOR))).all()) for s in sizes)


def _swapped(graph: LayerGraph, first: Node, second: Node) -> tuple[Node, Node] | None:
    """Affine, then a bijective relayout that a dense layer reads, in the other order."""
    a, move = first.op, second.op
    if not isinstance(a, Affine) or not isinstance(move, Relayout):
        return None
    readers = [n for n in graph if second.name in n.inputs]
    dense = len(readers) == 1 and isinstance(readers[0].op, Linear | Convolution | Relayout | Affine)
    cells = math.prod(first.shape)
    if not dense or cells > LARGEST or graph.shape_of(first.inputs[0]) != first.shape:
        return None
    if math.prod(second.shape) != cells or move.most_copies(first.shape) != 1:
        return None
    if not bool((move.sources(first.shape) >= 0).all()):
        return None  # a pad that crops as much as it adds is no permutation
    scale = a.scale if a.scale.numel() == 1 else _moved(move, a.scale, first.shape)
    size = a.shift if a.shift_size is None else a.shift_size
    moved = Affine(
        scale,
        _moved(move, a.shift, first.shape),
        a.ulps,
        _moved(move, size.abs(), first.shape),
        a.name,
    )
    return (
        replace(second, inputs=first.inputs),
        replace(first, op=moved, inputs=(second.name,), shape=second.shape),
    )


def _moved(move: Relayout, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    return move.forward(values.expand(shape)).contiguous()


def _per_channel(values: Tensor, channels: int, axes: int) -> Tensor | None:
    """`values` as (channels,) if it is constant over everything but the channel axis, else None."""
    if values.numel() == 1:
        return values.reshape(1).expand(channels)
    full = (
        values.reshape(*[1] * (axes + 2 - values.dim()), *values.shape) if values.dim() < axes + 2 else values
    )
    if full.dim() != axes + 2 or full.numel() != channels or full.shape[1] != channels:
        return None
    return full.reshape(channels)


def _conv_then_scale(conv: Convolution, affine: Affine) -> Convolution | None:
    axes, channels = len(conv.map.image), conv.map.out_shape[0]
    scale = _per_channel(affine.scale, channels, axes)
    if scale is None or affine.shift.dim() > axes + 2:
        return None
    column = scale.reshape(-1, *[1] * axes)
    weight = conv.map.weight
    if conv.map.transposed:
        # (c_in, c_out/groups, *k): output channel g·(c_out/groups) + j belongs to the inputs of group g.
        grouped = weight.reshape(conv.map.groups, -1, *weight.shape[1:])
        factors = scale.reshape(conv.map.groups, 1, -1, *[1] * axes)
        weight = (grouped * factors).reshape(weight.shape)
    else:
        weight = weight * column[:, None]
    bias = torch.zeros((), dtype=torch.float64) if conv.bias is None else conv.bias
    size = bias.abs() if conv.bias_size is None else conv.bias_size
    shift, shift_size = _shift(affine, axes + 2)
    return Convolution(
        conv.map.with_weight(weight),
        bias * column + shift,
        conv.ulps + affine.ulps + _roundings(affine, conv.map.weight, conv.bias),
        size * column.abs() + shift_size,
    )


def _scale_then_conv(affine: Affine, conv: Convolution) -> Convolution | None:
    axes, channels = len(conv.map.image), conv.map.in_shape[0]
    scale = _per_channel(affine.scale, channels, axes)
    if scale is None or affine.shift.dim() > axes + 2:
        return None
    weight = conv.map.weight
    if conv.map.transposed:
        weight = weight * scale.reshape(-1, *[1] * (axes + 1))
    else:
        # (c_out, c_in/groups, *k): input channel g·(c_in/groups) + i is read by the outputs of group g.
        grouped = weight.reshape(conv.map.groups, -1, *weight.shape[1:])
        factors = scale.reshape(conv.map.groups, 1, -1, *[1] * axes)
        weight = (grouped * factors).reshape(weight.shape)
    bias, size = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    if conv.bias is not None:
        bias, size = conv.bias, conv.bias.abs() if conv.bias_size is None else conv.bias_size
    shift, shift_size = _shift(affine, axes + 2)
    image = (1, *conv.map.in_shape)
    if bool(shift_size.any()):
        absolute = conv.map.with_weight(conv.map.weight.abs())
        bias = conv.map.apply(shift.expand(image))[0] + bias
        size = absolute.apply(shift_size.expand(image))[0] + size
    ulps = conv.ulps + affine.ulps + _roundings(affine, conv.map.weight)
    return Convolution(conv.map.with_weight(weight), bias, ulps, size)


def _roundings(affine: Affine, *taken: Tensor | None) -> int:
    """Two: of a product, and of a sum in the bias; none where nothing is added and the products are exact.

    Args:
        affine: what is folded.
        taken: what its factors are multiplied with.  Numbers of 24 bits have products of 48.
    """
    narrow = all(t is None or torch.equal(t, t.float().double()) for t in (affine.scale, *taken))
    added = affine.shift if affine.shift_size is None else affine.shift_size
    return 0 if narrow and not bool(added.any()) else 2


def _shift(affine: Affine, dims: int) -> tuple[Tensor, Tensor]:
    """The shift and its size without the batch axis."""
    size = affine.shift.abs() if affine.shift_size is None else affine.shift_size
    return tuple(t[0] if t.dim() == dims else t for t in (affine.shift, size))  # type: ignore[return-value]


def _linear_then_scale(linear: Linear, affine: Affine, shape: tuple[int, ...]) -> Linear | None:
    features = linear.weight.shape[0]
    scale, shift = _last_axis(affine.scale, features), _last_axis(affine.shift, features)
    size = _last_axis(affine.shift.abs() if affine.shift_size is None else affine.shift_size, features)
    if scale is None or shift is None or size is None or shape[-1] != features:
        return None
    bias = linear.weight.new_zeros(features) if linear.bias is None else linear.bias
    old = bias.abs() if linear.bias_size is None else linear.bias_size
    return Linear(
        linear.weight * scale[:, None],
        bias * scale + shift,
        linear.ulps + affine.ulps + _roundings(affine, linear.weight, linear.bias),
        old * scale.abs() + size,
        linear.name,
    )


def _scale_then_linear(affine: Affine, linear: Linear, shape: tuple[int, ...]) -> Linear | None:
    features = linear.weight.shape[1]
    scale, shift = _last_axis(affine.scale, features), _last_axis(affine.shift, features)
    size = _last_axis(affine.shift.abs() if affine.shift_size is None else affine.shift_size, features)
    if scale is None or shift is None or size is None or shape[-1] != features:
        return None
    bias = linear.weight.new_zeros(len(linear.weight)) if linear.bias is None else linear.bias
    old = bias.abs() if linear.bias_size is None else linear.bias_size
    return Linear(
        linear.weight * scale,
        linear.weight @ shift + bias,
        linear.ulps + affine.ulps + _roundings(affine, linear.weight),
        linear.weight.abs() @ size + old,
        linear.name,
    )


def _last_axis(values: Tensor, features: int) -> Tensor | None:
    if values.numel() == 1:
        return values.reshape(1).expand(features)
    if values.numel() != features or values.shape[-1] != features:
        return None
    return values.reshape(features)


def _two_scales(first: Affine, second: Affine) -> Affine:
    size1 = first.shift.abs() if first.shift_size is None else first.shift_size
    size2 = second.shift.abs() if second.shift_size is None else second.shift_size
    return Affine(
        second.scale * first.scale,
        second.scale * first.shift + second.shift,
        first.ulps + second.ulps + 2,
        second.scale.abs() * size1 + size2,
        second.name if first.name == "affine" or second.name == _LEARNED else first.name,
    )
