"""External data of ONNX files: weights kept in files beside the model.

The location is text from the file, so it may point anywhere.  Only plain names below the model's own folder
are read: no absolute paths, no `..`, no symbolic links, no second names of a file (hard links), nothing but
regular files.  Each folder and file is opened once, without following links, and what was opened is what is
judged and read.  All sizes are held against each other before the first byte is.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from lipaudit.errors import InputRefused, InputUnavailable
from lipaudit.load.graph_limits import byte_size, tensors_of

__all__ = ["PROTO_LIMIT", "embed"]

PROTO_LIMIT = (1 << 31) - 1
"""Bytes of one protobuf message, hence of a model with its data inside."""
_NUMBER = re.compile("[0-9]{1,18}")
_HINT = "external data must lie in the model's own folder; save the model with its data inside"


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A tensor's place in a file."""

    tensor: onnx.TensorProto
    location: str
    offset: int
    length: int


def embed(
    model: onnx.ModelProto, folder: Path, announce: Callable[[int], None] = lambda _: None
) -> dict[str, bytes]:
    """Replace external tensors of `model` by their bytes.

    Args:
        model: changed in place.
        folder: the model's own.
        announce: told how many bytes will be read, before they are.

    Returns:
        The files read, by name.

    Raises:
        InputRefused: a path that leaves the folder, a link, or sizes that contradict each other.
        InputUnavailable: a file that is not there.
    """
    files: dict[str, bytes] = {}
    with ExitStack() as opened:
        descriptors: dict[str, int] = {}
        parts: list[_Part] = []
        for tensor in tensors_of(model):
            if tensor.data_location != onnx.TensorProto.EXTERNAL:
                continue
            if not tensor.external_data:
                raise InputRefused(f"tensor {tensor.name!r} is stored elsewhere, but where is not said")
            entries = {entry.key: entry.value for entry in tensor.external_data}
            location = entries.get("location", "")
            if location not in descriptors:
                descriptors[location] = _open(folder, location, tensor.name)
                opened.callback(os.close, descriptors[location])
            parts.append(_part(tensor, location, entries, os.fstat(descriptors[location]).st_size))
        sizes = {location: os.fstat(descriptor).st_size for location, descriptor in descriptors.items()}
        total = max(sum(sizes.values()), sum(part.length for part in parts))
        if total + model.ByteSize() > PROTO_LIMIT:
            raise InputRefused(
                "the model with its external data is larger than 2 GiB, which is not supported yet",
                hint="audit a smaller model",
            )
        if sizes:
            announce(sum(sizes.values()))
        for location, descriptor in descriptors.items():
            files[location] = _read(descriptor, sizes[location], location)
    for part in parts:
        part.tensor.raw_data = files[part.location][part.offset : part.offset + part.length]
        part.tensor.data_location = onnx.TensorProto.DEFAULT
        del part.tensor.external_data[:]
    return files


def _part(tensor: onnx.TensorProto, location: str, entries: dict[str, str], size: int) -> _Part:
    """Where a tensor lies, held against its shape and its file's size."""
    name = tensor.name
    texts = [entries.get("offset", "0"), entries.get("length", "0")]
    if not all(_NUMBER.fullmatch(text) for text in texts):
        raise InputRefused(f"tensor {name!r}: offset or length of its external data is no number")
    offset, length = map(int, texts)
    if "length" not in entries:
        length = max(0, size - offset)
    if offset + length > size:
        raise InputRefused(
            f"tensor {name!r}: its external data file is too short (truncated?)", hint="repeat the download"
        )
    wanted = byte_size(tensor)
    if length != wanted:
        raise InputRefused(
            f"tensor {name!r} of shape {list(tensor.dims)[:8]} takes {wanted} bytes, "
            f"its external data {length}",
            hint="the model or its data file is damaged: export it again",
        )
    return _Part(tensor, location, offset, length)


def _open(folder: Path, location: str, tensor: str) -> int:
    """A descriptor of the regular file at `location`, reached without following a link."""
    names = PurePosixPath(location.replace("\\", "/")).parts
    shown = repr(location[:120])
    escapes = (
        not names
        or "\0" in location
        or ".." in names
        or PurePosixPath(location).is_absolute()
        or bool(PureWindowsPath(location).anchor)
    )
    if escapes:
        raise InputRefused(
            f"tensor {tensor!r} wants to be read from {shown}, outside of the model's folder", hint=_HINT
        )
    try:
        with ExitStack() as opened:
            place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            opened.callback(os.close, place)
            for name in names[:-1]:
                _refuse_link(name, place, shown)
                place = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
                opened.callback(os.close, place)
            _refuse_link(names[-1], place, shown)
            # O_NONBLOCK: opening a pipe would wait for its writer.
            descriptor = os.open(names[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
    except (FileNotFoundError, NotADirectoryError):
        raise InputUnavailable(
            f"external data {shown} is not there", hint="put it beside the model file"
        ) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InputRefused(f"external data {shown} is a symbolic link", hint=_HINT) from None
        raise InputUnavailable(
            f"external data {shown} cannot be read: {error.strerror}", hint="check its permissions"
        ) from None
    found = os.fstat(descriptor)
    why = ""
    if not stat.S_ISREG(found.st_mode):
        why = "is not a regular file"
    elif found.st_nlink > 1:
        why = "is a hard link: the same file has a name elsewhere"
    if why:
        os.close(descriptor)
        raise InputRefused(f"external data {shown} {why}", hint="put a copy of the file beside the model")
    return descriptor


def _refuse_link(name: str, place: int, shown: str) -> None:
    """Say what a link is; that none is followed is seen to by O_NOFOLLOW."""
    if stat.S_ISLNK(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
        raise InputRefused(f"external data {shown} is a symbolic link", hint=_HINT)


def _read(descriptor: int, size: int, location: str) -> bytes:
    """The file's `size` bytes."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        data = file.read(size)
    if len(data) != size:
        raise InputRefused(f"external data {location[:120]!r} changed while it was read", hint="try again")
    return data
