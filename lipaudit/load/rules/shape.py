"""Operators that rearrange or copy numbers: reshapes, permutations, padding, tiling, casts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from onnx import TensorProto, helper
from torch import Tensor

from lipaudit.load.converters import NodeArgs, Rule, Unconvertible
from lipaudit.load.rules.padding import torch_order

__all__ = ["RULES"]

_MODES = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}


_NARROW = {
    int(TensorProto.BFLOAT16): torch.bfloat16,
}
"""Types that numpy does not have; eight-bit floats are refused."""


def _identity(args: NodeArgs) -> Callable[..., Tensor]:
    del args
    return lambda x: x


def _dropout(args: NodeArgs) -> Callable[..., Tensor]:
    """Dropout in inference is the identity; training_mode is the third operand since opset 12."""
    args.one_output()
    args.attr("ratio", 0.5)
    args.attr("seed", 0)
    args.attr("is_test", 1)
    args.attr("consumed_inputs", None)
    args.const(1)
    training = args.const(2)
    if training is not None and bool(training.reshape(-1)[0]):
        raise Unconvertible("training_mode is on, which draws random numbers; export in eval mode")
    return lambda x: x


def _reshape(args: NodeArgs) -> Callable[..., Tensor]:
    shape = args.ints_of("shape", 1)
    zero_is_zero = bool(args.attr("allowzero", 0))
    args.attr("consumed_inputs", None)
    if shape is None:
        raise Unconvertible("the target shape is missing")

    def run(x: Tensor) -> Tensor:
        target = [x.shape[i] if n == 0 and not zero_is_zero else n for i, n in enumerate(shape)]
        return x.reshape(target)

    return run


def _flatten(args: NodeArgs) -> Callable[..., Tensor]:
    axis = int(args.attr("axis", 1))

    def run(x: Tensor) -> Tensor:
        at = axis % x.dim() if axis < 0 else axis
        rows = 1
        for extent in x.shape[:at]:
            rows *= extent
        return x.reshape(rows, -1)

    return run


def _squeeze(args: NodeArgs) -> Callable[..., Tensor]:
    axes = args.ints_of("axes", 1)

    def run(x: Tensor) -> Tensor:
        gone = [i for i, n in enumerate(x.shape) if n == 1] if axes is None else [a % x.dim() for a in axes]
        return x.reshape([n for i, n in enumerate(x.shape) if i not in gone])

    return run


def _unsqueeze(args: NodeArgs) -> Callable[..., Tensor]:
    axes = args.ints_of("axes", 1)
    if axes is None:
        raise Unconvertible("axes are missing")

    def run(x: Tensor) -> Tensor:
        rank = x.dim() + len(axes)
        for axis in sorted(a % rank for a in axes):
            x = x.unsqueeze(axis)
        return x

    return run


def _transpose(args: NodeArgs) -> Callable[..., Tensor]:
    order = args.attr("perm", None)
    return lambda x: x.permute(list(order) if order is not None else list(range(x.dim()))[::-1])


def _expand(args: NodeArgs) -> Callable[..., Tensor]:
    shape = args.ints(1)
    if shape is None:
        raise Unconvertible("the target shape is missing")
    return lambda x: x.expand(np.broadcast_shapes(tuple(x.shape), tuple(shape)))


def _tile(args: NodeArgs) -> Callable[..., Tensor]:
    repeats = args.ints(1)
    if repeats is None or args.has(2):
        raise Unconvertible("this form of Tile is not supported")
    return lambda x: x.repeat(repeats)


def _concat(args: NodeArgs) -> Callable[..., Tensor]:
    axis = int(args.attr("axis", 1))
    return lambda *xs: torch.cat(xs, axis)


def _pad(args: NodeArgs) -> Callable[..., Tensor]:
    mode = args.attr("mode", "constant")
    value = float(args.attr("value", 0.0))
    pads = args.ints_of("pads", 1)
    pads = pads if pads is not None else [int(n) for n in args.attr("paddings")]
    if args.has(2):
        value = float(args.scalar(2))
    rank = len(args.shape(0))
    axes = args.ints(3)
    axes = list(range(len(pads) // 2)) if axes is None else [a % rank for a in axes]
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = pads[i], pads[i + len(axes)]
    if mode == "constant":
        last = torch_order(before, after)
        while len(last) > 2 and last[-2:] == [0, 0]:
            last = last[:-2]
        return lambda x: F.pad(x, last, value=value)
    if mode not in _MODES:
        msg = f"mode {mode!r} is not known"
        raise Unconvertible(msg)
    if rank < 3 or any(before[:2] + after[:2]):
        msg = f"mode {mode!r} on batch or channel axes is not supported"
        raise Unconvertible(msg)
    return lambda x: F.pad(x, torch_order(before[2:], after[2:]), mode=_MODES[mode])


def _depth_to_space(args: NodeArgs) -> Callable[..., Tensor]:
    size = int(args.attr("blocksize"))
    if args.attr("mode", "DCR") == "CRD":
        return lambda x: F.pixel_shuffle(x, size)

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        blocks = x.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return blocks.reshape(n, c // size**2, h * size, w * size)

    return run


def _space_to_depth(args: NodeArgs) -> Callable[..., Tensor]:
    size = int(args.attr("blocksize"))

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
        return blocks.reshape(n, c * size**2, h // size, w // size)

    return run


def _torch_type(kind: int) -> torch.dtype:
    """torch's name for an ONNX element type.

    Raises:
        Unconvertible: it has none.
    """
    if kind in _NARROW:
        return _NARROW[kind]
    try:
        return torch.from_numpy(np.empty(0, dtype=helper.tensor_dtype_to_np_dtype(kind))).dtype
    except (TypeError, KeyError, ValueError):
        msg = f"a cast to type {kind} is not supported"
        raise Unconvertible(msg) from None


def _kind_of(args: NodeArgs, index: int) -> int:
    """The element type of a constant operand, whose numbers do not matter."""
    value = args.const(index)
    if value is None:
        raise Unconvertible("the operand that tells the type is missing")
    return int(helper.np_dtype_to_tensor_dtype(value.dtype))


def _cast(args: NodeArgs) -> Callable[..., Tensor]:
    """A cast stays an operation: what is rounded by it is judged later."""
    target = args.attr("to")
    args.attr("saturate", 1)  # concerns eight-bit floats only
    args.attr("round_mode", "up")
    if isinstance(target, str):
        raise Unconvertible("a cast to a type given by name is not supported")
    dtype = _torch_type(int(target))
    return lambda x: x.to(dtype)


def _cast_like(args: NodeArgs) -> Callable[..., Tensor]:
    args.attr("saturate", 1)
    args.attr("round_mode", "up")
    dtype = _torch_type(_kind_of(args, 1))
    return lambda x: x.to(dtype)


RULES: dict[str, Rule] = {
    "Identity": _identity,
    "Dropout": _dropout,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Expand": _expand,
    "Tile": _tile,
    "Concat": _concat,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Cast": _cast,
    "CastLike": _cast_like,
}
