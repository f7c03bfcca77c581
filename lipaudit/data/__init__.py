"""`--dataset`: from its text to decoded samples.

A name opens the text and picks a row of `DATASETS`; what follows the first colon belongs to that row
(``mnist:train``, ``npz:digits.npz``).  ``none`` is no data set.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lipaudit.data.dataset import Dataset, check_labels, fingerprint
from lipaudit.data.mnist import MNIST
from lipaudit.data.npz import NPZ
from lipaudit.data.source import FILE_SPACE, PIXEL_SPACE, Decoded, Source
from lipaudit.errors import Incomplete, InputUnavailable, UsageError

__all__ = [
    "DATASETS",
    "FILE_SPACE",
    "PIXEL_SPACE",
    "Dataset",
    "check_labels",
    "fingerprint",
    "load_dataset",
]

DATASETS: dict[str, Source] = {"mnist": MNIST, "npz": NPZ}


def load_dataset(
    spec: str, *, data_dir: Path | None = None, limit: int | None = None, seed: int | None = None
) -> Dataset | None:
    """The samples `spec` names, or None for ``none``.

    Args:
        spec: ``mnist``, ``mnist:train``, ``npz:PATH``, ``none``.
        data_dir: where to look first.
        limit: that many samples: the first ones, or with `seed` a draw without replacement, in file order.
        seed: of the draw; without `limit` it changes nothing.

    Raises:
        UsageError: an unknown name, a limit below 1, a negative seed.
        InputUnavailable: the data set is not there.
        InputRefused: it is there and damaged.
        Incomplete: it is there and empty.
    """
    _check_selection(limit, seed)
    name, _, rest = spec.partition(":")
    if name == "none" and not rest:
        return None
    source = DATASETS.get(name)
    if source is None:
        raise _unknown(spec, name)
    if data_dir is not None and not data_dir.is_dir():
        raise InputUnavailable(f"--data-dir: no such folder: {data_dir}")
    return _select(source.load(rest, data_dir), limit, seed)


def _check_selection(limit: int | None, seed: int | None) -> None:
    if limit is not None and limit < 1:
        raise UsageError(
            f"--limit {limit}: at least one sample is needed", hint="leave it out for all samples"
        )
    if seed is not None and seed < 0:
        raise UsageError(f"--seed {seed}: a seed is 0 or more")


def _unknown(spec: str, name: str) -> UsageError:
    known = ", ".join([source.usage for source in DATASETS.values()] + ["none"])
    if name.lower().endswith(".npz"):
        return UsageError(
            f"unknown data set {spec!r}", hint=f"for a file write npz:{spec}; known are {known}"
        )
    close = difflib.get_close_matches(name.lower(), [*DATASETS, "none"], n=1)
    suggestion = f"did you mean {close[0]}? " if close else ""
    return UsageError(f"unknown data set {spec!r}", hint=f"{suggestion}known are {known}")


def _select(decoded: Decoded, limit: int | None, seed: int | None) -> Dataset:
    total = len(decoded.images)
    if total == 0:
        raise Incomplete(f"{decoded.name} holds no image", hint="name a data set that has samples")
    indices = _draw(total, min(limit or total, total), seed)
    images, labels = decoded.images[indices], decoded.labels[indices]
    return Dataset(
        name=decoded.name,
        images=images,
        labels=labels,
        indices=indices,
        total=total,
        space=decoded.space,
        fingerprint_sha256=fingerprint(images, labels),
        official=decoded.official,
    )


def _draw(total: int, count: int, seed: int | None) -> Tensor:
    """Increasing positions of `count` out of `total` samples."""
    if seed is None:
        return torch.arange(count)
    # Sorting raw 64-bit keys: NumPy promises the bit generator's stream for all versions; permutations are
    # promised by neither NumPy nor torch.
    keys = np.random.PCG64(seed).random_raw(total)
    return torch.from_numpy(np.sort(np.argsort(keys, kind="stable")[:count]).astype(np.int64))
