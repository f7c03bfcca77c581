"""How a data set's pixels become the network's input: `(scale·x − mean) / std`.

`x` is the pixel in [0, 1], arranged in `layout` first.  The numbers are exact fractions, because
they are part of the certified function: a certificate is stated in pixel space, and a scale that is
off by 255 is a radius that is off by 255.

A model may carry its own preprocessing under the key `lipaudit.preprocessing` (ONNX: `metadata_props`,
safetensors: `__metadata__`), a JSON object like

    {"version": 1, "layout": "chw", "scale": "1", "mean": ["0.1307"], "std": ["0.3081"],
     "input_shape": [1, 28, 28]}
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fractions import Fraction

from lipaudit.errors import InputRefused

__all__ = ["LAYOUTS", "METADATA_KEY", "Preprocessing", "parse_metadata", "parse_number"]

METADATA_KEY = "lipaudit.preprocessing"
LAYOUTS = ("chw", "hwc", "flat")

_KEYS = ("version", "layout", "scale", "mean", "std", "input_shape")
# Three digits of exponent at most: Fraction("1e999999999") would fill the memory.
_NUMBER = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?(/\d{1,40})?")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Network input = (scale·x − mean)/std, with x the data set's pixel in [0, 1].

    Args:
        layout: "chw", "hwc" or "flat"; None if it is not known.
        scale: factor of the pixel, nonzero.
        mean: subtracted, one number or one per channel; () is 0.
        std: divides, one number or one per channel, nonzero; () is 1.
        input_shape: shape of one sample as the model takes it, without batch; None if unknown.
        source: who said so: "flags", "metadata", "flags and metadata", "assumed" or "default".
        silent: the metadata say nothing about scale, mean and std.

    Raises:
        ValueError: if a number, a length or a name cannot be meant.
    """

    layout: str | None = None
    scale: Fraction = Fraction(1)
    mean: tuple[Fraction, ...] = ()
    std: tuple[Fraction, ...] = ()
    input_shape: tuple[int, ...] | None = None
    source: str = "default"
    silent: bool = False

    def __post_init__(self) -> None:
        if self.layout is not None and self.layout not in LAYOUTS:
            msg = f"layout {self.layout!r} is none of {', '.join(LAYOUTS)}"
            raise ValueError(msg)
        if self.scale == 0:
            raise ValueError("scale is 0: every image would look the same")
        if any(value == 0 for value in self.std):
            raise ValueError("std holds 0: dividing by it has no result")
        if len({len(self.mean), len(self.std)} - {0, 1}) > 1:
            msg = f"mean has {len(self.mean)} numbers and std {len(self.std)}"
            raise ValueError(msg)
        self._check_shape()

    def _check_shape(self) -> None:
        if self.input_shape is None:
            return
        if not self.input_shape or any(extent < 1 for extent in self.input_shape):
            msg = f"input_shape {list(self.input_shape)} must be a list of positive integers"
            raise ValueError(msg)
        channels = self.channels
        for name, values in (("mean", self.mean), ("std", self.std)):
            if channels is not None and len(values) not in (0, 1, channels):
                msg = f"{name} has {len(values)} numbers, the input has {channels} channels"
                raise ValueError(msg)

    @property
    def channels(self) -> int | None:
        """The number of channels, where layout and shape tell."""
        if self.input_shape is None or len(self.input_shape) != 3 or self.layout not in {"chw", "hwc"}:
            return None
        return self.input_shape[0 if self.layout == "chw" else -1]


def parse_number(text: str) -> Fraction:
    """An exact fraction from "0.1307", "1e-3" or "1/255".

    Raises:
        ValueError: for anything else, infinities and NaN included.
    """
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        msg = f"{text[:40]!r} is not a number (write 0.1307 or 1/255)"
        raise ValueError(msg)
    numerator, _, denominator = text.partition("/")
    try:
        return Fraction(numerator) / Fraction(denominator or "1")
    except ZeroDivisionError:
        msg = f"{text!r} divides by zero"
        raise ValueError(msg) from None


def parse_metadata(text: str) -> Preprocessing:
    """The preprocessing that a model file carries.

    Args:
        text: the JSON text stored under `METADATA_KEY`.

    Raises:
        InputRefused: not such an object; the message says which key.
    """
    hint = (
        f"correct or remove the metadata entry {METADATA_KEY}; --mean, --std, --scale and --layout override"
    )
    try:
        return _parse(text)
    except RecursionError:
        raise InputRefused(f"metadata {METADATA_KEY}: nested too deeply", hint=hint) from None
    except ValueError as error:
        raise InputRefused(f"metadata {METADATA_KEY}: {error}", hint=hint) from None


def _parse(text: str) -> Preprocessing:
    if len(text) > 100_000:
        raise ValueError("longer than 100 kB")
    entries = json.loads(
        text, object_pairs_hook=_unique, parse_float=_Literal, parse_int=_Literal, parse_constant=_Literal
    )
    if not isinstance(entries, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the file's fault, not the caller's
    unknown = sorted(set(entries) - set(_KEYS))
    if unknown:
        msg = f"unknown key {unknown[0]!r} (known: {', '.join(_KEYS)})"
        raise ValueError(msg)
    if entries.get("version") != "1":
        msg = f"version {entries.get('version')!r} is not understood (this program knows 1)"
        raise ValueError(msg)
    layout = entries.get("layout")
    if layout is not None and (not isinstance(layout, str) or layout not in LAYOUTS):
        msg = f"layout {layout!r} is none of {', '.join(LAYOUTS)}"
        raise ValueError(msg)
    return Preprocessing(
        layout=layout,
        scale=_number("scale", entries.get("scale", "1")),
        mean=_numbers("mean", entries.get("mean", [])),
        std=_numbers("std", entries.get("std", [])),
        input_shape=_shape(entries.get("input_shape")),
        source="metadata",
        silent=not {"scale", "mean", "std"} & set(entries),
    )


class _Literal(str):
    """A JSON number, kept as written so that it becomes an exact fraction."""

    __slots__ = ()


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        msg = f"key {twice!r} stands twice"
        raise ValueError(msg)
    return dict(pairs)


def _number(key: str, value: object) -> Fraction:
    if not isinstance(value, str):
        msg = f"{key} must be a number, not {value!r}"
        raise ValueError(msg)  # noqa: TRY004
    try:
        return parse_number(value)
    except ValueError as error:
        msg = f"{key}: {error}"
        raise ValueError(msg) from None


def _numbers(key: str, value: object) -> tuple[Fraction, ...]:
    entries = value if isinstance(value, list) else [value]
    return tuple(_number(key, entry) for entry in entries)


def _shape(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    extents = value if isinstance(value, list) else []
    if not extents or not all(isinstance(n, _Literal) and re.fullmatch(r"[1-9]\d{0,8}", n) for n in extents):
        raise ValueError("input_shape must be a list of positive integers, without the batch axis")
    return tuple(int(n) for n in extents)
