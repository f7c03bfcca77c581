"""The samples an audit runs on, and their fingerprint.

The fingerprint is SHA-256 over a canonical header (shapes and dtypes as JSON with sorted keys, one line) and
then the bytes of the images and the labels, row-major and little-endian.  It depends on the decoded tensors
only: the same images give the same fingerprint whether they came from idx files, gzipped or not, or from an
npz archive.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lipaudit.data.sizing import UNSIZED, Sizing
from lipaudit.data.source import PIXEL_SPACE
from lipaudit.errors import InputRefused

__all__ = ["Dataset", "check_labels", "fingerprint"]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """The selected samples of a data set.

    Attributes:
        name: "mnist:test", "npz:digits.npz" (a base name, never a path).
        images: (N, C, H, W) or (N, D), uint8 or floating as stored, never scaled.
        labels: (N,) int64.
        indices: (N,) int64, increasing: the samples' positions in the full set.
        total: size of the full set.
        space: what distances between `pixels` mean: "pixel [0,1]" (perhaps "… after resizing") or "the file's
            own units".
        fingerprint_sha256: of `images` and `labels`.
        official: True if digests show that this is the published set, False if they differ; None if nobody
            published any.
        sizing: how images got their size.
        view: what `pixels` does to a batch at last; None for nothing.
    """

    name: str
    images: Tensor
    labels: Tensor
    indices: Tensor
    total: int
    space: str
    fingerprint_sha256: str
    official: bool | None
    sizing: Sizing = UNSIZED
    view: Callable[[Tensor], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(C, H, W) or (D,)."""
        return tuple(self.images.shape[1:])

    @property
    def in_pixels(self) -> bool:
        """Whether distances are in pixels of [0,1]."""
        return self.space.startswith(PIXEL_SPACE)

    @property
    def range_text(self) -> str:
        """From which number to which the images go, for messages."""
        return f"the images are numbers from {float(self.images.min()):.4g} to {float(self.images.max()):.4g}"

    def pixels(self, start: int, stop: int) -> Tensor:
        """Samples `start` (included) to `stop` (not) in float64: uint8 divided by 255, floats as they are."""
        batch = self.images[start:stop]
        values = batch.to(torch.float64) / 255 if batch.dtype == torch.uint8 else batch.to(torch.float64)
        return values if self.view is None else self.view(values)


def fingerprint(images: Tensor, labels: Tensor) -> str:
    """The hexadecimal digest described above."""
    arrays = {"images": images.contiguous().numpy(), "labels": labels.contiguous().numpy()}
    header = {key: {"dtype": array.dtype.name, "shape": list(array.shape)} for key, array in arrays.items()}
    digest = hashlib.sha256(json.dumps(header, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    for array in arrays.values():
        # A copy only on big-endian machines; elsewhere the array itself is hashed.
        digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def check_labels(dataset: Dataset, num_classes: int) -> None:
    """Every label must name one of the model's classes (2 for a single, binary logit).

    Raises:
        InputRefused: naming the first sample whose label is `num_classes` or more.
    """
    outside = (dataset.labels < 0) | (dataset.labels >= num_classes)
    if not bool(outside.any()):
        return
    first = int(outside.nonzero()[0])
    raise InputRefused(
        f"{dataset.name}: sample {int(dataset.indices[first])} has label {int(dataset.labels[first])}, but "
        f"the model has {num_classes} classes (0 to {num_classes - 1}); "
        f"{int(outside.sum())} of {len(dataset)} labels are out of range",
        hint="check that the data set belongs to this model and that its labels count from 0",
    )
