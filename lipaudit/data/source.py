"""What a kind of data set must offer: a record in the table `DATASETS`, and what opening it gives.

Opening tells how many samples there are; only those that were selected are then read, because decoding a
folder of photographs costs minutes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from lipaudit.data.sizing import UNSIZED, Sizing
from lipaudit.errors import InputRefused, InputUnavailable

__all__ = [
    "FILE_SPACE",
    "PIXEL_SPACE",
    "SILENT",
    "Opened",
    "Progress",
    "Request",
    "Source",
    "in_memory",
    "memory",
    "read_file",
    "refuse_pointer",
]

PIXEL_SPACE = "pixel [0,1]"
FILE_SPACE = "the file's own units"

_LFS_POINTER = b"version https://git-lfs"


class Progress(Protocol):
    """Told how far a download or the decoding is."""

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` steps begins (0: unknown)."""

    def advance(self, n: int = 1) -> None:
        """`n` more steps are done."""


class Silent:
    """Progress that nobody watches."""

    def stage(self, name: str, total: int) -> None:
        """Nothing."""

    def advance(self, n: int = 1) -> None:
        """Nothing."""


SILENT = Silent()


@dataclass(frozen=True, slots=True)
class Request:
    """What a source is asked for.

    Attributes:
        rest: the text after the first colon of the specification, "" if none.
        data_dir: where to look first.
        offline: no socket may be opened.
        sizing: for sources of images of any size.
        progress: told about downloads and slow decoding.
    """

    rest: str
    data_dir: Path | None = None
    offline: bool = False
    sizing: Sizing = UNSIZED
    progress: Progress = SILENT


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A data set that was found, its samples perhaps not decoded yet.

    Attributes:
        name: how a report calls it; never a path.
        total: number of samples.
        space: the unit distances between images are in.
        official: whether these are the published data: shown by digests; False if digests differ; None if
            nobody published any.
        read: positions (K,) → images (K, C, H, W) or (K, D), uint8 or floating, and labels (K,) int64, not
            negative.
    """

    name: str
    total: int
    space: str
    official: bool | None
    read: Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Source:
    """One kind of data set.

    Attributes:
        usage: how to ask for it, for messages (``mnist[:test|train]``).
        open: finds the data.
        sized: whether `--resize` and `--crop` mean anything to it.
    """

    usage: str
    open: Callable[[Request], Opened]
    sized: bool = False


def in_memory(
    name: str, samples: tuple[Tensor, Tensor], *, official: bool | None, space: str = PIXEL_SPACE
) -> Opened:
    """A data set that is decoded as a whole, images and labels."""
    images, labels = samples
    return Opened(name, len(images), space, official, lambda which: (images[which], labels[which]))


def memory() -> float:
    """Bytes of physical memory; without limit where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return math.inf


def read_file(path: Path, most: int) -> bytes:
    """The whole file.

    Raises:
        InputUnavailable: it cannot be read.
        InputRefused: it has more than `most` bytes, or is a Git-LFS pointer.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise InputUnavailable(f"{path} cannot be read ({error.strerror or error})") from error
    refuse_pointer(content[:64], path)
    if len(content) > most:
        raise InputRefused(
            f"{path} has more than {most} bytes, too many for what its name says",
            hint="the file is not what its name says; fetch it again",
        )
    return content


def refuse_pointer(head: bytes, path: Path) -> None:
    """Name a Git-LFS pointer for what it is.

    Raises:
        InputRefused: `head`, the file's first bytes, are those of a pointer file.
    """
    if head.startswith(_LFS_POINTER):
        raise InputRefused(
            f"{path} is a Git-LFS pointer, not the data itself", hint="fetch the content with `git lfs pull`"
        )
