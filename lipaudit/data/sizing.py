"""`--resize` and `--crop`: what torchvision's Resize and CenterCrop do to a PIL image.

One number after ``--resize`` is the length of the shorter side, the longer one follows (rounded down); two
are height and width.  The interpolation is bilinear with antialiasing.  One number after ``--crop`` is a
square.  Unlike CenterCrop, nothing is ever padded: black borders that nobody asked for would belong to the
image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lipaudit.errors import UsageError

__all__ = ["LARGEST_SIDE", "UNSIZED", "Sizing", "make_sizing"]

LARGEST_SIDE = 2**14
"""Of what may be asked for; networks take a few hundred."""

Sides = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sizing:
    """What is done to every image before it becomes a sample.

    Attributes:
        resize: (shorter side,) or (height, width); None leaves the size alone.
        crop: (height, width) of the centre; None crops nothing.
    """

    resize: Sides | None = None
    crop: Sides | None = None

    @property
    def interpolation(self) -> str | None:
        """How resizing finds its pixels; None where nothing is resized."""
        return None if self.resize is None else "bilinear, antialiased"

    @property
    def told(self) -> str:
        """What was done, in words; distances are those of the images that come out."""
        done = [word for word, sides in (("resizing", self.resize), ("cropping", self.crop)) if sides]
        return " and ".join(done)

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) after resizing an image of that size."""
        if self.resize is None:
            return width, height
        if len(self.resize) == 2:
            return self.resize[1], self.resize[0]
        short = self.resize[0]
        if width <= height:
            return short, int(short * height / width)
        return int(short * width / height), short

    def box(self, width: int, height: int) -> tuple[int, int, int, int] | None:
        """(left, top, right, bottom) of the crop, or None if the image is too small for it."""
        if self.crop is None:
            return 0, 0, width, height
        tall, wide = self.crop
        if tall > height or wide > width:
            return None
        # round() takes halves to the even number, as torchvision does: the very same pixels.
        top, left = round((height - tall) / 2.0), round((width - wide) / 2.0)
        return left, top, left + wide, top + tall


UNSIZED = Sizing()


def make_sizing(resize: int | Sequence[int] | None, crop: int | Sequence[int] | None) -> Sizing:
    """What the two options ask for.

    Raises:
        UsageError: if one is neither one nor two numbers from 1 to `LARGEST_SIDE`.
    """
    height_width = _sides("--crop", crop)
    if height_width is not None and len(height_width) == 1:
        height_width *= 2
    return Sizing(_sides("--resize", resize), height_width)


def _sides(flag: str, given: int | Sequence[int] | None) -> Sides | None:
    if given is None:
        return None
    sides = (given,) if isinstance(given, int) else tuple(given)
    if len(sides) not in (1, 2) or not all(type(n) is int and 1 <= n <= LARGEST_SIDE for n in sides):
        raise UsageError(
            f"{flag} {','.join(map(str, sides))}: not a size",
            hint=f"write {flag} 224 or {flag} 224,320 (height, width), at most {LARGEST_SIDE}",
        )
    return sides
