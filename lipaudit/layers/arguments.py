"""The arguments of `nn.Conv2d`, as far as a method allows them.

    "same"    k − 1 cells of padding per axis, ⌊(k − 1)/2⌋ of them in front, as torch has it;
    stride s  of a real strided convolution, or (`rearranges`) space-to-depth by s, so that a convolution of
              stride 1 follows: `kernel_size` then counts cells of the rearranged image.

What a method does not allow is one `UsageError`, which says what it does allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import torch

from lipaudit.errors import UsageError

__all__ = ["Allowed", "Geometry", "Options", "Padding", "Pair", "positive", "tensor_options"]

Pair = int | tuple[int, int]
Padding = int | tuple[int, int] | str


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
        unknown = set(options) - set(Options.__annotations__)
        if unknown:
            raise TypeError(f"{self.layer} got an unexpected argument {min(unknown)!r}")
        for name in ("dilation", "groups"):
            value: Any = options.get(name, 1)
            if value not in (1, (1, 1)):
                self._refuse(name, value, f"{name}=1")
        mode = options.get("padding_mode", self.padding_modes[0])
        if mode not in self.padding_modes:
            self._refuse("padding_mode", mode, " or ".join(repr(m) for m in self.padding_modes))
        kernel = positive(self.layer, "kernel_size", kernel_size)
        if self.odd and any(k % 2 == 0 for k in kernel):
            self._refuse("kernel_size", kernel_size, "odd sides: the map must be its own adjoint's mirror")
        strides = positive(self.layer, "stride", stride)
        if self.rearranges and strides[0] != strides[1]:
            self._refuse("stride", stride, "one number, by which space-to-depth rearranges the image")
        pads = self._pads(kernel, strides, padding, mode)
        return Geometry(kernel, (1, 1) if self.rearranges else strides, pads, mode)

    def _pads(
        self, kernel: tuple[int, int], strides: tuple[int, int], padding: Padding, mode: str
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        same = tuple(((k - 1) // 2, k - 1 - (k - 1) // 2) for k in kernel)
        if padding == "same":
            if not self.rearranges and strides != (1, 1):
                self._refuse("padding", padding, "numbers where the stride is not 1")
            return same[0], same[1]
        pair = (padding, padding) if isinstance(padding, int) else padding
        good = isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(p, int) and p >= 0 for p in pair)
        if isinstance(pair, str) or not good:
            self._refuse(
                "padding", padding, "'same'" + (", or numbers from 0 on" if self.any_padding else "")
            )
            raise AssertionError
        pads = ((pair[0], pair[0]), (pair[1], pair[1]))
        if not self.any_padding and pads != same:
            sizes = "'same'" if same[0][0] != same[0][1] else f"'same', which is {same[0][0]} here"
            self._refuse("padding", padding, sizes)
        if mode == "circular" and any(2 * p > k - 1 for p, k in zip(pair, kernel, strict=True)):
            self._refuse(
                "padding", padding, "at most (kernel_size − 1)/2 where it is circular: more copies cells"
            )
        return pads

    def _refuse(self, name: str, value: object, allowed: str) -> None:
        raise UsageError(f"{self.layer} does not allow {name}={value!r}", hint=f"allowed: {allowed}")


def positive(layer: str, name: str, value: Pair) -> tuple[int, int]:
    """A pair of numbers from 1 on.

    Raises:
        UsageError: it is none.
    """
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or any(not isinstance(v, int) or isinstance(v, bool) or v < 1 for v in pair):
        raise UsageError(f"{layer} does not allow {name}={value!r}", hint="allowed: whole numbers from 1 on")
    return pair[0], pair[1]


def tensor_options(options: Options) -> dict[str, Any]:
    """`device` and `dtype` of new parameters."""
    return {"device": options.get("device"), "dtype": options.get("dtype")}
