"""What a kind of data set must offer: a record in the table `DATASETS`, and the decoded file it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lipaudit.errors import InputRefused

__all__ = ["FILE_SPACE", "PIXEL_SPACE", "Decoded", "Source", "refuse_pointer"]

PIXEL_SPACE = "pixel [0,1]"
FILE_SPACE = "the file's own units"

_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A whole data set as stored.

    Attributes:
        name: how a report calls it; never a path.
        images: (N, C, H, W) or (N, D), uint8 or floating.
        labels: (N,) int64, not negative.
        space: the unit distances between images are in.
        official: whether the tensors are the published ones; None if nobody published any.
    """

    name: str
    images: Tensor
    labels: Tensor
    space: str
    official: bool | None


@dataclass(frozen=True, slots=True)
class Source:
    """One kind of data set.

    Attributes:
        usage: how to ask for it, for messages (``mnist[:test|train]``).
        load: the text after the first colon ("" if none) and ``--data-dir`` → the decoded data set.
    """

    usage: str
    load: Callable[[str, Path | None], Decoded]


def refuse_pointer(head: bytes, path: Path) -> None:
    """Name a Git-LFS pointer for what it is.

    Raises:
        InputRefused: `head`, the file's first bytes, are those of a pointer file.
    """
    if head.startswith(_LFS_POINTER):
        raise InputRefused(
            f"{path} is a Git-LFS pointer, not the data itself", hint="fetch the content with `git lfs pull`"
        )
