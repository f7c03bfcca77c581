"""`--dataset`: from its text to decoded samples.

A name opens the text and picks a row of `DATASETS`; what follows the first colon belongs to that row
(``mnist:train``, ``npz:digits.npz``, ``imagefolder:photos/val``).  ``none`` is no data set.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lipaudit.data.cifar import CIFAR10, CIFAR100
from lipaudit.data.dataset import Dataset, check_labels, fingerprint
from lipaudit.data.imagefolder import IMAGEFOLDER
from lipaudit.data.mnist import FASHION_MNIST, MNIST
from lipaudit.data.npz import NPZ
from lipaudit.data.places import is_folder
from lipaudit.data.sizing import UNSIZED, Sizing, make_sizing
from lipaudit.data.source import FILE_SPACE, PIXEL_SPACE, SILENT, Opened, Progress, Request, Source
from lipaudit.errors import Incomplete, InputUnavailable, UsageError

__all__ = [
    "DATASETS",
    "FILE_SPACE",
    "PIXEL_SPACE",
    "Dataset",
    "Sizing",
    "check_labels",
    "draw",
    "fingerprint",
    "load_dataset",
    "make_sizing",
]

DATASETS: dict[str, Source] = {
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "mnist": MNIST,
    "fashion-mnist": FASHION_MNIST,
    "imagefolder": IMAGEFOLDER,
    "npz": NPZ,
}


def load_dataset(
    spec: str,
    *,
    data_dir: str | Path | None = None,
    limit: int | None = None,
    seed: int | None = None,
    offline: bool = False,
    sizing: Sizing = UNSIZED,
    progress: Progress | None = None,
) -> Dataset | None:
    """The samples `spec` names, or None for ``none``.

    Args:
        spec: ``cifar10``, ``mnist:train``, ``imagefolder:PATH``, ``npz:PATH``, ``none``, ….
        data_dir: where to look first.
        limit: that many samples: the first ones, or with `seed` a draw without replacement, in file order.
        seed: of the draw; without `limit` it changes nothing.
        offline: open no socket; otherwise what is found nowhere is downloaded, if it was ever published.
        sizing: how the images of a folder get one size.
        progress: told about downloads and slow decoding.

    Raises:
        UsageError: an unknown name, a limit below 1, a negative seed, a sizing of images that have a size.
        InputUnavailable: the data set is not there.
        InputRefused: it is there and damaged.
        Incomplete: it is there and empty.
    """
    _check_selection(limit, seed)
    name, _, rest = spec.partition(":")
    is_none = name == "none" and not rest
    source = None if is_none else DATASETS.get(name)
    if source is None and not is_none:
        raise _unknown(spec, name)
    if sizing != UNSIZED and (source is None or not source.sized):
        raise UsageError(
            f"--resize and --crop do not apply to {spec}", hint="they are for images: imagefolder:FOLDER"
        )
    if source is None:
        return None
    folder = None if data_dir is None else Path(data_dir)
    if folder is not None and not is_folder(folder):
        raise InputUnavailable(f"--data-dir: no such folder: {folder}")
    request = Request(rest, folder, offline, sizing, progress or SILENT)
    return _select(source.open(request), limit, seed, sizing)


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
    if not close and is_folder(Path(name)):
        suggestion = f"for a folder of images write imagefolder:{spec}; "
    return UsageError(f"unknown data set {spec!r}", hint=f"{suggestion}known are {known}")


def _select(opened: Opened, limit: int | None, seed: int | None, sizing: Sizing) -> Dataset:
    if opened.total == 0:
        raise Incomplete(f"{opened.name} holds no image", hint="name a data set that has samples")
    indices = draw(opened.total, min(limit or opened.total, opened.total), seed)
    images, labels = opened.read(indices)
    return Dataset(
        name=opened.name,
        images=images,
        labels=labels,
        indices=indices,
        total=opened.total,
        space=opened.space,
        fingerprint_sha256=fingerprint(images, labels),
        official=opened.official,
        sizing=sizing,
    )


def draw(total: int, count: int, seed: int | None) -> Tensor:
    """Increasing positions of `count` out of `total` samples."""
    if seed is None:
        return torch.arange(count)
    # Sorting raw 64-bit keys: NumPy promises the bit generator's stream for all versions; permutations are
    # promised by neither NumPy nor torch.
    keys = np.random.PCG64(seed).random_raw(total)
    return torch.from_numpy(np.sort(np.argsort(keys, kind="stable")[:count]).astype(np.int64))
