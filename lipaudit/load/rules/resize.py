"""Resize and Upsample.

Nearest: each output coordinate picks one input coordinate per axis; where that is torch's own choice
(⌊i·n/m⌋) the op stays whole, otherwise rows and columns are picked by constant indices.  Linear and cubic:
only the conventions torch shares (half_pixel and align_corners).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from lipaudit.load.converters import NodeArgs, Rule, Unconvertible

__all__ = ["RULES"]

_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}
_TINY = 1e-9


def _target(args: NodeArgs) -> tuple[list[int], list[float]]:
    """Output extents, and the scale of every axis."""
    shape = list(args.shape(0))
    at = 1 if args.op == "Upsample" or args.opset < 11 else 2
    stated = args.attr("scales", None)
    values = args.const(at) if stated is None and args.has(at) else None
    scales = list(stated) if stated is not None else [] if values is None else values.reshape(-1).tolist()
    sizes = args.ints(3) if args.has(3) else None
    axes = args.attr("axes", None)
    axes = list(range(len(shape))) if axes is None else [int(a) % len(shape) for a in axes]
    extents, factors = list(shape), [1.0] * len(shape)
    for i, axis in enumerate(axes):
        if scales:
            factors[axis] = float(scales[i])
            extents[axis] = math.floor(shape[axis] * scales[i] + _TINY)
        elif sizes:
            extents[axis] = sizes[i]
            factors[axis] = sizes[i] / shape[axis]
    return extents, factors


def _origin(mode: str, i: int, n: int, m: int, scale: float) -> float:
    """The input coordinate of output coordinate i (n inputs, m outputs), as the specification has it.

    In float32, as runtimes compute it: where the exact coordinate is a tie, its rounding decides.
    """
    if scale == 1.0 and n == m:
        return float(i)
    at, wide, half = np.float32(i), np.float32(scale), np.float32(0.5)
    if mode == "asymmetric":
        return float(at / wide)
    if m == 1 and mode in {"align_corners", "pytorch_half_pixel"}:
        return 0.0
    if mode == "align_corners":
        return float(at * np.float32(n - 1) / np.float32(m - 1))
    if mode == "half_pixel_symmetric":
        offset = np.float32(n) / 2 * (1 - np.float32(m) / (wide * np.float32(n)))
        return float(offset + (at + half) / wide - half)
    if mode not in {"half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn"}:
        msg = f"coordinate_transformation_mode {mode!r} is not supported"
        raise Unconvertible(msg)
    return float((at + half) / wide - (0 if mode == "tf_half_pixel_for_nn" else half))


def _nearest(rounding: str, x: float) -> int:
    if rounding == "floor":
        return math.floor(x)
    if rounding == "ceil":
        return math.ceil(x)
    if rounding == "round_prefer_ceil":
        return math.floor(x + 0.5)
    if rounding != "round_prefer_floor":
        msg = f"nearest_mode {rounding!r} is not known"
        raise Unconvertible(msg)
    return math.ceil(x - 0.5)


def _resize(args: NodeArgs) -> Callable[..., Tensor]:
    shape = args.shape(0)
    extents, scales = _target(args)
    if args.op == "Resize" and args.opset >= 11:
        args.used.add(1)  # roi: read by tf_crop_and_resize only, which is refused
    mode = args.attr("mode", "nearest")
    old = args.op == "Upsample" or args.opset < 11
    where = args.attr("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    rounding = args.attr("nearest_mode", "floor" if old else "round_prefer_floor")
    cubic, outside = float(args.attr("cubic_coeff_a", -0.75)), int(args.attr("exclude_outside", 0))
    args.attr("extrapolation_value", 0.0)
    if where == "tf_crop_and_resize" or args.attr("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unconvertible("cropping and aspect-ratio policies are not supported")
    if args.attr("antialias", 0) or (mode == "cubic" and (cubic != -0.75 or outside)):
        raise Unconvertible("antialias, exclude_outside and other cubic coefficients are not supported")
    if mode == "nearest":
        picks = [
            [min(max(_nearest(rounding, _origin(where, i, n, m, s)), 0), n - 1) for i in range(m)]
            for n, m, s in zip(shape, extents, scales, strict=True)
        ]
        return _by_index(args, extents, picks)
    return _interpolate(mode, where, shape, extents, scales)


def _by_index(args: NodeArgs, extents: Sequence[int], picks: list[list[int]]) -> Callable[..., Tensor]:
    shape = args.shape(0)
    plain = all(
        pick == [i * n // m for i in range(m)] for n, m, pick in zip(shape, extents, picks, strict=True)
    )
    # torch computes i·n/m in float32; whole ratios leave it no room to differ
    whole = all(m % n == 0 or n % m == 0 for n, m in zip(shape, extents, strict=True))
    if plain and whole and len(shape) in _LINEAR and list(shape[:2]) == list(extents[:2]):
        return lambda x: F.interpolate(x, size=list(extents[2:]), mode="nearest")

    axes = [axis for axis, pick in enumerate(picks) if pick != list(range(shape[axis]))]
    for axis in axes:
        args.append(np.array(picks[axis], dtype=np.int64))

    def run(x: Tensor, *indices: Tensor) -> Tensor:
        for axis, index in zip(axes, indices, strict=True):
            x = x.index_select(axis, index)
        return x

    return run


def _interpolate(
    mode: str, where: str, shape: Sequence[int], extents: Sequence[int], scales: Sequence[float]
) -> Callable[..., Tensor]:
    aligned = where == "align_corners"
    if where not in {"align_corners", "half_pixel", "pytorch_half_pixel"}:
        msg = f"{mode} with coordinate_transformation_mode {where!r} is not supported"
        raise Unconvertible(msg)
    kind = {4: "bicubic"}.get(len(shape)) if mode == "cubic" else _LINEAR.get(len(shape))
    if kind is None or list(shape[:2]) != list(extents[:2]):
        msg = f"{mode} on a tensor with {len(shape)} axes, or across channels, is not supported"
        raise Unconvertible(msg)
    if where == "pytorch_half_pixel" and any(m == 1 < n for n, m in zip(shape, extents, strict=True)):
        raise Unconvertible("pytorch_half_pixel with an output extent of 1 is not supported")
    if any(abs(n * s - m) > _TINY for n, m, s in zip(shape, extents, scales, strict=True)):
        raise Unconvertible("a scale that does not divide the image evenly is not supported")
    return lambda x: F.interpolate(x, size=list(extents[2:]), mode=kind, align_corners=aligned)


RULES: dict[str, Rule] = {"Resize": _resize, "Upsample": _resize}
