"""Random convolutions: one recipe, driven by `random.Random` in bulk or by hypothesis one by one.

The recipe only calls `pick(low, high)`, an integer in [low, high]; hypothesis shrinks what it returns.
`adversarial` lets a third of the weights come from `families`, some on the geometry they are worst on.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from families import FAMILIES, average, laplacian
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


@dataclass(frozen=True, slots=True)
class Geometry:
    """A convolution without its weight."""

    kernel: tuple[int, ...]
    image: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str
    transposed: bool

    @property
    def extent(self) -> tuple[int, ...]:
        """Dilated extent of the kernel."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))

    @property
    def is_possible(self) -> bool:
        """Whether there is an output, and no axis is cropped away."""
        axes = zip(self.image, self.extent, self.padding, self.stride, strict=True)
        for n, e, (left, right), s in axes:
            reach = (n - 1) * s + e - left - right if self.transposed else n + left + right - e + 1
            cropped = min(left, 0) + min(right, 0)
            if reach < 1 or (reach if self.transposed else n - 1) + cropped < 0:
                return False
        return True


def convolution(
    pick: Pick, *, largest: int = 9, channels: int = 3, adversarial: bool = False
) -> Recipe | None:
    """A convolution of any geometry on an image of at most `largest`; None if it has no output."""
    family = FAMILIES[pick(0, len(FAMILIES) - 1)] if adversarial and pick(0, 2) == 0 else None
    at_its_worst = family in (laplacian, average) and pick(0, 1) == 1
    shape = _worst(pick, family is average) if at_its_worst else _any(pick, largest)
    if not shape.is_possible:
        return None
    rows, columns = pick(1, channels), pick(1, channels)
    size = (shape.groups * rows, columns, *shape.kernel)
    weight = _weight(pick, size) if family is None else family(pick, size)
    return Recipe(
        weight,
        shape.image,
        shape.stride,
        shape.padding,
        shape.dilation,
        shape.groups,
        shape.padding_mode,
        shape.transposed,
    )


def _any(pick: Pick, largest: int) -> Geometry:
    axes = (1, 2, 2, 2, 3)[pick(0, 4)]
    largest = min(largest, 4) if axes == 3 else largest
    mode = MODES[pick(0, len(MODES) - 1)]
    transposed = mode == "zeros" and pick(0, 3) == 0
    groups = (1, 1, 2, 3)[pick(0, 3)]
    longest = {1: 7, 2: 5, 3: 3}[axes]
    kernel = tuple(pick(1, longest) for _ in range(axes))
    image = tuple(pick(1, largest) for _ in range(axes))
    stride = tuple(pick(1, 5 if axes == 1 else 3) for _ in range(axes))
    # Three dilated axes would make kernels of 5³ cells out of 3³ taps: slow, and no other kind of map.
    dilation = tuple(pick(1, 4 if axes == 1 else 2) if axes < 3 or not a else 1 for a in range(axes))
    extent = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    kind = pick(0, 3)
    padding = tuple(_pads(pick, mode, n, e, kind=kind) for n, e in zip(image, extent, strict=True))
    return Geometry(kernel, image, stride, padding, dilation, groups, mode, transposed)


def _worst(pick: Pick, reflected: bool) -> Geometry:  # noqa: FBT001
    """Three taps, an odd image and padding that keeps its size; or reflected as far as it goes."""
    axes = pick(1, 2)
    image = tuple(2 * pick(1, 4) + 1 for _ in range(axes))
    mode = "reflect" if reflected else MODES[pick(0, len(MODES) - 1)]
    padding = tuple((pick(1, n - 1), pick(1, n - 1)) if reflected else (1, 1) for n in image)
    ones = (1,) * axes
    return Geometry((3,) * axes, image, ones, padding, ones, 1, mode, transposed=False)


def _pads(pick: Pick, mode: str, n: int, e: int, *, kind: int) -> tuple[int, int]:
    """Kinds: as many as keep the size, none, or (0 and 1) whatever the mode allows."""
    if kind == 2:
        return 0, 0
    if mode != "reflect" and kind == 3:
        left = pick(0, e - 1)
        return left, e - 1 - left
    if mode == "reflect":
        return pick(0, min(n - 1, 4)), pick(0, min(n - 1, 4))
    low = -min(n - 1, 2) if mode == "zeros" else 0
    most = 5 if pick(0, 7) else 2 * n + 5
    return pick(low, most), pick(low, most)


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


def random_convolution(rng: random.Random, *, adversarial: bool = False, **limits: int) -> Recipe:
    """The recipe driven by a seeded generator."""
    while True:
        recipe = convolution(rng.randint, adversarial=adversarial, **limits)
        if recipe is not None:
            return recipe


@st.composite
def convolutions(draw: st.DrawFn, **limits: int) -> Recipe:
    """The recipe driven, and shrunk, by hypothesis."""
    recipe = convolution(lambda low, high: draw(st.integers(low, high)), **limits)
    assume(recipe is not None)
    return recipe
