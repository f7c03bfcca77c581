"""Places of two graphs, and whether what stands there is the same function of its own inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.errors import Incomplete
from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node, Op, Shape
from lipaudit.ops.shape import Relayout

__all__ = ["Place", "compensated", "functions_differ", "is_view", "source"]

_SCALES = (1.0, 100.0)
_SEED = 20240229
_CHAIN = 4
"""So many layers behind one that differs may make up for it: 1/6 folded into a layer before a clamp, say."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One node of each graph that correspond, or nodes of either without a counterpart."""

    ours: tuple[Node, ...]
    theirs: tuple[Node, ...]
    paired: bool


def compensated(graphs: tuple[LayerGraph, LayerGraph], places: Sequence[Place], tolerance: float) -> int:
    """How many places, the first included, are one function together though not one by one; 0 if none."""
    first = places[0]
    x, y = first.ours[0], first.theirs[0]
    shapes = tuple(graphs[0].shape_of(name) for name in x.inputs)
    theirs = tuple(graphs[1].shape_of(name) for name in y.inputs)
    for count in range(2, min(_CHAIN, len(places)) + 1):
        last = places[count - 1]
        if not last.paired:
            return 0
        ours, others = _chain(graphs[0], x, last.ours[0]), _chain(graphs[1], y, last.theirs[0])
        if not ours or not others or [_cells(s) for s in shapes] != [_cells(s) for s in theirs]:
            return 0
        if not functions_differ(ours, others, shapes, theirs, tolerance):
            return count
    return 0


def _chain(graph: LayerGraph, start: Node, end: Node) -> list[Op]:
    """The ops from one node to another if nothing else enters or leaves in between; else none."""
    found = [end.op]
    node = end
    while node.name != start.name:
        before = graph.node(node.inputs[0]) if len(node.inputs) == 1 else None
        if before is None or graph.uses(before.name) != 1:
            return []
        node = before
        found.append(node.op)
    return found[::-1]


def _cells(shape: Shape) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _run(ops: Sequence[Op], xs: Sequence[Tensor]) -> Tensor:
    value = ops[0].forward(*xs)
    for op in ops[1:]:
        value = op.forward(value)
    return value


def functions_differ(
    one: Sequence[Op],
    other: Sequence[Op],
    shapes: tuple[Shape, ...],
    theirs: tuple[Shape, ...],
    tolerance: float,
) -> str:
    """Run two chains of ops on the same random tensors; how they differ, empty if they do not."""
    draw = torch.Generator().manual_seed(_SEED)
    for scale in _SCALES:
        xs = [scale * torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]
        try:
            with torch.no_grad():
                left = _run(one, xs).flatten()
                right = _run(other, [x.reshape(s) for x, s in zip(xs, theirs, strict=True)]).flatten()
        except (Incomplete, RuntimeError):
            return ""
        if left.shape != right.shape:
            return f"{left.numel()} outputs against {right.numel()}"
        size = max(float(left.norm()), float(right.norm()))
        distance = float((left - right).norm())
        if distance > tolerance * size:
            return (
                _ratio(left, right) or f"on the same inputs they differ by {distance / size:.2g} (relative)"
            )
    return ""


def _ratio(left: Tensor, right: Tensor) -> str:
    """`4 times as large`, if that is all."""
    energy = float(right @ right)
    factor = float(left @ right) / energy if energy else 0.0
    if factor and float((left - factor * right).norm()) <= 1e-6 * float(left.norm()):
        return f"the first gives {factor:.6g} times what the second gives"
    return ""


def is_view(node: Node) -> bool:
    """Whether it only looks at its input in another shape."""
    return isinstance(node.op, Relayout) and node.op.name in ("reshape", "clone", "identity", "contiguous")


def source(graph: LayerGraph, name: str) -> str:
    """The value behind views."""
    node = graph.node(name)
    while node is not None and is_view(node):
        name = node.inputs[0]
        node = graph.node(name)
    return name
