"""CIFAR-10 and CIFAR-100, in every form they are passed around in.

Python and binary batches, unpacked or in the archive as downloaded, in torchvision's folders or beside one
another; also ``cifar10_test.npz`` (arrays `images`, `labels`) and ``cifar10.npz`` (`x_test`, `y_test`, …).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lipaudit.data import npz, published
from lipaudit.data.archive import read_members
from lipaudit.data.cifar_batches import decode_binary, decode_pickle, is_same_as
from lipaudit.data.download import advice, obtain
from lipaudit.data.places import is_file, listed, named_roots, roots, user_cache
from lipaudit.data.published import Remote
from lipaudit.data.source import Opened, Request, Source, in_memory, read_file
from lipaudit.errors import InputRefused, InputUnavailable, UsageError

__all__ = ["CIFAR10", "CIFAR100"]

_MOST = 2**28  # bytes of one batch file; CIFAR-100's training file has 155 million
_COUNT = {"test": 10_000, "train": 50_000}
_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))

Samples = tuple[Tensor, Tensor]
Decode = Callable[[bytes, Path, int], Samples]


@dataclass(frozen=True, slots=True)
class _Form:
    """One way the batches are published."""

    folder: str
    archive: str
    files: dict[str, tuple[str, ...]]
    decode: Decode


@dataclass(frozen=True, slots=True)
class _Set:
    name: str
    classes: int
    forms: tuple[_Form, ...]
    md5: dict[str, str]
    remote: Remote
    binary: dict[str, tuple[str, ...]]
    """Per split, digests to compare decoded tensors with; empty where decoding loses a label."""


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Where a split lies; reading gives samples and whether its files are the published ones."""

    read: Callable[[], tuple[Samples, bool | None]]


@dataclass(frozen=True, slots=True)
class _Search:
    """What was looked at, and what is there only in part."""

    folders: list[Path] = field(default_factory=list)
    partly: list[str] = field(default_factory=list)


