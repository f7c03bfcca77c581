"""What arguments may be: those of `nn.Conv2d` as far as a method allows them, numbers, and types.

    "same"    k − 1 cells of padding per axis, ⌊(k − 1)/2⌋ of them in front, as torch has it;
    stride s  of a real strided convolution, or (`rearranges`) space-to-depth by s, so that a convolution of
              stride 1 follows: `kernel_size` then counts cells of the rearranged image.

What a method does not allow is one `UsageError`, which says what it does allow.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any, NoReturn, TypedDict

import torch

from lipaudit.errors import UsageError

__all__ = [
    "DTYPES",
    "Allowed",
    "Geometry",
    "Options",
    "Padding",
    "Pair",
    "check_dtype",
    "finite",
    "integer",
    "pair",
    "tensor_options",
    "whole",
]

Pair = int | tuple[int, int]
Padding = int | tuple[int, int] | str

DTYPES = (torch.float32, torch.float64)
"""Types that weights are derived in; others are too coarse."""


class Options(TypedDict, total=False):
    """What `nn.Conv2d` takes besides; `dilation` and `groups` other than 1 are refused."""

    dilation: Pair
    groups: int
    padding_mode: str
    device: torch.device | str | None
    dtype: torch.dtype | None


@dataclass(frozen=True, slots=True)
class Geometry:
    """A convolution's kernel, stride and padding per axis (front, back), and how it pads."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    padding_mode: str

    @property
    def torch_padding(self) -> str | tuple[int, int]:
        """As `nn.Conv2d` takes it."""
        if all(front == back for front, back in self.padding):
            return (self.padding[0][0], self.padding[1][0])
        return "same"

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """As `F.pad` takes them."""
        (top, bottom), (left, right) = self.padding
        return left, right, top, bottom


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a method's convolution may be.

    Args:
        layer: the class, for messages.
        padding_modes: the first one is the default.
        any_padding: whether the padding may differ from "same".
        odd: whether the kernel's sides must be odd.
        rearranges: whether a stride means space-to-depth.
    """

    layer: str
    padding_modes: tuple[str, ...] = ("zeros",)
    any_padding: bool = False
    odd: bool = False
    rearranges: bool = True

    def geometry(self, kernel_size: Pair, stride: Pair, padding: Padding, options: Options) -> Geometry:
        """The convolution that is asked for; its stride is 1 where the image is rearranged.

        Raises:
            UsageError: the method does not allow it.
        """
        self.check_names(options)
        for name in ("dilation", "groups"):
            value: Any = options.get(name, 1)
            if value not in (1, (1, 1), [1, 1]):
                self._refuse(name, value, f"{name}=1")
        mode = options.get("padding_mode", self.padding_modes[0])
        if mode not in self.padding_modes:
            self._refuse("padding_mode", mode, " or ".join(repr(m) for m in self.padding_modes))
        kernel = pair(self.layer, "kernel_size", kernel_size)
        if self.odd and any(k % 2 == 0 for k in kernel):
            self._refuse("kernel_size", kernel_size, "odd sides, e.g. 3 or 5")
        strides = pair(self.layer, "stride", stride)
        if self.rearranges and strides[0] != strides[1]:
            self._refuse("stride", stride, "one number, by which space-to-depth rearranges the image")
        pads = self._pads(kernel, strides, padding, mode)
        return Geometry(kernel, (1, 1) if self.rearranges else strides, pads, mode)

    def check_names(self, options: Options) -> None:
        """Refuse what `nn.Conv2d` would not know either, in the words that Python has for it.

        Raises:
            TypeError: there is such an option.
        """
        unknown = set(options) - set(Options.__annotations__)
        if unknown:
            raise TypeError(f"{self.layer} got an unexpected argument {min(unknown)!r}")

    def _pads(
        self, kernel: tuple[int, int], strides: tuple[int, int], padding: Padding, mode: str
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        rows, columns = (((k - 1) // 2, k - 1 - (k - 1) // 2) for k in kernel)
        name = padding if isinstance(padding, str) else ""
        if name == "same":
            if not self.rearranges and strides != (1, 1):
                self._refuse("padding", padding, "numbers where the stride is not 1")
            return rows, columns
        both = _pair(0 if name == "valid" else padding, 0)
        pads = None if both is None else ((both[0], both[0]), (both[1], both[1]))
        if pads is None and self.any_padding:
            self._refuse("padding", padding, "'same', 'valid', or numbers from 0 on")
        if pads is None or not (self.any_padding or pads == (rows, columns)):
            number = rows[0] if rows == columns else (rows[0], columns[0])
            even = rows[0] != rows[1] or columns[0] != columns[1]
            self._refuse("padding", padding, "'same'" if even else f"'same', which is {number} here")
        if mode == "circular" and any(2 * p[0] > k - 1 for p, k in zip(pads, kernel, strict=True)):
            self._refuse(
                "padding", padding, "at most (kernel_size − 1)/2 where it is circular: more copies cells"
            )
        return pads

    def _refuse(self, name: str, value: object, allowed: str) -> NoReturn:
        raise UsageError(f"{self.layer} does not allow {name}={value!r}", hint=f"allowed: {allowed}")


def pair(layer: str, name: str, value: object) -> tuple[int, int]:
    """A pair of whole numbers from 1 on, or one that counts twice.

    Raises:
        UsageError: it is none.
    """
    both = _pair(value, 1)
    if both is None:
        raise UsageError(
            f"{layer} does not allow {name}={value!r}",
            hint="allowed: one or two whole numbers from 1 on",
        )
    return both


def whole(layer: str, *, least: int = 1, **values: object) -> tuple[int, ...]:
    """Whole numbers, as `integer` has them.

    Raises:
        UsageError: one is not a whole number from `least` on.
    """
    found = []
    for name, value in values.items():
        number = integer(value)
        if number is None or number < least:
            raise UsageError(
                f"{layer} does not allow {name}={value!r}", hint=f"allowed: whole numbers from {least} on"
            )
        found.append(number)
    return tuple(found)


def integer(value: object) -> int | None:
    """A whole number of whatever type as Python counts; None for anything else, and for True and False."""
    number: Any = value
    try:
        return None if isinstance(value, bool) else operator.index(number)
    except TypeError:
        return None


def finite(value: object) -> bool:
    """Whether it is a number, and neither NaN nor infinite."""
    number: Any = value
    try:
        return math.isfinite(number)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False


def check_dtype(layer: str, dtype: object) -> None:
    """The type of new parameters; None is torch's default type.

    Raises:
        UsageError: weights cannot be derived in it.
    """
    wanted = torch.get_default_dtype() if dtype is None else dtype
    if wanted not in DTYPES:
        raise UsageError(
            f"{layer} does not allow dtype={wanted!r}",
            hint=f"allowed: {' or '.join(map(str, DTYPES))}; train in float32 (torch.autocast is fine), "
            "freeze the model, then convert it",
        )


def tensor_options(options: Options) -> dict[str, Any]:
    """`device` and `dtype` of new parameters."""
    return {"device": options.get("device"), "dtype": options.get("dtype")}


def _pair(value: object, least: int) -> tuple[int, int] | None:
    both = value if isinstance(value, tuple | list) else (value, value)
    numbers = [number for number in map(integer, both) if number is not None and number >= least]
    return (numbers[0], numbers[1]) if len(numbers) == len(both) == 2 else None
