"""Conv, ConvTranspose, Gemm and MatMul.

Weights stay as stored: a transposition is exact, a factor (`alpha`) is folded only when the products are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from lipaudit.load.converters import NodeArgs, Rule, Unconvertible
from lipaudit.load.rules.padding import Pads, pads_of, torch_order

__all__ = ["RULES"]

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


def _extents(args: NodeArgs) -> tuple[int, ...]:
    """Spatial extents of the kernel, which the weight's shape tells."""
    extents = args.shape(1)[2:]
    stated = args.attr("kernel_shape", None)
    if stated is not None and tuple(stated) != extents:
        msg = f"kernel_shape {list(stated)} contradicts the weight's {list(extents)}"
        raise Unconvertible(msg)
    if len(extents) not in _CONV:
        msg = f"{len(extents)} spatial axes are not supported"
        raise Unconvertible(msg)
    return extents


def _conv(args: NodeArgs) -> Callable[..., Tensor]:
    extents = _extents(args)
    rank = len(extents)
    stride = list(args.attr("strides", [1] * rank))
    dilation = list(args.attr("dilations", [1] * rank))
    groups = int(args.attr("group", 1))
    pads = pads_of(args, extents, stride, dilation)
    convolve = _CONV[rank]

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        before, after = pads(tuple(x.shape[2:]))
        if before == after and min(before) >= 0:
            return convolve(x, weight, bias, stride, before, dilation, groups)
        x = F.pad(x, torch_order(before, after))
        return convolve(x, weight, bias, stride, 0, dilation, groups)

    return run


def _conv_transpose(args: NodeArgs) -> Callable[..., Tensor]:
    extents = _extents(args)
    rank = len(extents)
    stride = list(args.attr("strides", [1] * rank))
    dilation = list(args.attr("dilations", [1] * rank))
    extra = list(args.attr("output_padding", [0] * rank))
    groups = int(args.attr("group", 1))
    cuts = _transposed_pads(
        args, [d * (k - 1) + 1 for d, k in zip(dilation, extents, strict=True)], stride, extra
    )
    convolve = _TRANSPOSED[rank]

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        before, after = cuts(tuple(x.shape[2:]))
        if before == after and min(before) >= 0:
            return convolve(x, weight, bias, stride, before, extra, groups, dilation)
        full = convolve(x, weight, bias, stride, 0, extra, groups, dilation)
        return F.pad(full, torch_order([-b for b in before], [-a for a in after]))

    return run


def _transposed_pads(
    args: NodeArgs, dilated: Sequence[int], stride: Sequence[int], extra: Sequence[int]
) -> Callable[[tuple[int, ...]], Pads]:
    """What a transposed convolution cuts off its full output.

    With `output_shape` (or auto_pad SAME, where it is n·s): total = s(n−1) + extra + e − output, and the
    larger half is cut at the front unless auto_pad is SAME_UPPER.
    """
    mode = args.attr("auto_pad", "NOTSET")
    shape = args.attr("output_shape", None)
    stated = args.attr("pads", None)
    rank = len(dilated)

    def cuts(image: tuple[int, ...]) -> Pads:
        if shape is None and mode in {"NOTSET", "VALID"}:
            pads = list(stated) if stated and mode == "NOTSET" else [0] * (2 * rank)
            return pads[:rank], pads[rank:]
        target = (
            list(shape)[-rank:] if shape is not None else [n * s for n, s in zip(image, stride, strict=True)]
        )
        total = [
            s * (n - 1) + x + e - out
            for s, n, x, e, out in zip(stride, image, extra, dilated, target, strict=True)
        ]
        if min(total) < 0:
            msg = f"an output of {target} is larger than what kernel and stride reach"
            raise Unconvertible(msg)
        small = [t // 2 for t in total]
        large = [t - t // 2 for t in total]
        return (small, large) if mode == "SAME_UPPER" else (large, small)

    return cuts


def _exact_product(value: np.ndarray[Any, Any], factor: float) -> np.ndarray[Any, Any] | None:
    """`factor·value` in value's type if no entry is rounded, else None."""
    if factor == 1.0:
        return value
    product = value.astype(np.longdouble) * np.longdouble(factor)
    rounded = product.astype(value.dtype)
    # Two float32 numbers have an exact product in long double; a float64 and a factor only if that is 2^k.
    mantissa, _ = np.frexp(factor)
    comparable = value.dtype == np.float32 or abs(mantissa) == 0.5
    return rounded if comparable and bool((rounded == product).all()) else None


def _gemm(args: NodeArgs) -> Callable[..., Tensor]:
    alpha, beta = float(args.attr("alpha", 1.0)), float(args.attr("beta", 1.0))
    flip_a, flip_b = bool(args.attr("transA", 0)), bool(args.attr("transB", 0))
    args.attr("broadcast", 1)
    weight, bias = args.operands[1], args.operands[2] if args.has(2) else None
    scaled = None if weight is None else _exact_product(weight, alpha)
    scaled_bias = None if bias is None else _exact_product(bias, beta)
    if scaled is not None:
        args.replace(1, scaled if flip_b else scaled.T)
        flip_b, alpha = True, 1.0
    if scaled_bias is not None:
        args.replace(2, scaled_bias)
        beta = 1.0
        if scaled is not None and scaled_bias.size == scaled.shape[0 if args.attr("transB", 0) else 1]:
            args.replace(2, scaled_bias.reshape(-1))
    constant = scaled is not None

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a = a.t() if flip_a else a
        if constant and (c is None or (c.dim() == 1 and c.shape[0] == b.shape[0] and beta == 1.0)):
            return F.linear(a, b, c)
        product = F.linear(a, b) if flip_b else torch.matmul(a, b)
        product = product if alpha == 1.0 else product * alpha
        if c is None:
            return product
        return product + (c if beta == 1.0 else c * beta)

    return run


def _matmul(args: NodeArgs) -> Callable[..., Tensor]:
    weight = args.operands[1]
    if weight is None or weight.ndim != 2:
        return torch.matmul
    args.replace(1, weight.T)
    return F.linear


RULES: dict[str, Rule] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
