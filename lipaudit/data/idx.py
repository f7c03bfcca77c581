"""idx files, plain or gzipped.

Two zero bytes, the type (8: unsigned byte), the number of axes, each axis's length as a big-endian 32-bit
integer, then the entries, row-major.

LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from lipaudit.data.source import refuse_pointer
from lipaudit.errors import InputRefused, InputUnavailable

__all__ = ["read_idx"]

# MNIST has 47 MB: a file that goes on for gigabytes is damaged, or a decompression bomb.
_MAX_BYTES = 2**31
_CHUNK = 2**20


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
