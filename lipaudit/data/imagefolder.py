"""``imagefolder:PATH``: one sub-folder of images per class, as torchvision's ImageFolder reads it.

Classes are the sub-folders' names in sorted order.  Links are followed; a folder that is reached twice within
a class is read once, so that loops end.  Only selected images are decoded.  They have three channels, or
one if every image of the whole folder is greyscale (the selection does not matter, so that `--limit` cannot
change what the model gets).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lipaudit.data.picture import EXTENSIONS, is_grey, read_picture
from lipaudit.data.places import is_folder
from lipaudit.data.sizing import Sizing
from lipaudit.data.source import PIXEL_SPACE, Opened, Progress, Request, Source, memory
from lipaudit.errors import InputRefused, InputUnavailable, UsageError

__all__ = ["IMAGEFOLDER"]


@dataclass(frozen=True, slots=True)
class _Image:
    path: Path
    label: int


@dataclass(frozen=True, slots=True)
class _Folder:
    """The images in torchvision's order."""

    root: Path
    images: tuple[_Image, ...]
    sizing: Sizing
    progress: Progress

    def shown(self, image: _Image) -> str:
        """A name for messages: below the root."""
        return str(Path(self.root.name) / image.path.relative_to(self.root))


def _open(request: Request) -> Opened:
    """List the folder.

    Raises:
        UsageError: no path.
        InputUnavailable: no such folder.
        InputRefused: no classes, or one without images.
    """
    if not request.rest:
        raise UsageError("imagefolder needs a path", hint="write --dataset imagefolder:FOLDER")
    root = _find(Path(request.rest), request.data_dir)
    try:
        images = _listed(root)
    except OSError as error:
        raise InputUnavailable(f"{root} cannot be read ({error.strerror or error})") from error
    folder = _Folder(root, images, request.sizing, request.progress)
    space = " after ".join(text for text in (PIXEL_SPACE, request.sizing.told) if text)
    return Opened(f"imagefolder:{root.name}", len(images), space, None, partial(_read, folder))


IMAGEFOLDER = Source("imagefolder:FOLDER", _open, sized=True)


def _find(path: Path, data_dir: Path | None) -> Path:
    places = [path] if data_dir is None or path.is_absolute() else [path, data_dir / path]
    for place in places:
        if is_folder(place):
            return Path(os.path.abspath(place))  # noqa: PTH100 -- resolve() would rename a linked folder
    raise InputUnavailable(
        "no such folder: " + ", ".join(str(place) for place in places),
        hint="imagefolder:PATH is relative to the current folder, or to --data-dir",
    )


def _listed(root: Path) -> tuple[_Image, ...]:
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    if not classes:
        raise InputRefused(
            f"{root} has no sub-folders", hint="images lie in one sub-folder per class: FOLDER/dog/1.jpg"
        )
    images: list[_Image] = []
    for label, name in enumerate(classes):
        files = _files(root / name, root)
        if not files:
            raise InputRefused(
                f"{root / name} holds no image ({', '.join(EXTENSIONS)})",
                hint="every sub-folder is a class; remove those that are none",
            )
        images += [_Image(file, label) for file in files]
    return tuple(images)


def _files(top: Path, root: Path) -> list[Path]:
    """Images below `top`, sorted by folder and then by name, as torchvision sorts them."""
    seen = {_identity(root)}
    found: list[tuple[str, list[str]]] = []
    for folder, inner, names in os.walk(top, followlinks=True, onerror=_refuse):
        identity = _identity(Path(folder))
        if identity in seen:
            inner.clear()
            continue
        seen.add(identity)
        inner.sort()
        found.append((folder, sorted(name for name in names if name.lower().endswith(EXTENSIONS))))
    return [Path(folder, name) for folder, names in sorted(found) for name in names]


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _refuse(error: OSError) -> None:
    # os.walk would skip what it cannot list, and nobody would know.
    raise error


def _read(folder: _Folder, which: Tensor) -> tuple[Tensor, Tensor]:
    """The selected images (K, C, H, W) uint8 and their labels.

    Raises:
        InputRefused: one cannot be decoded, sizes differ, or there are too many for the memory.
    """
    chosen = [folder.images[i] for i in which.tolist()]
    grey = all(is_grey(image.path, folder.shown(image)) for image in folder.images)
    folder.progress.stage("decoding images", len(chosen))
    batch = torch.empty(0)
    for i, image in enumerate(chosen):
        pixels = read_picture(image.path, folder.shown(image), folder.sizing, grey=grey)
        if i == 0:
            batch = _room(len(chosen), pixels.shape)
        if pixels.shape != batch.shape[1:]:
            first, here = (f"{h}×{w}" for _, h, w in (batch.shape[1:], pixels.shape))
            raise InputRefused(
                f"images differ in size (height × width): {folder.shown(chosen[0])} has {first}, "
                f"{folder.shown(image)} {here}",
                hint="say --resize 256 --crop 224, or as the model was trained",
            )
        batch[i] = torch.from_numpy(pixels)
        folder.progress.advance()
    return batch, torch.tensor([image.label for image in chosen], dtype=torch.int64)


def _room(count: int, shape: tuple[int, ...]) -> Tensor:
    size = count * math.prod(shape)
    if size > memory():
        raise InputRefused(
            f"{count} images of shape {tuple(shape)} need {size / 2**30:.0f} GiB, more than this machine has",
            hint="evaluate fewer with --limit N, or smaller ones with --resize and --crop",
        )
    return torch.empty((count, *shape), dtype=torch.uint8)
