"""Files out of a ``.tar.gz``, read in one pass and never unpacked to disk.

Names are compared, not followed, so that links and paths that climb cannot matter; what an archive may expand
to is limited, so that a small file cannot fill the memory.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

from lipaudit.data.source import refuse_pointer
from lipaudit.errors import InputRefused, InputUnavailable

__all__ = ["read_members"]

_MOST = 2**29  # bytes after decompression; CIFAR's have 190 million
_BROKEN = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, OverflowError, MemoryError)
_HINT = "the archive is truncated or damaged; fetch it again"


class _Bounded:
    """A decompressing stream that ends in an error before it ends in all the memory."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream
        self._left = _MOST

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(chunk)
        if self._left < 0:
            msg = f"it expands to more than {_MOST} bytes"
            raise ValueError(msg)
        return chunk


def read_members(path: Path, folder: str, names: Sequence[str], most: int) -> dict[str, bytes]:
    """The regular files `folder`/name of the archive.

    Args:
        path: of the archive.
        folder: inside the archive.
        names: of the files.
        most: bytes that one of them may have.

    Raises:
        InputUnavailable: the archive cannot be read.
        InputRefused: it is damaged, is not what its name says, or lacks one of the files.
    """
    wanted = {f"{folder}/{name}": name for name in names}
    try:
        with path.open("rb") as raw:
            refuse_pointer(raw.read(64), path)
            raw.seek(0)
            found = _scan(raw, wanted, most)
    except _BROKEN as error:
        raise InputRefused(f"{path} is no complete .tar.gz ({error})", hint=_HINT) from error
    except OSError as error:
        raise InputUnavailable(f"{path} cannot be read ({error.strerror or error})") from error
    missing = [name for name in wanted if wanted[name] not in found]
    if missing:
        raise InputRefused(f"{path} lacks {', '.join(missing)}", hint=_HINT)
    return found


def _scan(raw: BinaryIO, wanted: dict[str, str], most: int) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with (
        gzip.GzipFile(fileobj=raw, mode="rb") as stream,
        # A stream ("r|") cannot be made to jump back and forth in.
        tarfile.open(fileobj=cast("BinaryIO", _Bounded(stream)), mode="r|") as archive,
    ):
        for member in archive:
            name = wanted.get(member.name.removeprefix("./"))
            # Also of members that are passed over: skipping a claimed terabyte takes minutes.
            if member.size > (_MOST if name is None else most):
                msg = f"{member.name} has {member.size} bytes"
                raise ValueError(msg)
            if name is None or name in found or not member.isreg():
                continue
            content = archive.extractfile(member)
            found[name] = b"" if content is None else content.read()
            if len(found[name]) != member.size:
                msg = f"{member.name} ends early"
                raise EOFError(msg)
            if len(found) == len(wanted):
                break
    return found
