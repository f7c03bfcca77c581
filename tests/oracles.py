"""Slow and obvious answers, sharing no code with what they judge.

`conv_matrix` runs torch's own padding and convolution on the identity: no FFT and none of lipaudit's
index tables.  `exact_conv_matrix`, `dominates` and `exceeds` are exact: every float is an integer times
a power of two, and whether τ²I − AAᵀ is positive (semi)definite is decided by fraction-free elimination
on integers, so that a bound is judged without any tolerance.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

CONV = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def conv_matrix(weight, image, options):
    """The matrix (outputs, inputs) of a convolution; `options` as `Conv` takes them, all per axis."""
    axes, transposed = len(image), options["transposed"]
    settings = {k: options[k] for k in ("stride", "dilation", "groups")}
    channels = weight.shape[0] if transposed else weight.shape[1] * options["groups"]
    cells = channels * math.prod(image)
    basis = torch.eye(cells, dtype=weight.dtype).reshape(cells, channels, *image)
    if transposed:
        cropped = [-p for pair in reversed(options["padding"]) for p in pair]
        result = F.pad(TRANSPOSED[axes - 1](basis, weight, **settings), cropped)
    else:
        result = CONV[axes - 1](
            padded(basis, options["padding"], options["padding_mode"]), weight, **settings
        )
    return result.reshape(cells, -1).T


def padded(x, padding, mode):
    """Torch's padding; circular images are tiled, since torch refuses to wrap more than once."""
    if mode != "circular":
        widths = [p for pair in reversed(padding) for p in pair]
        return F.pad(x, widths, mode="constant" if mode == "zeros" else mode)
    for axis, (left, right) in enumerate(padding, start=2):
        n = x.shape[axis]
        before, after = -(-left // n), -(-right // n)
        tiled = torch.cat([x] * (before + 1 + after), dim=axis)
        x = tiled.narrow(axis, before * n - left, left + n + right)
    return x


def spectral_norm(matrix):
    """σ₁ by a full SVD after scaling by a power of two; relative error a few 1e-15."""
    largest = float(matrix.abs().max()) if matrix.numel() else 0.0
    if largest == 0:
        return 0.0
    exponent = math.frexp(largest)[1]
    half = -exponent // 2
    scaled = matrix * 2.0**half * 2.0 ** (-exponent - half)
    return math.ldexp(float(torch.linalg.svdvals(scaled)[0]), exponent)


def exact_conv_matrix(weight, image, options):
    """The map's matrix in exact rational numbers: one run of `conv_matrix` per kernel entry."""
    total = []
    for index in itertools.product(*(range(n) for n in weight.shape)):
        unit = torch.zeros_like(weight)
        unit[index] = 1.0
        counts = conv_matrix(unit, image, options).tolist()
        value = Fraction(float(weight[index]))
        total = total or [[Fraction(0)] * len(counts[0]) for _ in counts]
        for row, found in zip(total, counts, strict=True):
            for column, count in enumerate(found):
                if count:
                    row[column] += value * int(count)
    return total


def as_fractions(matrix):
    """A float matrix as exact rational numbers."""
    return [[Fraction(x) for x in row] for row in matrix.tolist()]


def dominates(tau, matrix):
    """Whether τ ≥ ‖matrix‖, exactly."""
    return _definiteness(tau, matrix) >= 0


def exceeds(tau, matrix):
    """Whether τ > ‖matrix‖, exactly."""
    return _definiteness(tau, matrix) > 0


def _definiteness(tau, matrix):
    """+1 if τ²I − AAᵀ is positive definite, 0 if only semidefinite, −1 if neither."""
    if tau == math.inf:
        return 1
    if len(matrix) > len(matrix[0]):
        matrix = [list(column) for column in zip(*matrix, strict=True)]
    rows = range(len(matrix))
    gap = [[-sum(map(Fraction.__mul__, matrix[i], matrix[j])) for j in rows] for i in rows]
    for i in rows:
        gap[i][i] += Fraction(tau) ** 2
    common = math.lcm(*(x.denominator for row in gap for x in row))
    return _sign_of_symmetric([[int(x * common) for x in row] for row in gap])


def _sign_of_symmetric(matrix):
    """Bareiss elimination; a diagonal entry that is not zero is the pivot."""
    previous = 1
    while matrix:
        diagonal = [matrix[i][i] for i in range(len(matrix))]
        if min(diagonal) < 0:
            return -1
        if not any(diagonal):  # semidefinite only if all of the rest is zero
            return -1 if any(map(any, matrix)) else 0
        pivot = next(i for i, x in enumerate(diagonal) if x)
        matrix[0], matrix[pivot] = matrix[pivot], matrix[0]
        for row in matrix:
            row[0], row[pivot] = row[pivot], row[0]
        first = matrix[0]
        head = first[0]
        matrix = [
            [(head * row[j] - row[0] * first[j]) // previous for j in range(1, len(row))]
            for row in matrix[1:]
        ]
        previous = head
    return 1
