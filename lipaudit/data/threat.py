"""The preprocessing as layer 0: how a data set's images enter the model.

A certificate is stated in the data set's space, so what lies between an image and the model's input belongs
to the network.  Arranging moves entries and keeps every distance (norm 1); it is decided here, by shapes
alone.  Whatever shapes leave open is refused, never guessed: a wrong guess costs accuracy without a word.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from torch import Tensor

from lipaudit.errors import InputRefused, UsageError

__all__ = ["LAYOUTS", "arrange", "layouts_for", "parse_channels", "place"]

Shape = tuple[int, ...]

LAYOUTS = ("chw", "hwc", "flat")

_COLOURS = (1, 3)
# Bounded digits: Fraction("1e999999999") would be a number of a gigabyte.
_NUMBER = re.compile(r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,3})?(/[0-9]{1,30})?")


def arrange(images_shape: Shape, model_shape: Shape, layout: str | None) -> str:
    """The layout in which images of `images_shape` fit a model input of `model_shape`.

    Args:
        images_shape: of one sample, (C, H, W) or (D,).
        model_shape: of one sample as the model takes it, without the batch axis.
        layout: asked for by the user or the model's metadata; None decides by the shapes.

    Returns:
        "chw": the entries keep their order.  "hwc": channels move last (and are flattened with the rest
        where the model takes a vector).  "flat": a vector, from (C, H, W)
        row by row.  Axes of length 1 are free in all three; `place` carries it out.

    Raises:
        UsageError: a layout that does not exist.
        InputRefused: nothing fits, or more than one reading does.
    """
    if layout is None:
        fitting = _automatic(images_shape, model_shape)
    elif layout in LAYOUTS:
        fitting = layout if _fits(images_shape, model_shape, layout) else None
    else:
        raise UsageError(f"unknown layout {layout!r}", hint=f"layouts are {', '.join(LAYOUTS)}")
    if fitting is None:
        asked = f" in layout {layout}" if layout else ""
        raise InputRefused(
            f"shapes of model and data disagree: a sample has shape {images_shape}, "
            f"the model takes {model_shape}{asked}",
            hint=_advice(images_shape, model_shape, layout),
        )
    return fitting


def layouts_for(images_shape: Shape, model_shape: Shape, layout: str | None) -> tuple[str, ...]:
    """Every layout in which the images fit: one where it is stated or the shapes decide.

    Raises:
        UsageError: a layout that does not exist.
        InputRefused: nothing fits.
    """
    if layout is None and _automatic(images_shape, model_shape) is None:
        fitting = tuple(name for name in LAYOUTS if _fits(images_shape, model_shape, name))
        if fitting:
            return fitting
    return (arrange(images_shape, model_shape, layout),)


def place(images: Tensor, layout: str, model_shape: Shape) -> Tensor:
    """A batch (N, C, H, W) or (N, D) as the model takes it, (N, *model_shape); `layout` is from `arrange`."""
    if layout == "hwc" and images.ndim == 4:
        images = images.permute(0, 2, 3, 1)
    return images.reshape(len(images), *model_shape)


def parse_channels(text: str, what: str) -> tuple[Fraction, ...]:
    """Exact numbers, one for all channels or one per channel: "0.5", "0.485,0.456,0.406", "1/255".

    Args:
        text: decimal numbers or fractions, separated by commas.
        what: the flag they were given to, for the message.

    Raises:
        UsageError: a part is not a finite number.
    """
    return tuple(_number(part.strip(), text, what) for part in text.split(","))


def _number(part: str, text: str, what: str) -> Fraction:
    if not _NUMBER.fullmatch(part):
        raise UsageError(
            f"{what} {text!r}: {part!r} is not a number", hint=f"write {what} 0.5 or {what} 0.485,0.456,0.406"
        )
    above, _, below = part.partition("/")
    if below and int(below) == 0:
        raise UsageError(f"{what} {text!r}: {part!r} divides by zero")
    return Fraction(above) / int(below or 1)


def _automatic(images: Shape, model: Shape) -> str | None:
    if images == model:
        return "flat" if len(images) == 1 else "chw"
    if len(images) == 1:
        return "flat" if _squeeze(model) == _squeeze(images) else None
    if model == _last(images) and images[0] in _COLOURS:
        return "hwc"
    if images[0] == 1:
        # One channel: first, last and flattened have their entries in the same order.
        if _squeeze(model) == _squeeze(images):
            return "chw"
        if _squeeze(model) == (math.prod(images),):
            return "flat"
    return None


def _fits(images: Shape, model: Shape, layout: str) -> bool:
    if layout == "flat":
        return _squeeze(model) == _squeeze((math.prod(images),))
    if len(images) == 1:
        # Vectors are in (C, H, W) order, the only one `flat` knows; the model says what C, H and W are.
        return layout == "chw" and len(model) == 3 and math.prod(model) == images[0]
    wanted = _last(images) if layout == "hwc" else images
    if layout == "hwc" and _squeeze(model) == (math.prod(images),):
        return True  # flattened with its channels last
    return model == wanted or (images[0] == 1 and _squeeze(model) == _squeeze(wanted))


def _advice(images: Shape, model: Shape, layout: str | None) -> str:
    if math.prod(images) != math.prod(model):
        return "the numbers of entries differ: this data set is not for this model"
    fitting = [name for name in LAYOUTS if name != layout and _fits(images, model, name)]
    if fitting:
        return "if the model was trained that way, say " + " or ".join(f"--layout {name}" for name in fitting)
    return f"no --layout ({', '.join(LAYOUTS)}) makes them fit"


def _last(images: Shape) -> Shape:
    return (*images[1:], images[0])


def _squeeze(shape: Shape) -> Shape:
    return tuple(extent for extent in shape if extent != 1)
