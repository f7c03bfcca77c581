"""Elementwise functions and arithmetic, with their constants as stored."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from lipaudit.load.converters import NodeArgs, Rule, Unconvertible

__all__ = ["RULES"]

_Function = Callable[..., Tensor]

_PLAIN: dict[str, _Function] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Equal": torch.eq,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "HardSwish": F.hardswish,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Log": torch.log,
    "Mish": F.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
    "Where": torch.where,
}


def _plain(function: _Function) -> Rule:
    def rule(args: NodeArgs) -> _Function:
        args.attr("consumed_inputs", None)
        return function

    return rule


def _arithmetic(function: _Function) -> Rule:
    """Add, Sub, Mul, Div; before opset 7 the second operand is aligned at `axis`."""

    def rule(args: NodeArgs) -> _Function:
        args.attr("broadcast", 0)
        args.attr("consumed_inputs", None)
        axis = args.attr("axis", None)
        if axis is None or args.opset >= 7:
            return function

        def aligned(a: Tensor, b: Tensor) -> Tensor:
            start = axis % a.dim()
            return function(a, b.reshape(list(b.shape) + [1] * (a.dim() - start - b.dim())))

        return aligned

    return rule


def _power(args: NodeArgs) -> _Function:
    exponent = args.operands[1]
    args.attr("broadcast", 0)
    if exponent is None or exponent.size != 1:
        return torch.pow
    value = float(args.scalar(1))
    return lambda x: torch.pow(x, value)


def _variadic(function: _Function) -> Rule:
    def rule(args: NodeArgs) -> _Function:
        args.attr("consumed_inputs", None)
        return lambda *xs: reduce(function, xs)

    return rule


def _extreme(pairwise: _Function, *, lowest: bool) -> Rule:
    """Max and Min; against one constant number they are a clamp."""

    def rule(args: NodeArgs) -> _Function:
        args.attr("consumed_inputs", None)
        for index in range(1, -1, -1):
            value = args.operands[index] if len(args.names) == 2 and args.has(index) else None
            if value is not None and value.size == 1 and value.ndim <= 1 and args.live(1 - index):
                bound = float(args.scalar(index))
                return lambda x: torch.clamp(x, bound if lowest else None, None if lowest else bound)
        return lambda *xs: reduce(pairwise, xs)

    return rule


def _mean(args: NodeArgs) -> _Function:
    count = len(args.names)
    return lambda *xs: reduce(torch.add, xs) / count


def _clip(args: NodeArgs) -> _Function:
    low, high = args.attr("min", None), args.attr("max", None)
    args.attr("consumed_inputs", None)
    low = args.scalar(1) if args.has(1) else low
    high = args.scalar(2) if args.has(2) else high
    # Opset 6 writes "no bound" as the largest float; clamping there changes no finite number.
    largest = float(np.finfo(np.float32).max)
    minimum = None if low is None or low <= -largest else float(low)
    maximum = None if high is None or high >= largest else float(high)
    if minimum is None and maximum is None:
        return lambda x: x
    return lambda x: torch.clamp(x, minimum, maximum)


def _elu(args: NodeArgs) -> _Function:
    alpha = float(args.attr("alpha", 1.0))
    return lambda x: F.elu(x, alpha)


def _selu(args: NodeArgs) -> _Function:
    # ATen's selu has constants of its own, which differ from ONNX's in the eighth digit.
    alpha = float(args.attr("alpha", 1.67326319217681884765625))
    gamma = float(args.attr("gamma", 1.05070102214813232421875))
    return lambda x: torch.ops.aten.elu.default(x, alpha, gamma, 1.0)


def _celu(args: NodeArgs) -> _Function:
    alpha = float(args.attr("alpha", 1.0))
    return lambda x: F.celu(x, alpha)


def _leaky_relu(args: NodeArgs) -> _Function:
    slope = float(args.attr("alpha", np.float32(0.01)))
    args.attr("consumed_inputs", None)
    return lambda x: F.leaky_relu(x, slope)


def _prelu(args: NodeArgs) -> _Function:
    slope, shape = args.operands[1], args.shapes[0]
    if slope is not None and shape is not None:
        channels = shape[1] if len(shape) > 1 else 0
        one = slope.size == 1
        if one or (
            slope.size == channels and slope.shape[:1] == (channels,) and slope.ndim == len(shape) - 1
        ):
            args.replace(1, slope.reshape(-1))
            return F.prelu
        if args.opset < 9 and slope.shape == (channels,):
            return F.prelu
        if np.broadcast_shapes(slope.shape, shape) == tuple(shape):
            # Every entry is a channel of its own.
            args.replace(1, np.ascontiguousarray(np.broadcast_to(slope, shape)).reshape(-1))
            return lambda x, a: F.prelu(x.reshape(1, -1), a).reshape(x.shape)
    return lambda x, a: torch.where(x >= 0, x, a * x)


def _hard_sigmoid(args: NodeArgs) -> _Function:
    alpha = float(args.attr("alpha", np.float32(0.2)))
    beta = float(args.attr("beta", 0.5))
    return lambda x: torch.clamp(x * alpha + beta, 0.0, 1.0)


def _thresholded(args: NodeArgs) -> _Function:
    alpha = float(args.attr("alpha", 1.0))
    return lambda x: F.threshold(x, alpha, 0.0)


def _shrink(args: NodeArgs) -> _Function:
    bias, threshold = float(args.attr("bias", 0.0)), float(args.attr("lambd", 0.5))
    if bias == threshold:
        return lambda x: F.softshrink(x, threshold)
    if bias == 0.0:
        return lambda x: F.hardshrink(x, threshold)
    msg = f"bias {bias} and lambd {threshold} differ"
    raise Unconvertible(msg)


def _gelu(args: NodeArgs) -> _Function:
    approximate = args.attr("approximate", "none")
    return lambda x: F.gelu(x, approximate=approximate)


def _swish(args: NodeArgs) -> _Function:
    alpha = float(args.attr("alpha", 1.0))
    return F.silu if alpha == 1.0 else lambda x: x * torch.sigmoid(x * alpha)


RULES: dict[str, Rule] = {
    **{name: _plain(function) for name, function in _PLAIN.items()},
    "Add": _arithmetic(torch.add),
    "Sub": _arithmetic(torch.sub),
    "Mul": _arithmetic(torch.mul),
    "Div": _arithmetic(torch.div),
    "Pow": _power,
    "Sum": _variadic(torch.add),
    "Mean": _mean,
    "Max": _extreme(torch.maximum, lowest=True),
    "Min": _extreme(torch.minimum, lowest=False),
    "Clip": _clip,
    "Elu": _elu,
    "Selu": _selu,
    "Celu": _celu,
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "HardSigmoid": _hard_sigmoid,
    "ThresholdedRelu": _thresholded,
    "Shrink": _shrink,
    "Gelu": _gelu,
    "Swish": _swish,
}
