"""Random convolutions: one recipe, driven by `random.Random` in bulk or by hypothesis one by one.

The recipe only calls `pick(low, high)`, an integer in [low, high]; hypothesis shrinks what it returns.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import assume
from hypothesis import strategies as st
from oracles import conv_matrix, exact_conv_matrix
from torch import Tensor

from lipaudit.spectral import Conv

Pick = Callable[[int, int], int]

MODES = ("zeros", "zeros", "circular", "reflect", "replicate")
EXPONENTS = (0, 0, 0, -1, 1, -5, 5, -30, 30)


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """A weight and the geometry of a convolution, before anything of lipaudit has seen it."""

    weight: Tensor
    image: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str
    transposed: bool

    @property
    def geometry(self) -> dict[str, object]:
        """All but weight and image, by keyword."""
        names = ("stride", "padding", "dilation", "groups", "padding_mode", "transposed")
        return {name: getattr(self, name) for name in names}

    @property
    def conv(self) -> Conv:
        """The map under test."""
        return Conv(self.weight, self.image, **self.geometry)

    @property
    def matrix(self) -> Tensor:
        """The oracle's matrix in float64."""
        return conv_matrix(self.weight.double(), self.image, self.geometry)

    @property
    def exact_matrix(self) -> list:
        """The oracle's matrix in rational numbers."""
        return exact_conv_matrix(self.weight.double(), self.image, self.geometry)


def convolution(pick: Pick, *, largest: int = 9, channels: int = 3) -> Recipe | None:
    """A convolution of any geometry on an image of at most `largest`; None if it has no output."""
    axes = (1, 2, 2, 2, 3)[pick(0, 4)]
    largest = min(largest, 4) if axes == 3 else largest
    mode = MODES[pick(0, len(MODES) - 1)]
    transposed = mode == "zeros" and pick(0, 3) == 0
    groups = (1, 1, 2, 3)[pick(0, 3)]
    kernel = tuple(pick(1, 3 if axes == 3 else 5) for _ in range(axes))
    image = tuple(pick(1, largest) for _ in range(axes))
    stride = tuple(pick(1, 3) for _ in range(axes))
    dilation = tuple(pick(1, 2) for _ in range(axes))
    extent = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    same = pick(0, 1) == 1
    padding = tuple(_pads(pick, mode, n, e, same=same) for n, e in zip(image, extent, strict=True))
    if not _possible(image, extent, padding, stride, transposed=transposed):
        return None
    first, second = pick(1, channels), pick(1, channels)
    weight = _weight(pick, (groups * first, second, *kernel))
    return Recipe(weight, image, stride, padding, dilation, groups, mode, transposed)


def _pads(pick: Pick, mode: str, n: int, e: int, *, same: bool) -> tuple[int, int]:
    if mode != "reflect" and same:
        left = pick(0, e - 1)
        return left, e - 1 - left
    if mode == "reflect":
        return pick(0, min(n - 1, 4)), pick(0, min(n - 1, 4))
    low = -min(n - 1, 2) if mode == "zeros" else 0
    return pick(low, 5), pick(low, 5)


def _possible(
    image: tuple[int, ...],
    extent: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    stride: tuple[int, ...],
    *,
    transposed: bool,
) -> bool:
    for n, e, (left, right), s in zip(image, extent, padding, stride, strict=True):
        reach = (n - 1) * s + e - left - right if transposed else n + left + right - e + 1
        cropped = min(left, 0) + min(right, 0)
        if reach < 1 or (reach if transposed else n - 1) + cropped < 0:
            return False
    return True


def _weight(pick: Pick, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(pick(0, 2**31))
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    kind = pick(0, 9)
    if kind == 0:
        weight = weight.abs()
    elif kind == 1:
        weight = weight.float()
    elif kind == 2:  # few distinct values: ties and exact cancellations
        weight = (2 * weight).round()
    elif kind == 3:  # one entry dwarfs the others
        spread = torch.randint(-12, 13, shape, generator=generator)
        weight = weight * 10.0**spread
    elif kind == 4:
        weight = torch.ones(shape, dtype=torch.float64) / math.prod(shape[1:])
    scale = 10.0 ** EXPONENTS[pick(0, len(EXPONENTS) - 1)]
    return weight * scale


def random_convolution(rng: random.Random, **limits: int) -> Recipe:
    """The recipe driven by a seeded generator."""
    while True:
        recipe = convolution(rng.randint, **limits)
        if recipe is not None:
            return recipe


@st.composite
def convolutions(draw: st.DrawFn, **limits: int) -> Recipe:
    """The recipe driven, and shrunk, by hypothesis."""
    recipe = convolution(lambda low, high: draw(st.integers(low, high)), **limits)
    assume(recipe is not None)
    return recipe
