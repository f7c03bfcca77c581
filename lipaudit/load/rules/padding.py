"""ONNX pads, `[begin…, end…]` or `auto_pad`, as numbers per axis.

SAME pads so that the output has ⌈n/s⌉ positions: total = max((⌈n/s⌉ − 1)·s + e − n, 0), with e the dilated
kernel extent; the odd one goes to the end for SAME_UPPER, to the beginning for SAME_LOWER.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lipaudit.load.converters import NodeArgs, Unconvertible

__all__ = ["Pads", "pads_of", "torch_order"]

Pads = tuple[list[int], list[int]]
"""Per axis: what is added before, what is added after."""


def pads_of(
    args: NodeArgs, extents: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Callable[[tuple[int, ...]], Pads]:
    """A function from the image's extents to its pads.

    Raises:
        Unconvertible: an `auto_pad` that is not in the specification.
    """
    mode = args.attr("auto_pad", "NOTSET")
    stated = args.attr("pads", None)
    rank = len(extents)
    if mode not in {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"}:
        msg = f"auto_pad {mode!r} is not known"
        raise Unconvertible(msg)

    def pads(image: tuple[int, ...]) -> Pads:
        if mode in {"NOTSET", "VALID"}:
            both = list(stated) if stated and mode == "NOTSET" else [0] * (2 * rank)
            return both[:rank], both[rank:]
        before, after = [], []
        for n, k, s, d in zip(image, extents, stride, dilation, strict=True):
            total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            small, large = total // 2, total - total // 2
            before.append(small if mode == "SAME_UPPER" else large)
            after.append(large if mode == "SAME_UPPER" else small)
        return before, after

    return pads


def torch_order(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """`torch.nn.functional.pad` counts from the last axis: [last before, last after, …]."""
    return [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]
