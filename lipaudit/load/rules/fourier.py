"""DFT: complex numbers are pairs on the last axis, real ones have 1 there.

    forward  y_k = Σ_j x_j e^(−2πijk/n)          inverse  x_j = (1/n) Σ_k y_k e^(2πijk/n)

`onesided` keeps the first ⌊n/2⌋ + 1 frequencies of a real signal, or (inverse) makes a real signal of them.
The axis is an attribute up to opset 19 (default 1) and an operand since (default −2).  Longer signals are
cropped to `dft_length`, shorter ones filled up with zeros; what an inverse one-sided transform does with
another number of frequencies than ⌊n/2⌋ + 1 the specification leaves open, so that is refused.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lipaudit.load.converters import NodeArgs, Rule, Unconvertible

__all__ = ["RULES"]

LONGEST = 1 << 16
"""A transform of more points belongs to no network, and might not fit into memory."""


def _dft(args: NodeArgs) -> Callable[..., Tensor]:
    shape = args.shape(0)
    inverse, onesided = bool(args.attr("inverse", 0)), bool(args.attr("onesided", 0))
    axis = _axis(args, len(shape))
    stated = int(args.scalar(1)) if args.has(1) else None
    real = shape[-1] == 1
    halved = onesided and inverse
    length = stated if stated is not None else 2 * (shape[axis] - 1) if halved else shape[axis]
    problems = (
        (shape[-1] not in (1, 2), f"a last axis of {shape[-1]} holds no complex numbers"),
        (not 1 <= length <= LONGEST, f"a length of {length} is not supported"),
        (onesided and inverse == real, "one-sided transforms go from real to complex, inverse ones back"),
        (halved and shape[axis] != length // 2 + 1, f"{shape[axis]} frequencies of {length} are ambiguous"),
    )
    for wrong, why in problems:
        if wrong:
            raise Unconvertible(why)
    transform = _transform(inverse=inverse, onesided=onesided)

    def run(x: Tensor) -> Tensor:
        z = transform(x[..., 0] if real else torch.view_as_complex(x.contiguous()), length, axis)
        return torch.view_as_real(z.resolve_conj()) if z.is_complex() else z.unsqueeze(-1)

    return run


def _axis(args: NodeArgs, rank: int) -> int:
    """Which one, counted from the front."""
    stated = -2 if not args.has(2) else int(args.scalar(2))
    axis = int(args.attr("axis", 1)) if args.opset < 20 else stated
    if not -rank <= axis < rank or axis % rank == rank - 1:
        msg = f"axis {axis} is none of the signal's"
        raise Unconvertible(msg)
    return axis % rank


def _transform(*, inverse: bool, onesided: bool) -> Callable[[Tensor, int, int], Tensor]:
    chosen: tuple[Callable[..., Tensor], Callable[..., Tensor]] = (torch.fft.fft, torch.fft.ifft)
    if onesided:
        chosen = (torch.fft.rfft, torch.fft.irfft)
    return chosen[inverse]


RULES: dict[str, Rule] = {"DFT": _dft}
