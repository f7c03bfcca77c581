"""CIFAR's batch files: bytes → images (N, 3, 32, 32) uint8 and labels (N,) int64.

The binary version has records of a label (CIFAR-100: a coarse one, then the fine one that counts) and 3072
bytes, red, green, blue, row by row.  The Python version is a pickled dictionary: `data` (N, 3072) in that
order, and `labels` or `fine_labels`.

Krizhevsky (2009), "Learning Multiple Layers of Features from Tiny Images";
https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipaudit.data.unpickle import read_pickle
from lipaudit.errors import InputRefused

__all__ = ["decode_binary", "decode_pickle", "is_same_as"]

_PIXELS = 3 * 32 * 32
_BATCH = 10_000  # records of a published binary file of CIFAR-10
_HINT = "the file is truncated or damaged; fetch it again"
_LABELS = {10: "labels", 100: "fine_labels"}


def decode_binary(content: bytes, path: Path, classes: int) -> tuple[Tensor, Tensor]:
    """Records of label bytes and pixels.

    Raises:
        InputRefused: no whole number of records, or a label out of range.
    """
    labels = 2 if classes == 100 else 1
    size = labels + _PIXELS
    if len(content) % size:
        raise InputRefused(
            f"{path} has {len(content)} bytes, which is no multiple of {size}, the size of one labelled "
            "image",
            hint=_HINT,
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    return _samples(records[:, labels:], records[:, labels - 1].astype(np.int64), path, classes)


def decode_pickle(content: bytes, path: Path, classes: int) -> tuple[Tensor, Tensor]:
    """A pickled dictionary of one array and a list of labels.

    Raises:
        InputRefused: not such a dictionary, or a label out of range; nothing in it is run.
    """
    found = read_pickle(content, path)
    key = _LABELS[classes]
    data, labels = getattr(found.get("data"), "array", None), found.get(key)
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != _PIXELS:
        raise InputRefused(f"{path} holds no 'data', an array of rows of {_PIXELS} bytes", hint=_HINT)
    if not isinstance(labels, list) or len(labels) != len(data):
        raise InputRefused(f"{path} holds no {key!r}, a list of {len(data)} numbers", hint=_HINT)
    if not all(type(label) is int and 0 <= label < classes for label in labels):
        raise InputRefused(f"{path}: some {key} are no numbers from 0 to {classes - 1}", hint=_HINT)
    return _samples(data, np.array(labels, np.int64), path, classes)


def _samples(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], path: Path, classes: int
) -> tuple[Tensor, Tensor]:
    outside = labels >= classes
    if outside.any():
        first = int(np.argmax(outside))
        raise InputRefused(
            f"{path}: image {first} has label {labels[first]} of {classes} classes", hint=_HINT
        )
    # A copy: the file's bytes cannot be written to, and torch wants to.
    return torch.from_numpy(pixels.reshape(-1, 3, 32, 32).copy()), torch.from_numpy(labels)


def is_same_as(samples: tuple[Tensor, Tensor], md5: Sequence[str]) -> bool:
    """Whether CIFAR-10's binary files with these digests hold these samples, stored however."""
    images, labels = samples[0].numpy(), samples[1].numpy()
    if images.shape != (len(md5) * _BATCH, 3, 32, 32) or images.dtype != np.uint8 or labels.max() > 255:
        return False
    records = np.concatenate([labels[:, None].astype(np.uint8), images.reshape(len(images), -1)], axis=1)
    return all(
        hashlib.md5(batch.data, usedforsecurity=False).hexdigest() == digest
        for batch, digest in zip(np.split(records, len(md5)), md5, strict=True)
    )
