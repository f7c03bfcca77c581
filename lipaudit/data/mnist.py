"""MNIST from its idx files.

An idx file is: two zero bytes, the type (8: unsigned byte), the number of axes, each axis's length as a
big-endian 32-bit integer, then the entries, row-major.

LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from lipaudit.data.dataset import fingerprint
from lipaudit.data.source import PIXEL_SPACE, Decoded, Source, refuse_pointer
from lipaudit.errors import InputRefused, InputUnavailable, UsageError

__all__ = ["MNIST", "OFFICIAL", "read_idx"]

_PREFIX = {"test": "t10k", "train": "train"}

# Fingerprints of the full decoded sets, shape (N, 1, 28, 28).  Computed from idx files whose decompressed MD5
# digests are those that many projects publish for the original download: test images 2646ac64…, test labels
# 27ae3e4e…, train images 6bbc9ace…, train labels a25bea73….
OFFICIAL = {
    "test": "15800362af3c857896ed50393ed595b26f33a8b576afba12e02bfe63332b9bba",
    "train": "4c954aab35f35b0ce7efc885923c206f00b2f26f40b6cf0411ff9ae1df52dcc4",
}

# MNIST has 47 MB: a file that goes on for gigabytes is damaged, or a decompression bomb.
_MAX_BYTES = 2**31
_CHUNK = 2**20


def load(split: str, data_dir: Path | None) -> Decoded:
    """The full split: images (N, 1, H, W) uint8, labels (N,).

    Raises:
        UsageError: no such split.
        InputUnavailable: no folder holds both files of the split.
        InputRefused: a file is damaged, or images and labels do not belong together.
    """
    split = split or "test"
    if split not in _PREFIX:
        raise UsageError(f"mnist has no split {split!r}", hint="use mnist:test or mnist:train")
    image_file, label_file = _find(_PREFIX[split], data_dir)
    images = read_idx(image_file, axes=3).unsqueeze(1)
    labels = read_idx(label_file, axes=1).to(torch.int64)
    if len(images) != len(labels):
        raise InputRefused(
            f"{image_file} holds {len(images)} images, but {label_file.name} beside it {len(labels)} labels",
            hint="the two files must come from the same split",
        )
    official = fingerprint(images, labels) == OFFICIAL[split]
    return Decoded(f"mnist:{split}", images, labels, PIXEL_SPACE, official)


MNIST = Source("mnist[:test|train]", load)


def read_idx(path: Path, axes: int) -> Tensor:
    """The uint8 entries of an idx file (gzipped if its name ends in .gz) with that many axes.

    Raises:
        InputRefused: wrong magic number, fewer or more entries than the header says, or a broken gzip stream.
        InputUnavailable: the file cannot be opened.
    """
    try:
        with path.open("rb") as raw:
            refuse_pointer(raw.read(64), path)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return _decode(stream, path, axes)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputRefused(
            f"{path} is not a complete gzip file ({error})", hint="fetch the file again; it may be truncated"
        ) from error
    except OSError as error:
        raise InputUnavailable(f"{path} cannot be read ({error.strerror or error})") from error


def _decode(stream: BinaryIO | gzip.GzipFile, path: Path, axes: int) -> Tensor:
    head = stream.read(4 + 4 * axes)
    if head[:4] != bytes([0, 0, 8, axes])[: len(head)]:
        raise InputRefused(
            f"{path} opens with the bytes {head[:4].hex(' ')}, but an idx file of unsigned bytes with {axes} "
            f"{'axis' if axes == 1 else 'axes'} opens with 00 00 08 {axes:02x}",
            hint="the file is not what its name says; fetch it again",
        )
    if len(head) < 4 + 4 * axes:
        raise InputRefused(f"{path} ends inside its header, after {len(head)} bytes", hint="fetch it again")
    shape = struct.unpack(f">{axes}I", head[4:])
    expected = math.prod(shape)
    if expected > _MAX_BYTES:
        raise InputRefused(f"{path} claims {expected} entries, more than any MNIST-like set has")
    entries = _read(stream, expected + 1)
    if len(entries) != expected:
        found = "more" if len(entries) > expected else f"only {len(entries)}"
        raise InputRefused(
            f"{path} should hold {expected} entries of shape {shape}, but holds {found}",
            hint="the file is truncated or damaged; fetch it again",
        )
    return torch.from_numpy(np.frombuffer(entries, np.uint8).reshape(shape))


def _read(stream: BinaryIO | gzip.GzipFile, size: int) -> bytearray:
    # In chunks: a header that lies about its size then costs no memory.
    entries = bytearray()
    while len(entries) < size and (chunk := stream.read(min(_CHUNK, size - len(entries)))):
        entries += chunk
    return entries


def _find(prefix: str, data_dir: Path | None) -> tuple[Path, Path]:
    looked = []
    for folder in _folders(data_dir):
        looked.append(folder)
        images = _first(folder, f"{prefix}-images", "idx3-ubyte")
        labels = _first(folder, f"{prefix}-labels", "idx1-ubyte")
        if images and labels:
            return images, labels
    raise InputUnavailable(
        f"no folder holds both {prefix}-images-idx3-ubyte and {prefix}-labels-idx1-ubyte (plain or .gz); "
        "looked in " + ", ".join(str(folder) for folder in looked),
        hint="name the folder with --data-dir or $LIPAUDIT_DATA",
    )


def _folders(data_dir: Path | None) -> Iterator[Path]:
    """Where MNIST may lie, the most explicit place first; torchvision keeps it in ROOT/MNIST/raw."""
    roots = [Path("data"), _user_cache()]
    if named := os.environ.get("LIPAUDIT_DATA"):
        roots.insert(0, Path(named))
    if data_dir is not None:
        roots.insert(0, data_dir)
    for root in roots:
        yield from (root, root / "mnist", root / "MNIST" / "raw")


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "lipaudit"


def _first(folder: Path, stem: str, kind: str) -> Path | None:
    # Both spellings are in circulation: the original one has a hyphen, some unpackers leave a dot.
    names = [f"{stem}{joint}{kind}{suffix}" for joint in "-." for suffix in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)
