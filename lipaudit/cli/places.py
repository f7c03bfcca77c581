"""Places that something is written to: which of them are one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from lipaudit.errors import UsageError

__all__ = ["check_apart"]


def check_apart(paths: Iterable[Path | None]) -> None:
    """Two outputs never go to one place, whatever links lead there; None is stdout.

    Raises:
        UsageError: two do.
    """
    found: dict[object, Path | None] = {}
    for path in paths:
        place = None if path is None else _place(path)
        if place in found:
            if path is None:
                raise UsageError("two outputs go to stdout")
            raise UsageError(
                f"two outputs go to {os.path.realpath(path)}", hint="each needs a place of its own"
            )
        found[place] = path


def _place(path: Path) -> object:
    """The folder and the name in it: a folder may have several paths, also without a link."""
    final = Path(os.path.realpath(path))
    try:
        folder = final.parent.stat()
    except (OSError, ValueError):  # what is wrong with it is told when it is tried
        return final
    return folder.st_dev, folder.st_ino, final.name
