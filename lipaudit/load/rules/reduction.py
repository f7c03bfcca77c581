"""Reductions and softmax.

Axes are an attribute in older opsets and an operand in newer ones; before opset 13 softmax flattens its
tensor into a matrix at `axis` first.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lipaudit.load.converters import NodeArgs, Rule

__all__ = ["RULES"]

_Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001 - torch's order
    for axis in sorted((a % x.dim() for a in axes), reverse=True):
        x = x.prod(axis, keep)
    return x


_FUNCTIONS: dict[str, _Reduce] = {
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keep),
    "ReduceProd": _product,
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axes, keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": torch.logsumexp,
}


def _reduction(function: _Reduce) -> Rule:
    def rule(args: NodeArgs) -> Callable[..., Tensor]:
        keep = bool(args.attr("keepdims", 1))
        axes = args.ints_of("axes", 1)
        nothing = bool(args.attr("noop_with_empty_axes", 0)) and not axes
        if nothing:
            # No axis is reduced, but what is done to each number (|x|, x², …) is done all the same.
            return lambda x: function(x.unsqueeze(-1), [-1], False)
        return lambda x: function(x, axes or list(range(x.dim())), keep)

    return rule


def _softmax(function: Callable[..., Tensor]) -> Rule:
    def rule(args: NodeArgs) -> Callable[..., Tensor]:
        axis = int(args.attr("axis", 1 if args.opset < 13 else -1))
        if args.opset >= 13:
            return lambda x: function(x, dim=axis)

        def flattened(x: Tensor) -> Tensor:
            start = axis % x.dim() if x.dim() else 0
            long = [a for a in range(start, x.dim()) if x.shape[a] > 1]
            if len(long) <= 1:  # the matrix has one axis of this tensor as its rows: no need to flatten
                return function(x, dim=long[0] if long else start)
            return function(x.flatten(start), dim=-1).reshape(x.shape)

        return flattened

    return rule


def _cumsum(args: NodeArgs) -> Callable[..., Tensor]:
    axis, exclusive, reverse = int(args.scalar(1)), args.attr("exclusive", 0), args.attr("reverse", 0)

    def run(x: Tensor) -> Tensor:
        x = x.flip(axis) if reverse else x
        total = torch.cumsum(x, axis)
        if exclusive:
            # Shifted by one cell, not total − x: that would round.
            first = torch.zeros_like(total.narrow(axis, 0, 1))
            total = torch.cat([first, total.narrow(axis, 0, total.shape[axis] - 1)], axis)
        return total.flip(axis) if reverse else total

    return run


RULES: dict[str, Rule] = {
    "CumSum": _cumsum,
    **{name: _reduction(function) for name, function in _FUNCTIONS.items()},
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
}
