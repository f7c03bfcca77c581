"""Operations that only move numbers: each output cell copies one input cell or holds a constant.

Such a map is linear (affine with constant padding), and TᵀT is diagonal with the number of copies of
each cell, so ‖T‖ = √(max copies) exactly.  The copies are counted, never derived: indices 1 … n are
pushed through the operation itself (0 marks constant cells), which covers views, permutations, slices,
strided and repeated indexing, expansion, padding in every mode and nearest upsampling alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from lipaudit.graph.node import BoundMap, Gain, Shape
from lipaudit.ops.spec import Args, Exact, OpSpec, Untranslatable
from lipaudit.rounding import sqrt_up

__all__ = ["ROWS", "Relayout"]

MOST_CELLS = 2**53
"""Indices are float64: beyond this they would collide."""


@dataclass(frozen=True, slots=True, eq=False)
class Relayout(Exact):
    """y = move(x), where `move` copies cells or fills in constants; `trace` is the same with fill 0.

    Args:
        name: the operation.
        move: what runs.
        trace: what is counted; differs from `move` only in filling with 0.
        attributes: what passes want to know (a pad's widths and mode).
    """

    name: str
    move: Callable[[Tensor], Tensor]
    trace: Callable[[Tensor], Tensor]
    attributes: dict[str, Any] = field(default_factory=dict)

    def forward(self, *xs: Tensor) -> Tensor:
        """The map itself."""
        return self.move(xs[0])

    def sources(self, shape: Shape) -> Tensor:
        """For each output cell the input cell it copies (flat index), −1 for a constant; int64."""
        cells = math.prod(shape)
        indices = torch.arange(1, cells + 1, dtype=torch.float64).reshape(shape)
        return self.trace(indices).long() - 1

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """√(max copies)."""
        del spectral
        return Gain.of(sqrt_up(self.most_copies(shapes[0])), "copies")

    def most_copies(self, shape: Shape) -> int:
        """The largest number of output cells that copy one input cell."""
        if math.prod(shape) >= MOST_CELLS:
            msg = "tensor too large to count copies"
            raise ValueError(msg)
        sources = self.sources(shape).flatten()
        sources = sources[sources >= 0]
        return int(sources.bincount().max()) if sources.numel() else 0


def _move(name: str, move: Callable[[Tensor], Tensor]) -> Relayout:
    return Relayout(name, move, move)


def _view(args: Args) -> Relayout:
    args.ref("self")
    args.ignore("size", "shape", "start_dim", "end_dim", "sizes", "dim", "memory_format")
    target = args.output
    return _move("reshape", lambda x: x.reshape(target))


def _simple(name: str, function: Callable[..., Tensor], *attributes: str) -> Callable[[Args], Relayout]:
    def translate(args: Args) -> Relayout:
        args.ref("self")
        values = [args.attr(a) for a in attributes]
        return _move(name, lambda x: function(x, *values))

    return translate


def _expand(args: Args) -> Relayout:
    args.ref("self")
    args.ignore("size", "implicit")
    target = args.output
    return _move("expand", lambda x: x.expand(target))


def _select(args: Args) -> Relayout:
    args.ref("self")
    dim, index = args.attr("dim"), args.attr("index")
    return _move("select", lambda x: x.select(dim, index))


def _slice(args: Args) -> Relayout:
    shape = args.ref("self")
    dim, step = args.attr("dim"), args.attr("step")
    start, end = args.attr("start"), args.attr("end")
    indices = torch.arange(shape[dim])[slice(start, end, step)]
    return _move("slice", lambda x: x.index_select(dim, indices.to(x.device)))


def _index_select(args: Args) -> Relayout:
    args.ref("self")
    dim, indices = args.attr("dim"), args.const("index").long()
    return _move("gather", lambda x: x.index_select(dim, indices.to(x.device)))


def _index(args: Args) -> Relayout:
    args.ref("self")
    given = args.attr("indices")
    if any(i is not None and not isinstance(i, Tensor) for i in given):
        raise Untranslatable("indexing by values that depend on the input is discontinuous")
    if any(i is not None and i.dtype not in (torch.int64, torch.int32) for i in given):
        raise Untranslatable("indexing by a mask has no rule")
    key = tuple(slice(None) if i is None else i.long() for i in given)
    return _move("index", lambda x: x[key])


def _gather(args: Args) -> Relayout:
    args.ref("self")
    args.ignore("sparse_grad")
    dim, index = args.attr("dim"), args.const("index").long()
    return _move("gather", lambda x: torch.gather(x, dim, index.to(x.device)))


def _unsqueeze(args: Args) -> Relayout:
    args.ref("self")
    args.attr("dim")
    target = args.output
    return _move("reshape", lambda x: x.reshape(target))


def _pad(args: Args) -> Relayout:
    args.ref("self")
    widths = list(args.attr("pad"))
    mode = args.attr("mode") if "mode" in args.values else "constant"
    value = args.attr("value") if "value" in args.values else 0
    return padding(widths, mode, float(value or 0))


def padding(widths: list[int], mode: str, value: float = 0.0) -> Relayout:
    """torch's pad as a relayout: `widths` from the last axis on, (left, right) each."""
    if mode == "constant":
        return Relayout(
            "pad",
            lambda x: F.pad(x, widths, value=value),
            lambda x: F.pad(x, widths),
            {"widths": widths, "mode": "zeros" if value == 0 else "constant"},
        )

    def move(x: Tensor) -> Tensor:
        return F.pad(x, widths, mode=mode)

    return Relayout("pad", move, move, {"widths": widths, "mode": mode})


def _pad_mode(mode: str) -> Callable[[Args], Relayout]:
    def translate(args: Args) -> Relayout:
        args.ref("self")
        return padding(list(args.attr("padding" if "padding" in args.values else "pad")), mode)

    return translate


def _upsample_nearest(args: Args) -> Relayout:
    shape = args.ref("self" if "self" in args.values else "input")
    args.ignore("output_size")
    axes, size = len(shape) - 2, list(args.output[2:])
    if "scale_factors" in args.values:
        scales = list(args.attr("scale_factors") or [None] * axes)
    else:
        names = ("scales",) if axes == 1 else ("scales_d", "scales_h", "scales_w")[-axes:]
        scales = [args.attr(name) for name in names]
    # The source cell follows from the stated scale, which need not be the quotient of the extents.
    upsample = (
        torch.ops.aten.upsample_nearest1d,
        torch.ops.aten.upsample_nearest2d,
        torch.ops.aten.upsample_nearest3d,
    )[axes - 1].default
    return _move("upsample_nearest", lambda x: upsample(x, size, *scales))


def _identity(args: Args) -> Relayout:
    args.ref("self")
    args.ignore("memory_format")
    return _move("identity", lambda x: x)


def _cast(args: Args) -> Relayout:
    """A change between float32 and float64 is the identity in real arithmetic (others are refused before)."""
    source = "self" if "self" in args.values else "input"
    args.ref(source)
    args.ignore(*args.values)
    if args.is_floating(source):
        return _move("identity", lambda x: x)
    # Whole numbers and truth values come from operations without a bound, and still have to run.
    return _move("cast", lambda x: x if x.is_floating_point() else x.double())


def _dropout(args: Args) -> Relayout:
    args.ref("input")
    args.ignore("p")
    if args.attr("train"):
        raise Untranslatable("dropout in training mode is random: export the model in eval mode")
    return _move("identity", lambda x: x)


def _split(args: Args) -> tuple[Relayout, ...]:
    shape = args.ref("self")
    dim = args.attr("dim")
    sizes = args.attr("split_size" if "split_size" in args.values else "split_sizes")
    if isinstance(sizes, int):
        sizes = [min(sizes, shape[dim] - start) for start in range(0, shape[dim], sizes)]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(_narrow(dim, start, size) for start, size in zip(starts, sizes, strict=True))


def _chunk(args: Args) -> tuple[Relayout, ...]:
    shape, dim = args.ref("self"), args.attr("dim")
    pieces = torch.arange(shape[dim]).chunk(args.attr("chunks"))
    return tuple(_narrow(dim, int(piece[0]), len(piece)) for piece in pieces)


def _narrow(dim: int, start: int, size: int) -> Relayout:
    return _move("slice", lambda x: x.narrow(dim, start, size))


def _unbind(args: Args) -> tuple[Relayout, ...]:
    shape, dim = args.ref("self"), args.attr("dim")
    return tuple(_simple_select(dim, index) for index in range(shape[dim]))


def _simple_select(dim: int, index: int) -> Relayout:
    return _move("select", lambda x: x.select(dim, index))


ROWS = (
    OpSpec(
        ("aten.view.default", "aten._unsafe_view.default", "aten.reshape.default",
         "aten.flatten.using_ints", "aten.unflatten.int", "aten.squeeze.default", "aten.squeeze.dim",
         "aten.squeeze.dims", "aten._reshape_copy.default", "aten.view_copy.default"),
        _view,
    ),
    OpSpec(("aten.unsqueeze.default",), _unsqueeze),
    OpSpec(("aten.permute.default",), _simple("permute", torch.permute, "dims")),
    OpSpec(("aten.transpose.int",), _simple("permute", torch.transpose, "dim0", "dim1")),
    OpSpec(("aten.t.default",), _simple("permute", torch.t)),
    OpSpec(("aten.flip.default",), _simple("flip", torch.flip, "dims")),
    OpSpec(("aten.roll.default",), _simple("roll", torch.roll, "shifts", "dims")),
    OpSpec(("aten.repeat.default",), _simple("repeat", lambda x, r: x.repeat(r), "repeats")),
    OpSpec(("aten.pixel_shuffle.default",), _simple("pixel_shuffle", F.pixel_shuffle, "upscale_factor")),
    OpSpec(
        ("aten.pixel_unshuffle.default",), _simple("pixel_unshuffle", F.pixel_unshuffle, "downscale_factor")
    ),
    OpSpec(("aten.channel_shuffle.default",), _simple("channel_shuffle", F.channel_shuffle, "groups")),
    OpSpec(("aten.unfold.default",), _simple("unfold", torch.Tensor.unfold, "dimension", "size", "step")),
    OpSpec(
        ("aten.im2col.default",),
        _simple("im2col", F.unfold, "kernel_size", "dilation", "padding", "stride"),
    ),
    OpSpec(("aten.expand.default",), _expand),
    OpSpec(("aten.select.int",), _select),
    OpSpec(("aten.slice.Tensor",), _slice),
    OpSpec(("aten.index_select.default",), _index_select),
    OpSpec(("aten.index.Tensor",), _index),
    OpSpec(("aten.gather.default",), _gather),
    OpSpec(("aten.pad.default", "aten.constant_pad_nd.default"), _pad),
    OpSpec(("aten._pad_circular.default",), _pad_mode("circular")),
    OpSpec(tuple(f"aten.reflection_pad{d}d.default" for d in (1, 2, 3)), _pad_mode("reflect")),
    OpSpec(tuple(f"aten.replication_pad{d}d.default" for d in (1, 2, 3)), _pad_mode("replicate")),
    OpSpec(
        tuple(f"aten.upsample_nearest{d}d.{kind}" for d in (1, 2, 3) for kind in ("default", "vec")),
        _upsample_nearest,
    ),
    OpSpec(
        ("aten.alias.default", "aten.detach.default", "aten.lift_fresh_copy.default",
         "aten.contiguous.default"),
        _identity,
    ),
    OpSpec(("aten.clone.default", "aten._to_copy.default", "aten.to.dtype", "aten.to.device",
            "aten.type_as.default"), _cast),
    OpSpec(("aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default"), _dropout),
    OpSpec(("aten.split.Tensor", "aten.split_with_sizes.default", "aten.split.sizes"), _split),
    OpSpec(("aten.chunk.default",), _chunk),
    OpSpec(("aten.unbind.int",), _unbind),
)  # fmt: skip
