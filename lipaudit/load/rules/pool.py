"""MaxPool, AveragePool and the global pools.

Border divisors: with count_include_pad = 0 a window divides by the cells it has inside the image; torch's
pools know symmetric pads only, so for uneven ones the padded image is averaged, multiplied by the kernel's
size and divided by the counts: integers, so the function stays exactly the graph's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from lipaudit.load.converters import NodeArgs, Rule, Unconvertible
from lipaudit.load.rules.padding import Pads, pads_of, torch_order

__all__ = ["RULES"]

_MAX: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _kernel(args: NodeArgs) -> list[int]:
    kernel = [int(n) for n in args.attr("kernel_shape")]
    if len(kernel) not in _MAX:
        msg = f"{len(kernel)} spatial axes are not supported"
        raise Unconvertible(msg)
    return kernel


def _torch_can(before: Sequence[int], after: Sequence[int], kernel: Sequence[int]) -> bool:
    """torch's pools take even pads of at most half the kernel."""
    return before == after and all(0 <= 2 * p <= k for p, k in zip(before, kernel, strict=True))


def _max_pool(args: NodeArgs) -> Callable[..., Tensor]:
    args.one_output()
    kernel = _kernel(args)
    rank = len(kernel)
    stride = list(args.attr("strides", [1] * rank))
    dilation = list(args.attr("dilations", [1] * rank))
    ceil = bool(args.attr("ceil_mode", 0))
    args.attr("storage_order", 0)  # orders the second output only
    if set(dilation) != {1} and str(args.attr("auto_pad", "NOTSET")).startswith("SAME"):
        raise Unconvertible("dilations together with auto_pad SAME are not supported")
    pads = pads_of(args, kernel, stride, dilation)
    pool = _MAX[rank]
    extents = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]

    def run(x: Tensor) -> Tensor:
        before, after = pads(tuple(x.shape[2:]))
        if _torch_can(before, after, kernel):
            return pool(x, kernel, stride, before, dilation, ceil)
        if ceil:
            after = _up_to_last_window(tuple(x.shape[2:]), (before, after), extents, stride)
        x = F.pad(x, torch_order(before, after), value=-torch.inf)
        return pool(x, kernel, stride, 0, dilation)

    return run


def _up_to_last_window(
    image: Sequence[int], pads: Pads, extents: Sequence[int], stride: Sequence[int]
) -> list[int]:
    """Pads at the end for ceil_mode: so many that its last window is whole.

    m = ⌈(n + b + a − e)/s⌉ + 1 windows, one less if the last would begin behind image and front pad.
    """
    ends = []
    for n, before, after, extent, step in zip(image, *pads, extents, stride, strict=True):
        windows = -(-(n + before + after - extent) // step) + 1
        if (windows - 1) * step >= n + before:
            windows -= 1
        ends.append((windows - 1) * step + extent - n - before)
    return ends


def _average_pool(args: NodeArgs) -> Callable[..., Tensor]:
    kernel = _kernel(args)
    rank = len(kernel)
    stride = list(args.attr("strides", [1] * rank))
    if set(args.attr("dilations", [1])) != {1}:
        raise Unconvertible("dilated average pooling is not supported")
    ceil = bool(args.attr("ceil_mode", 0))
    inclusive = bool(args.attr("count_include_pad", 0))
    pads = pads_of(args, kernel, stride, [1] * rank)
    pool = _AVERAGE[rank]
    before, after = pads(args.shape(0)[2:])
    if _torch_can(before, after, kernel):
        return lambda x: pool(x, kernel, stride, before, ceil, inclusive)
    if ceil:
        raise Unconvertible("ceil_mode with uneven pads is not supported")
    if inclusive:
        return lambda x: pool(F.pad(x, torch_order(before, after)), kernel, stride)
    ones = F.pad(torch.ones(1, 1, *args.shape(0)[2:], dtype=torch.float64), torch_order(before, after))
    cells = math.prod(kernel)
    counts = (pool(ones, kernel, stride) * cells).round()  # cells of each window inside the image
    args.append(counts.float().numpy())
    return lambda x, count: (
        pool(F.pad(x, torch_order(before, after)), kernel, stride) * cells / count.to(x.dtype)
    )


def _spatial(x: Tensor) -> list[int]:
    return list(range(2, x.dim()))


def _global_average(args: NodeArgs) -> Callable[..., Tensor]:
    del args
    return lambda x: x.mean(_spatial(x), keepdim=True)


def _global_max(args: NodeArgs) -> Callable[..., Tensor]:
    del args
    return lambda x: x.amax(_spatial(x), keepdim=True)


RULES: dict[str, Rule] = {
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
}
