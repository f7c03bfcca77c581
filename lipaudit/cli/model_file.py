"""Is the file of the model's name that lies here the one that was audited?

A stored report speaks of bytes, by size and SHA-256; `gate` judges it without them.  Where a file of that
name lies in the current folder or beside the report, it most likely is what will be deployed, so it is
compared.  What lies here is no evidence: it is told, and changes neither the report nor its verdict.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lipaudit.report.inputs import FileRecord
from lipaudit.report.wording import printable

__all__ = ["Present", "looked_at", "other_warning", "present_line"]

_VERIFY = "`lipaudit verify REPORT --model FILE`"


@dataclass(frozen=True, slots=True)
class Present:
    """A file that has the name of one of the model's.

    Args:
        path: where it lies.
        same: whether it holds the bytes that were audited.
    """

    path: Path
    same: bool


def looked_at(files: Iterable[FileRecord], folders: Iterable[Path]) -> tuple[Present, ...]:
    """The model's files that lie in these folders, each looked at once; what cannot be read is left out.

    Args:
        files: of the report's model, by base name.
        folders: where to look, not below them.
    """
    places = list(folders)
    found: dict[str, Present] = {}
    for file in files:
        if os.path.basename(file.name) != file.name:  # noqa: PTH119 -- a report can say "../x", or "x/."
            continue
        for folder in places:
            path = folder / file.name
            same = _is_same(path, file)
            if same is not None:
                found.setdefault(os.path.realpath(path), Present(path, same))
    return tuple(found.values())


def other_warning(present: Iterable[Present]) -> str:
    """What is told where another file than the audited one lies here; "" if none does."""
    names = [printable(str(one.path)) for one in present if not one.same]
    if not names:
        return ""
    more = f" (nor are {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{names[0]} here is not the file that was audited{more}: this verdict is not about it"


def present_line(files: Sequence[FileRecord], present: Sequence[Present]) -> str:
    """One line of the screen: whether the model's file was looked at, and what does what is left undone."""
    same = {one.path.name for one in present if one.same}
    if any(not one.same for one in present):
        return f"another file lies here than the one that was audited: {_VERIFY} tells what is true of it"
    if same and same == {file.name for file in files}:
        names = ", ".join(map(printable, sorted(same)))
        return f"{names} here: the bytes that were audited; {_VERIFY} proves it again"
    return f"the model's file was not looked at: {_VERIFY} does that"


def _is_same(path: Path, file: FileRecord) -> bool | None:
    """None where there is no plain file that can be read."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            return None
        if found.st_size != file.bytes:
            return False
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    except (OSError, ValueError):
        return None
