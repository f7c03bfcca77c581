"""MNIST and Fashion-MNIST, whose idx files have the same names.

LeCun, Cortes, Burges, "The MNIST database of handwritten digits"; Xiao, Rasul, Vollgraf (2017),
"Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", arXiv:1708.07747.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from lipaudit.data import published
from lipaudit.data.dataset import fingerprint
from lipaudit.data.download import advice, obtain
from lipaudit.data.idx import read_idx
from lipaudit.data.places import is_file, listed, roots, user_cache
from lipaudit.data.published import Remote
from lipaudit.data.source import Opened, Request, Source, in_memory
from lipaudit.errors import InputRefused, InputUnavailable, UsageError

__all__ = ["FASHION_MNIST", "MNIST", "OFFICIAL"]

_PREFIX = {"test": "t10k", "train": "train"}
_SHAPE = {"test": (10_000, 1, 28, 28), "train": (60_000, 1, 28, 28)}

# Fingerprints of MNIST's full decoded sets, shape (N, 1, 28, 28).  Computed from idx files whose decompressed
# MD5 digests are those that many projects publish for the original download: test images 2646ac64…, test
# labels 27ae3e4e…, train images 6bbc9ace…, train labels a25bea73….
OFFICIAL = {
    "test": "15800362af3c857896ed50393ed595b26f33a8b576afba12e02bfe63332b9bba",
    "train": "4c954aab35f35b0ce7efc885923c206f00b2f26f40b6cf0411ff9ae1df52dcc4",
}


@dataclass(frozen=True, slots=True)
class _Set:
    """One of the two.

    Attributes:
        name: on the command line.
        folders: below a root, torchvision's first.
        remotes: per split, the files of images and labels.
        fingerprints: per split, of the decoded tensors, where they are known.
    """

    name: str
    folders: tuple[str, ...]
    remotes: dict[str, tuple[Remote, Remote]]
    fingerprints: dict[str, str]


_DIGITS = _Set("mnist", ("mnist", "MNIST/raw", ""), published.MNIST, OFFICIAL)
_CLOTHES = _Set(
    "fashion-mnist", ("fashion-mnist", "FashionMNIST/raw", "fashion", ""), published.FASHION_MNIST, {}
)


def _open(which: _Set, request: Request) -> Opened:
    """The full split: images (N, 1, H, W) uint8, labels (N,).

    Raises:
        UsageError: no such split.
        InputUnavailable: no folder holds both files of the split, and they are not to be had.
        InputRefused: a file is damaged, or images and labels do not belong together.
    """
    split = request.rest or "test"
    if split not in _PREFIX:
        raise UsageError(
            f"{which.name} has no split {split!r}", hint=f"use {which.name}:test or {which.name}:train"
        )
    image_file, label_file = _find(which, split, request)
    images = read_idx(image_file, axes=3).unsqueeze(1)
    labels = read_idx(label_file, axes=1).to(torch.int64)
    if len(images) != len(labels):
        raise InputRefused(
            f"{image_file} holds {len(images)} images, but {label_file.name} beside it {len(labels)} labels",
            hint="the two files must come from the same split",
        )
    digest = fingerprint(images, labels)
    files = _published_files(image_file, label_file)
    _refuse_namesake(which, image_file.parent, digest, files)
    if files == which.remotes[split] or digest == which.fingerprints.get(split):
        official: bool | None = True
    elif split in which.fingerprints or image_file.suffix == ".gz" or images.shape != _SHAPE[split]:
        official = False
    else:
        official = None  # Fashion-MNIST, unpacked: only the compressed files' digests are published.
    return in_memory(f"{which.name}:{split}", (images, labels), official=official)


MNIST = Source("mnist[:test|train]", partial(_open, _DIGITS))
FASHION_MNIST = Source("fashion-mnist[:test|train]", partial(_open, _CLOTHES))


def _published_files(*paths: Path) -> tuple[Remote, ...]:
    """The published files that these are."""
    known = {
        remote.sha256: remote
        for which in (_DIGITS, _CLOTHES)
        for pair in which.remotes.values()
        for remote in pair
    }
    found = []
    for path in paths:
        with path.open("rb") as stream:
            found.append(known.get(hashlib.file_digest(stream, "sha256").hexdigest()))
    return tuple(remote for remote in found if remote is not None)


def _refuse_namesake(which: _Set, folder: Path, digest: str, files: tuple[Remote, ...]) -> None:
    for other in (_DIGITS, _CLOTHES):
        if other is not which and (digest in other.fingerprints.values() or files in other.remotes.values()):
            raise InputRefused(
                f"{folder} holds {other.name}, not {which.name}; their files have the same names",
                hint=f"name the folder of {which.name} with --data-dir, or say --dataset {other.name}",
            )


def _find(which: _Set, split: str, request: Request) -> tuple[Path, Path]:
    looked, partly = [], []
    for root in roots(request.data_dir):
        for folder in (root / inside for inside in which.folders):
            looked.append(folder)
            files = _in_folder(folder, split)
            present = [file for file in files if file is not None]
            if len(present) == 2:
                return present[0], present[1]
            partly += [f"{file} lies alone" for file in present]
    names = f"{_PREFIX[split]}-images-idx3-ubyte and {_PREFIX[split]}-labels-idx1-ubyte (plain or .gz)"
    missing = f"{which.name} was not found: no folder holds both {names}; looked in {listed(looked)}"
    remotes = which.remotes[split]
    if partly:
        raise InputUnavailable(
            f"{missing}; {', '.join(partly)}",
            hint=f"complete the pair, or move it away and {advice(remotes, user_cache() / which.name)}",
        )
    folder = obtain(which.name, remotes, request, missing)
    return folder / remotes[0].file, folder / remotes[1].file


def _in_folder(folder: Path, split: str) -> tuple[Path | None, Path | None]:
    prefix = _PREFIX[split]
    return _first(folder, f"{prefix}-images", "idx3-ubyte"), _first(folder, f"{prefix}-labels", "idx1-ubyte")


def _first(folder: Path, stem: str, kind: str) -> Path | None:
    # Both spellings are in circulation: the original one has a hyphen, some unpackers leave a dot.
    # Compressed first: torchvision keeps both, and the compressed one has the published digest.
    names = [f"{stem}{joint}{kind}{suffix}" for joint in "-." for suffix in (".gz", "")]
    return next((folder / name for name in names if is_file(folder / name)), None)
