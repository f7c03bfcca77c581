"""One image file → pixels, with Pillow, as torchvision's ImageFolder would see them.

Only formats whose decoders are part of Pillow and run no other program are admitted (Pillow would also pass
EPS files on to Ghostscript).  Palettes, transparency, CMYK and the like become RGB as Pillow's ``convert``
does it: transparency is dropped.  EXIF orientation is ignored.  16-bit greyscale is refused: reducing it to
8 bits would silently change every pixel.
"""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lipaudit.data.sizing import Sizing
from lipaudit.data.source import refuse_pointer
from lipaudit.errors import InputRefused, InputUnavailable, LipauditError

__all__ = ["EXTENSIONS", "MOST_PIXELS", "is_grey", "read_picture"]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""torchvision's."""
MOST_PIXELS = 2**26
"""Of one image, before or after resizing; 8192 × 8192.  Beyond lie decompression bombs."""
_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
_GREY = ("1", "L", "LA")
_COLOUR = ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV", "La", "RGBa")


def is_grey(path: Path, shown: str) -> bool:
    """Whether the file says it has no colours; only its header is read.

    Raises:
        InputUnavailable: it cannot be opened.
        InputRefused: it is no image.
    """
    with _opened(path, shown) as image:
        return image.mode in _GREY


def read_picture(path: Path, shown: str, sizing: Sizing, *, grey: bool) -> NDArray[np.uint8]:
    """Pixels (C, H, W), C = 1 or 3, resized and cropped.

    Args:
        path: the file.
        shown: its name in messages.
        sizing: what is asked for.
        grey: one channel; the image must have no colours.

    Raises:
        InputUnavailable: it cannot be opened.
        InputRefused: no image, damaged, too large, too small for the crop, or 16-bit greyscale.
    """
    with _opened(path, shown) as image:
        if image.mode not in (*_GREY, *_COLOUR):
            raise InputRefused(
                f"{shown} has pixels of type {image.mode!r}, which do not fit 8 bits",
                hint="convert the images to 8 bits per channel, or store them in an npz file",
            )
        width, height = sizing.resized(*image.size)
        if width * height > MOST_PIXELS or not width or not height:
            raise InputRefused(
                f"{shown} would be resized from {image.size[0]}×{image.size[1]} to {width}×{height}",
                hint="give --resize H,W",
            )
        # Converted first, as torchvision does: palettes and bits cannot be interpolated.
        pixels = image.convert("L" if grey else "RGB")
        if pixels.size != (width, height):
            pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
        box = sizing.box(width, height)
        if box is None:
            raise InputRefused(
                f"{shown} has {height}×{width} pixels (height, width) before --crop, too few for it",
                hint="say --resize as well, or crop less; nothing is padded",
            )
        array = np.array(pixels.crop(box), np.uint8)
    return array[None] if grey else np.ascontiguousarray(array.transpose(2, 0, 1))


@contextmanager
def _opened(path: Path, shown: str) -> Iterator[Image.Image]:
    """The image; whatever goes wrong while it is used is told with its name."""
    try:
        # A pipe of that name would wait for ever.
        regular = stat.S_ISREG(path.stat().st_mode)
        stream = path.open("rb") if regular else None
    except OSError as error:
        raise InputUnavailable(f"{shown} cannot be read ({error.strerror or error})") from error
    if stream is None:
        raise InputRefused(f"{shown} is no regular file", hint="remove it from the folder")
    with stream, warnings.catch_warnings():
        # Pillow warns of odd metadata; pixels that it could not read are errors.
        warnings.simplefilter("ignore")
        refuse_pointer(stream.read(64), path)
        stream.seek(0)
        try:
            with Image.open(stream, formats=_FORMATS) as image:
                _refuse_bomb(image, shown)
                yield image
        except LipauditError:
            raise
        # Decoders of foreign bytes raise what they like.
        except Exception as error:
            raise InputRefused(
                f"{shown} cannot be decoded ({' '.join(str(error).split())[:120] or type(error).__name__})",
                hint="the file is damaged or no image of these formats: " + ", ".join(_FORMATS),
            ) from error


def _refuse_bomb(image: Image.Image, shown: str) -> None:
    if image.size[0] * image.size[1] > MOST_PIXELS:
        raise InputRefused(
            f"{shown} claims {image.size[0]}×{image.size[1]} pixels, more than {MOST_PIXELS}",
            hint="a decompression bomb, or an image to be reduced first",
        )
