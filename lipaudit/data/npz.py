"""Images and labels from a NumPy archive: ``npz:PATH`` with the arrays `images` and `labels`.

`images` is uint8 or floating and one of (N, H, W), (N, C, H, W), (N, H, W, C) with C = 1 or 3, (N, D).
Archives are read with ``allow_pickle=False``: a file cannot bring code along.
"""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipaudit.data.places import is_file
from lipaudit.data.source import (
    FILE_SPACE,
    PIXEL_SPACE,
    Opened,
    Request,
    Source,
    in_memory,
    memory,
    refuse_pointer,
)
from lipaudit.errors import InputRefused, InputUnavailable, UsageError

__all__ = ["NPZ", "images_of", "labels_of", "read_arrays"]

_IMAGE_DTYPES = ("uint8", "float16", "float32", "float64")
_COLOURS = (1, 3)
# What NumPy and the zip reader raise on damaged, encrypted, pickled or absurdly large members; OSError is a
# seek to where a damaged directory points.
_UNREADABLE = (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error, RuntimeError, MemoryError)


_KEYS = ("images", "labels")


def _open(request: Request) -> Opened:
    """The whole archive.

    Raises:
        UsageError: no path.
        InputUnavailable: no such file.
        InputRefused: not an archive, an array is missing, or its shape, type or values cannot be meant.
    """
    if not request.rest:
        raise UsageError("npz needs a path", hint="write --dataset npz:FILE.npz")
    path = _find(Path(request.rest), request.data_dir)
    arrays = read_arrays(path, _KEYS)
    images = images_of(arrays["images"], path)
    labels = labels_of(arrays["labels"], len(images), path)
    return in_memory(f"npz:{path.name}", (images, labels), official=None, space=_space(images))


NPZ = Source("npz:FILE.npz", _open)


def _find(path: Path, data_dir: Path | None) -> Path:
    places = [path] if data_dir is None or path.is_absolute() else [path, data_dir / path]
    for place in places:
        if is_file(place):
            return place
    raise InputUnavailable(
        "no such file: " + ", ".join(str(place) for place in places),
        hint=f"{_meant(path, places)}npz:PATH is relative to the current folder, or to --data-dir",
    )


def _meant(path: Path, places: list[Path]) -> str:
    """`did you mean npz:test.npz? `, of the archives that lie there; "" if none is spelt alike."""
    names: list[str] = []
    for place in places:
        with contextlib.suppress(OSError, ValueError):
            names += [sibling.stem for sibling in place.parent.iterdir() if sibling.suffix == ".npz"]
    close = get_close_matches(path.stem, names, n=1)  # the suffix makes all names alike
    return f"did you mean npz:{path.with_name(close[0] + '.npz')}? " if close else ""


def read_arrays(path: Path, keys: tuple[str, str]) -> dict[str, NDArray[Any]]:
    """The arrays of these names.

    Raises:
        InputUnavailable: the file cannot be read.
        InputRefused: it is no archive, or lacks one of them.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputUnavailable(f"{path} cannot be read ({error.strerror or error})") from error
    with stream:
        refuse_pointer(stream.read(64), path)
        try:
            return _decode(stream, path, keys)
        except _UNREADABLE as error:
            raise InputRefused(
                f"{path} cannot be decoded ({str(error) or type(error).__name__})",
                hint="write plain numbers with numpy.savez_compressed; arrays of objects are never read",
            ) from error


def _decode(stream: BinaryIO, path: Path, keys: tuple[str, str]) -> dict[str, NDArray[Any]]:
    hint = f"write it with numpy.savez_compressed(path, {keys[0]}=..., {keys[1]}=...)"
    if not zipfile.is_zipfile(stream):
        raise InputRefused(f"{path} is not an npz archive, or it is truncated", hint=hint)
    with zipfile.ZipFile(stream) as members:
        size = sum(member.file_size for member in members.infolist())
    if size > memory():
        raise InputRefused(
            f"{path} expands to {size} bytes, more than this machine's memory",
            hint="store fewer samples, or the pixels as uint8",
        )
    stream.seek(0)
    # Opened here and closed here: np.load leaves an archive open whose directory it cannot read.
    with np.load(stream, allow_pickle=False) as archive:
        missing = [key for key in keys if key not in archive]
        if missing:
            raise InputRefused(
                f"{path} lacks {' and '.join(repr(key) for key in missing)}; it holds "
                + (", ".join(repr(key) for key in archive) or "nothing"),
                hint=hint,
            )
        return {key: archive[key] for key in keys}


def images_of(array: NDArray[Any], path: Path) -> Tensor:
    """(N, C, H, W) or (N, D), finite, in the machine's byte order.

    Raises:
        InputRefused: the array has another shape or type, or holds NaN or infinity.
    """
    if array.dtype.name not in _IMAGE_DTYPES:
        raise InputRefused(
            f"{path}: images are {array.dtype.name}; accepted are {', '.join(_IMAGE_DTYPES)}",
            hint="store pixels 0 to 255 as uint8, or pixels in [0, 1] as float32",
        )
    array = _channels_first(array, path)
    if array.dtype.kind == "f":
        finite = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
        if not finite.all():
            raise InputRefused(
                f"{path}: image {int(np.argmin(finite))} holds NaN or infinity "
                f"({int((~finite).sum())} such images)",
                hint="clean the data set first",
            )
    return torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))


def _channels_first(array: NDArray[Any], path: Path) -> NDArray[Any]:
    shape = array.shape
    if not 2 <= array.ndim <= 4 or 0 in shape[1:]:
        raise InputRefused(
            f"{path}: images have shape {shape}",
            hint="accepted are (N, H, W), (N, C, H, W), (N, H, W, C) with C = 1 or 3, and (N, D)",
        )
    if array.ndim == 2:
        return array
    if array.ndim == 3:
        return array[:, None]
    first, last = shape[1] in _COLOURS, shape[3] in _COLOURS
    if first and last:
        raise InputRefused(
            f"{path}: images of shape {shape} may have their channels first or last",
            hint="store them as (N, H, W) if there is one channel, else flatten them to (N, D)",
        )
    return array.transpose(0, 3, 1, 2) if last else array


def labels_of(array: NDArray[Any], count: int, path: Path) -> Tensor:
    """(N,) int64.

    Raises:
        InputRefused: not `count` integers from 0.
    """
    if array.ndim != 1 or array.dtype.kind not in "iu":
        one_hot = array.ndim == 2 and array.shape[1] > 1
        raise InputRefused(
            f"{path}: labels have shape {array.shape} and type {array.dtype.name}; "
            "needed are integers of shape (N,)",
            hint="turn one-hot rows into class numbers with argmax(axis=1)"
            if one_hot
            else "write labels.reshape(-1).astype(numpy.int64)",
        )
    if len(array) != count:
        raise InputRefused(f"{path} holds {count} images, but {len(array)} labels")
    outside = (array < 0) | (array > np.iinfo(np.int64).max)
    if outside.any():
        first = int(np.argmax(outside))
        raise InputRefused(
            f"{path}: label {first} is {array[first]}; labels count from 0",
            hint="leave out samples without a label",
        )
    return torch.from_numpy(array.astype(np.int64))


def _space(images: Tensor) -> str:
    # Judged on the whole file, so that a selection cannot change the unit of the radii.
    if images.dtype == torch.uint8 or (
        images.numel() and float(images.min()) >= 0 and float(images.max()) <= 1
    ):
        return PIXEL_SPACE
    return FILE_SPACE
