"""Resize and Upsample.

Nearest: each output coordinate picks one input coordinate per axis; where that is torch's own choice
(⌊i·n/m⌋) the op stays whole, otherwise rows and columns are picked by constant indices.  Linear and cubic are
separable: one matrix of weights per axis, made as the specification says, in every coordinate convention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from lipaudit.load.converters import NodeArgs, Rule, Unconvertible

__all__ = ["RULES"]

_IMAGES = (3, 4, 5)
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
    if args.attr("antialias", 0):
        raise Unconvertible("antialias is not supported")
    origins = [
        [_origin(where, i, n, m, s) for i in range(m)] for n, m, s in zip(shape, extents, scales, strict=True)
    ]
    if mode == "nearest":
        picks = [
            [min(max(_nearest(rounding, x), 0), n - 1) for x in axis]
            for n, axis in zip(shape, origins, strict=True)
        ]
        return _by_index(args, extents, picks)
    taps = _TAPS.get(mode)
    if taps is None:
        msg = f"mode {mode!r} is not known"
        raise Unconvertible(msg)
    matrices = [
        _weights(n, axis, partial(taps, cubic), outside=bool(outside))
        for n, axis in zip(shape, origins, strict=True)
    ]
    return _by_matrix(args, matrices)


def _by_index(args: NodeArgs, extents: Sequence[int], picks: list[list[int]]) -> Callable[..., Tensor]:
    shape = args.shape(0)
    plain = all(
        pick == [i * n // m for i in range(m)] for n, m, pick in zip(shape, extents, picks, strict=True)
    )
    # torch computes i·n/m in float32; whole ratios leave it no room to differ
    whole = all(m % n == 0 or n % m == 0 for n, m in zip(shape, extents, strict=True))
    if plain and whole and len(shape) in _IMAGES and list(shape[:2]) == list(extents[:2]):
        return lambda x: F.interpolate(x, size=list(extents[2:]), mode="nearest")

    axes = [axis for axis, pick in enumerate(picks) if pick != list(range(shape[axis]))]
    for axis in axes:
        args.append(np.array(picks[axis], dtype=np.int64))

    def run(x: Tensor, *indices: Tensor) -> Tensor:
        for axis, index in zip(axes, indices, strict=True):
            x = x.index_select(axis, index)
        return x

    return run


def _linear(_: float, t: float) -> list[tuple[int, float]]:
    """Weights of the cells around a point, t behind the cell before it."""
    return [(0, 1 - t), (1, t)]


def _cubic(a: float, t: float) -> list[tuple[int, float]]:
    """(a + 2)|d|³ − (a + 3)|d|² + 1 near, a|d|³ − 5a|d|² + 8a|d| − 4a far   (Keys 1981, IEEE ASSP 29)."""

    def near(d: float) -> float:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: float) -> float:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return [(-1, far(1 + t)), (0, near(t)), (1, near(1 - t)), (2, far(2 - t))]


_TAPS: dict[str, Callable[[float, float], list[tuple[int, float]]]] = {"linear": _linear, "cubic": _cubic}


def _weights(
    n: int, origins: Sequence[float], taps: Callable[[float], list[tuple[int, float]]], *, outside: bool
) -> np.ndarray[Any, Any]:
    """(m, n): what each output takes of each input; cells beyond the edge are the edge's, or left out."""
    matrix = np.zeros((len(origins), n))
    for i, x in enumerate(origins):
        cell = math.floor(x)
        for step, weight in taps(x - cell):
            inside = 0 <= cell + step < n
            if inside or not outside:
                matrix[i, min(max(cell + step, 0), n - 1)] += weight
        if outside:
            matrix[i] /= matrix[i].sum()
    return matrix


def _by_matrix(args: NodeArgs, matrices: list[np.ndarray[Any, Any]]) -> Callable[..., Tensor]:
    axes = [i for i, matrix in enumerate(matrices) if not np.array_equal(matrix, np.eye(len(matrix)))]
    for axis in axes:
        args.append(matrices[axis].astype(np.float32))

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        for axis, weight in zip(axes, weights, strict=True):
            x = F.linear(x.movedim(axis, -1), weight.to(x.dtype)).movedim(-1, axis)
        return x

    return run


RULES: dict[str, Rule] = {"Resize": _resize, "Upsample": _resize}
