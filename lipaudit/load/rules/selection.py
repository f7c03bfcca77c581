"""Slices, gathers, scatters and splits by constant indices.

Indices that depend on the input make a function without a Lipschitz constant; they are refused.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lipaudit.load.converters import NodeArgs, Rule, Unconvertible

__all__ = ["RULES"]


def _slice(args: NodeArgs) -> Callable[..., Tensor]:
    starts, ends = args.ints_of("starts", 1), args.ints_of("ends", 2)
    axes, steps = args.ints_of("axes", 3), args.ints(4)
    if starts is None or ends is None:
        raise Unconvertible("starts or ends are missing")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps

    extents = [args.shape(0)[axis] for axis in axes]
    picks = [
        _picked(start, end, step, extent)
        for start, end, step, extent in zip(starts, ends, steps, extents, strict=True)
    ]
    for pick in picks:
        if pick.step < 0:
            args.append(np.array(pick, dtype=np.int64))

    def run(x: Tensor, *backwards: Tensor) -> Tensor:
        indices = iter(backwards)
        for axis, pick in zip(axes, picks, strict=True):
            if pick.step < 0:
                x = x.index_select(axis, next(indices))
            else:
                stop = max(pick.stop, pick.start)
                x = torch.ops.aten.slice.Tensor(x, axis % x.dim(), pick.start, stop, pick.step)
        return x

    return run


def _picked(start: int, end: int, step: int, extent: int) -> range:
    """The indices a slice picks.

    As the specification clamps them, which differs from Python where a bound lies before the first entry.
    """
    start, end = (n + extent if n < 0 else n for n in (start, end))
    if step > 0:
        return range(min(max(start, 0), extent), min(max(end, 0), extent), step)
    return range(min(max(start, 0), extent - 1), min(max(end, -1), extent - 1), step)


def _gather(args: NodeArgs) -> Callable[..., Tensor]:
    axis = int(args.attr("axis", 0))
    indices = args.const(1)
    if indices is None:
        raise Unconvertible("indices are missing")
    extent = args.shape(0)[axis]
    flat = np.where(indices < 0, indices + extent, indices).astype(np.int64)
    if flat.size and not (flat.min() >= 0 and flat.max() < extent):
        raise Unconvertible("an index lies outside of the tensor")
    if flat.ndim == 0:
        single = int(flat)
        return lambda x: x.select(axis, single)
    args.append(flat.reshape(-1))
    shape = list(flat.shape)

    def run(x: Tensor, index: Tensor) -> Tensor:
        rows = x.index_select(axis, index)
        at = axis % x.dim()
        return rows if len(shape) == 1 else rows.reshape([*x.shape[:at], *shape, *x.shape[at + 1 :]])

    return run


def _gather_elements(args: NodeArgs) -> Callable[..., Tensor]:
    axis = int(args.attr("axis", 0))
    indices = args.const(1)
    if indices is None:
        raise Unconvertible("indices are missing")
    extent = args.shape(0)[axis]
    args.append(np.where(indices < 0, indices + extent, indices).astype(np.int64))
    return lambda x, index: torch.gather(x, axis, index)


def _coordinates(args: NodeArgs) -> list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    """Index tuples along the last axis → one array per indexed axis, negatives resolved."""
    indices = args.const(1)
    if indices is None:
        raise Unconvertible("indices are missing")
    shape = args.shape(0)
    columns = [indices[..., i].astype(np.int64) for i in range(indices.shape[-1])]
    return [np.where(column < 0, column + n, column) for column, n in zip(columns, shape, strict=False)]


def _gather_nd(args: NodeArgs) -> Callable[..., Tensor]:
    if int(args.attr("batch_dims", 0)):
        raise Unconvertible("batch_dims is not supported")
    columns = _coordinates(args)
    for column in columns:
        args.append(column)
    return lambda x, *index: x[tuple(index)]


def _scatter_nd(args: NodeArgs) -> Callable[..., Tensor]:
    if args.attr("reduction", "none") != "none":
        raise Unconvertible("a reduction is not supported")
    columns = _coordinates(args)
    for column in columns:
        args.append(column)
    return lambda x, updates, *index: x.index_put(tuple(index), updates)


def _scatter_elements(args: NodeArgs) -> Callable[..., Tensor]:
    axis = int(args.attr("axis", 0))
    if args.attr("reduction", "none") != "none":
        raise Unconvertible("a reduction is not supported")
    indices = args.const(1)
    if indices is None:
        raise Unconvertible("indices are missing")
    extent = args.shape(0)[axis]
    args.append(np.where(indices < 0, indices + extent, indices).astype(np.int64))
    return lambda x, updates, index: x.scatter(axis, index, updates)


def _split(args: NodeArgs) -> Callable[..., Tensor | tuple[Tensor, ...]]:
    axis = int(args.attr("axis", 0))
    sizes = args.ints_of("split", 1)
    parts = int(args.attr("num_outputs", args.outputs))

    def run(x: Tensor) -> Tensor | tuple[Tensor, ...]:
        extent = x.shape[axis]
        piece = -(-extent // parts)
        even = [min(piece, extent - i * piece) for i in range(parts)]
        pieces: tuple[Tensor, ...] = torch.split(x, sizes or even, axis)
        return pieces if len(pieces) > 1 else pieces[0]

    return run


def _top_k(args: NodeArgs) -> Callable[..., tuple[Tensor, ...]]:
    axis = int(args.attr("axis", -1))
    count = args.ints_of("k", 1)
    largest, in_order = bool(args.attr("largest", 1)), bool(args.attr("sorted", 1))
    if not count:
        raise Unconvertible("k is missing")
    if not in_order and count[0] > 1:
        raise Unconvertible("sorted=0 leaves the order of what it returns to each runtime")
    return lambda x: torch.topk(x, count[0], axis, largest)


RULES: dict[str, Rule] = {
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterND": _scatter_nd,
    "ScatterElements": _scatter_elements,
    "Scatter": _scatter_elements,
    "Split": _split,
    "TopK": _top_k,
}
