"""`METHODS`: the ways to bring a linear map down to a limit, by name.  None of them proves anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.errors import NotCovered, UsageError
from lipaudit.repair.fast_clip import fast_clip
from lipaudit.repair.fourier_clip import clip_and_crop, has_grid
from lipaudit.repair.rescaling import rescale, spectral_rescale
from lipaudit.spectral.maps import Conv, LinearMap

__all__ = ["FASTCLIP", "METHODS", "ClipMethod", "method_called"]

FASTCLIP = "fastclip"
FOURIER_ROUNDS = 50

Clip = Callable[[LinearMap, float, Tensor | None], tuple[LinearMap, Tensor | None]]
"""A map, its limit and vectors to start from → the smaller map and vectors for the next time."""


@dataclass(frozen=True, slots=True)
class ClipMethod:
    """One row of the table.

    Args:
        name: what `--how` calls it.
        summary: what it does, in one line.
        clip: does it; NotCovered where it has no form for the map.
    """

    name: str
    summary: str
    clip: Clip


def _fast(linear_map: LinearMap, limit: float, start: Tensor | None) -> tuple[LinearMap, Tensor | None]:
    found = fast_clip(linear_map, limit, start=start, keep=True)
    return found.map, found.right


def _plain(linear_map: LinearMap, limit: float, start: Tensor | None) -> tuple[LinearMap, Tensor | None]:
    return rescale(linear_map, limit), start


def _spectral(linear_map: LinearMap, limit: float, start: Tensor | None) -> tuple[LinearMap, Tensor | None]:
    return spectral_rescale(linear_map, limit), start


def _fourier(linear_map: LinearMap, limit: float, start: Tensor | None) -> tuple[LinearMap, Tensor | None]:
    if isinstance(linear_map, Conv):
        if not has_grid(linear_map):
            raise NotCovered("the kernel is longer than the image: its taps meet on the grid of frequencies")
        return clip_and_crop(linear_map, limit, FOURIER_ROUNDS), start
    left, values, right = torch.linalg.svd(linear_map.weight, full_matrices=False)
    return linear_map.with_weight((left * values.clamp(max=limit)) @ right), start


METHODS: tuple[ClipMethod, ...] = (
    ClipMethod(FASTCLIP, "the nearest weights whose singular values keep within the limit", _fast),
    ClipMethod("rescaling", "all weights of a layer times one factor", _plain),
    ClipMethod("spectral-rescaling", "each channel divided by a bound of its own", _spectral),
    ClipMethod("fft", "singular values clipped frequency by frequency, cropped to the kernel", _fourier),
)


def method_called(name: str) -> ClipMethod:
    """The row of that name.

    Raises:
        UsageError: if there is none.
    """
    found = next((method for method in METHODS if method.name == name), None)
    if found is None:
        names = ", ".join(method.name for method in METHODS)
        raise UsageError(f"--how {name!r} is unknown", hint=f"choose one of {names}")
    return found