def _suffixed(files: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {split: tuple(f"{name}.bin" for name in names) for split, names in files.items()}


_FILES10: dict[str, tuple[str, ...]] = {"test": ("test_batch",), "train": _TRAIN}
_FILES100: dict[str, tuple[str, ...]] = {"test": ("test",), "train": ("train",)}
_TEN = _Set(
    "cifar10",
    10,
    (
        _Form("cifar-10-batches-py", "cifar-10-python.tar.gz", _FILES10, decode_pickle),
        _Form("cifar-10-batches-bin", "cifar-10-binary.tar.gz", _suffixed(_FILES10), decode_binary),
    ),
    published.CIFAR10_FILES,
    published.CIFAR10,
    {
        split: tuple(published.CIFAR10_FILES[name] for name in names)
        for split, names in _suffixed(_FILES10).items()
    },
)
_HUNDRED = _Set(
    "cifar100",
    100,
    (
        _Form("cifar-100-python", "cifar-100-python.tar.gz", _FILES100, decode_pickle),
        _Form("cifar-100-binary", "cifar-100-binary.tar.gz", _suffixed(_FILES100), decode_binary),
    ),
    published.CIFAR100_FILES,
    published.CIFAR100,
    {},
)


def _open(which: _Set, request: Request) -> Opened:
    """The full split: images (N, 3, 32, 32) uint8, labels (N,).

    Raises:
        UsageError: no such split.
        InputUnavailable: not found, or only some of its files, and not to be had.
        InputRefused: a file is damaged, or holds something else.
    """
    split = request.rest or "test"
    if split not in which.forms[0].files:
        raise UsageError(
            f"{which.name} has no split {split!r}", hint=f"use {which.name}:test or {which.name}:train"
        )
    search = _Search()
    found = next(_places(which, split, request, search), None)
    if found is None:
        found = _fetched(which, split, request, search)
    samples, official = found.read()
    if not official:
        official = _compared(which, split, samples, otherwise=official)
    return in_memory(f"{which.name}:{split}", samples, official=official)


def _compared(which: _Set, split: str, samples: Samples, *, otherwise: bool | None) -> bool | None:
    """Samples from other files than the published ones may still be the published samples."""
    if split in which.binary:
        return is_same_as(samples, which.binary[split])
    # CIFAR-100's digests cover coarse labels, which arrays do not have: only the number can be told.
    return otherwise if len(samples[0]) == _COUNT[split] else False


CIFAR10 = Source("cifar10[:test|train]", partial(_open, _TEN))
CIFAR100 = Source("cifar100[:test|train]", partial(_open, _HUNDRED))


def _places(which: _Set, split: str, request: Request, search: _Search) -> Iterator[_Found]:
    """Every place that holds the whole split, the most explicit first."""
    named = named_roots(request.data_dir)
    for root in roots(request.data_dir):
        for base in (root, root / which.name):
            search.folders.append(base)
            for form in which.forms:
                yield from _folder(which, form, split, base / form.folder, search)
                if is_file(base / form.archive):
                    yield _Found(partial(_from_archive, which, form, split, base / form.archive))
            yield from _arrays(which, split, base)
            # Files right there: only where somebody said so, as a "test" of anybody's may lie about.
            if root in named:
                for form in which.forms:
                    yield from _folder(which, form, split, base, search)


def _fetched(which: _Set, split: str, request: Request, search: _Search) -> _Found:
    if search.partly:
        raise InputUnavailable(
            f"{which.name}:{split} is there only in part: {'; '.join(dict.fromkeys(search.partly))}",
            hint=f"complete it, or move it away and {advice([which.remote], user_cache() / which.name)}",
        )
    names = " or ".join(f"{form.folder} or {form.archive}" for form in which.forms)
    missing = f"{which.name} was not found: no {names} in {listed(search.folders)}"
    folder = obtain(which.name, [which.remote], request, missing)
    form = next(form for form in which.forms if form.archive == which.remote.file)
    return _Found(partial(_from_archive, which, form, split, folder / form.archive))


def _folder(which: _Set, form: _Form, split: str, folder: Path, search: _Search) -> Iterator[_Found]:
    names = form.files[split]
    missing = [name for name in names if not is_file(folder / name)]
    if not missing:
        yield _Found(partial(_from_folder, which, form, split, folder))
    elif len(missing) < len(names):
        search.partly.append(f"{folder} lacks {', '.join(missing)}")


def _from_folder(which: _Set, form: _Form, split: str, folder: Path) -> tuple[Samples, bool]:
    contents = {name: read_file(folder / name, _MOST) for name in form.files[split]}
    return _decoded(which, form, contents, folder)


def _from_archive(which: _Set, form: _Form, split: str, path: Path) -> tuple[Samples, bool]:
    return _decoded(which, form, read_members(path, form.folder, form.files[split], _MOST), path)


def _decoded(which: _Set, form: _Form, contents: dict[str, bytes], place: Path) -> tuple[Samples, bool]:
    batches, official = [], True
    for name in sorted(contents):
        batches.append(form.decode(contents[name], place / name, which.classes))
        md5 = hashlib.md5(contents[name], usedforsecurity=False).hexdigest()
        official = official and md5 == which.md5[name]
    return _joined(batches), official


def _joined(batches: Sequence[Samples]) -> Samples:
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


def _arrays(which: _Set, split: str, base: Path) -> Iterator[_Found]:
    for file, keys in (
        (f"{which.name}_{split}.npz", ("images", "labels")),
        (f"{which.name}.npz", (f"x_{split}", f"y_{split}")),
    ):
        if is_file(base / file):
            yield _Found(partial(_from_arrays, which, base / file, keys))


def _from_arrays(which: _Set, path: Path, keys: tuple[str, str]) -> tuple[Samples, None]:
    arrays = npz.read_arrays(path, keys)
    images = npz.images_of(arrays[keys[0]], path)
    stored = arrays[keys[1]]
    # Keras keeps labels as a column.
    labels = npz.labels_of(stored[:, 0] if stored.shape[1:] == (1,) else stored, len(images), path)
    if (
        images.shape[1:] != (3, 32, 32)
        or images.dtype != torch.uint8
        or bool((labels >= which.classes).any())
    ):
        raise InputRefused(
            f"{path} is not {which.name}: its images are {images.dtype} of shape {tuple(images.shape[1:])}, "
            f"labels up to {int(labels.max()) if len(labels) else None}",
            hint=f"read it as --dataset npz:{path}",
        )
    return (images, labels), None
