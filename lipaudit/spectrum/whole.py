"""Every singular value of a layer, where that can be had: in float64, proved by nothing.

Circular "same" convolutions whose strides divide the image are block-circulant: the singular values are those
of the symbol on the exact grid of frequencies, and ω and −ω have the same ones (a real kernel's symbols there
are complex conjugates), so almost every value is there twice.  Matrices side by side have the spectrum of
one, repeated.  What is small enough is written out as a matrix.  Of all else the whole spectrum is not
available.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.errors import InputRefused
from lipaudit.ops.arithmetic import Affine
from lipaudit.ops.conv import Convolution
from lipaudit.ops.linear import Linear
from lipaudit.spectral.checker import scaled
from lipaudit.spectral.fft import is_block_circulant, singular_values
from lipaudit.spectral.maps import power_of_two
from lipaudit.spectrum.leading import factors, side_by_side, smaller_side
from lipaudit.spectrum.parts import LinearPart

__all__ = ["Whole", "find_whole"]

LARGEST = 2048
"""Rows or columns, whichever are fewer, of a matrix that is decomposed: some ten seconds on one core."""
ENTRIES = 2048 * 8192
"""Of such a matrix."""
COLUMNS = 64
"""Columns of a matrix that are computed at a time."""


@dataclass(frozen=True, slots=True)
class Whole:
    """All singular values.

    Args:
        values: pairs (value, how often), falling; None if they are not there.
        note: how they were computed, or why not.
    """

    values: tuple[tuple[float, int], ...] | None
    note: str


def find_whole(part: LinearPart) -> Whole:
    """The whole spectrum of a part, or why it is not available."""
    op = part.alone
    exact = _exact(part)
    if exact is not None:
        return exact
    places = side_by_side(op, part)
    if places is not None:
        matrices, copies = places
        if max(min(m.shape) for m in matrices) > LARGEST:
            return Whole(None, f"not available, because a matrix has more than {LARGEST} rows and columns")
        values = torch.cat([_svdvals(m) for m in matrices]).sort(descending=True).values
        note = "dense SVD of one block" if copies > 1 or len(matrices) > 1 else "dense SVD"
        # Cells that no window reads, and channels beyond a block's rank, add zeros.
        rest = smaller_side(part) - copies * len(values)
        return Whole(_listed(values, copies) + (((0.0, rest),) if rest else ()), note)
    rows, columns = math.prod(part.out_shape), math.prod(part.in_shape)
    if min(rows, columns) > LARGEST or rows * columns > ENTRIES:
        circular = isinstance(op, Convolution) and op.map.padding_mode == "circular"
        why = "it is no whole period of a circulant map" if circular else "it is no circular convolution"
        return Whole(None, f"not available, because {why} and its matrix has {rows}×{columns} entries")
    try:
        return Whole(_listed(_svdvals(_matrix(part)), 1), "dense SVD")
    except InputRefused as error:
        return Whole(None, f"not available, because {error.message}")


def _exact(part: LinearPart) -> Whole | None:
    """Where the values can be read off."""
    op = part.alone
    if isinstance(op, Convolution) and is_block_circulant(op.map):
        return Whole(
            _listed(singular_values(op.map), 1), "exact: SVD of the symbol on the grid of frequencies"
        )
    if isinstance(op, Affine) and part.in_shape == part.out_shape:
        return Whole(tuple(factors(op, part)), "exact: its factors")
    return None


def _listed(values: Tensor, copies: int) -> tuple[tuple[float, int], ...]:
    return tuple((value, copies) for value in values.tolist())


def _svdvals(matrix: Tensor) -> Tensor:
    """Falling, on the CPU; scaled, so that squares neither overflow nor underflow."""
    exponent = power_of_two(matrix)
    return scaled(torch.linalg.svdvals(scaled(matrix, -exponent)), exponent).cpu()


def _matrix(part: LinearPart) -> Tensor:
    if isinstance(part.alone, Linear | Convolution):
        return part.alone.weight if isinstance(part.alone, Linear) else part.alone.map.as_matrix()
    cells, device = math.prod(part.in_shape), part.graph.device
    with torch.no_grad():
        zero = part.run(torch.zeros(1, *part.in_shape, dtype=torch.float64, device=device)).flatten(1)
        columns = []
        for start in range(0, cells, COLUMNS):
            units = torch.eye(cells, dtype=torch.float64, device=device)[start : start + COLUMNS]
            columns.append(part.run(units.reshape(-1, *part.in_shape)).flatten(1) - zero)
    matrix = torch.cat(columns).T
    if not bool(torch.isfinite(matrix).all()):
        raise InputRefused("its matrix holds NaN or infinity")
    return matrix
