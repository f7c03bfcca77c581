"""The map as a matrix: ‖T‖ proved by the checker on each group's block.

A matrix entry of a convolution is a sum of at most m kernel entries (m > 1 only where padding or
wrapping makes one output read a cell twice), so forming it errs by at most γ_m·|T| entrywise and

    ‖T‖ ≤ max over groups ‖fl T_g‖ + γ_m·‖|T_g|‖_F.

Groups act on disjoint channels: the norm is the largest block's, not the product.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lipaudit.errors import NotCovered
from lipaudit.rounding import add_up, gamma, mul_up, sub_down
from lipaudit.spectral.checker import proves
from lipaudit.spectral.maps import Conv
from lipaudit.spectral.method import Effort, Method, Plain
from lipaudit.spectral.search import largest_norm

__all__ = ["METHOD", "matrices", "matrix_shape"]

BYTES_PER_ENTRY = 48
"""Of a convolution's matrix, with the copies that forming and proving it take."""


def matrices(plain: Plain, memory: int) -> tuple[Tensor, float]:
    """The matrix of each group, (groups, rows, cols) float64, and a bound on ‖T_g − fl T_g‖.

    Raises:
        NotCovered: for convolutions whose matrix is too large for so many bytes.
    """
    if not isinstance(plain, Conv):
        return plain.weight[None], 0.0
    groups, rows, cols = matrix_shape(plain)
    table = max(map(math.prod, zip(plain.kernel, plain.out_image, plain.image, strict=True)))
    if BYTES_PER_ENTRY * max(groups * rows * cols, table) > memory:
        raise NotCovered(f"a matrix of {groups}×{rows}×{cols} entries needs more than {memory >> 20} MiB")
    if plain.padding_mode == "zeros":
        return plain.blocks(), 0.0
    magnitudes = plain.with_weight(plain.weight.abs()).blocks()
    frobenius = float(torch.linalg.vector_norm(magnitudes, dim=(1, 2)).max())
    taps = math.prod(plain.kernel)
    return plain.blocks(), mul_up(gamma(taps), frobenius, 1 + 4 * gamma(rows * cols + taps + 8))


def matrix_shape(plain: Plain) -> tuple[int, int, int]:
    """Groups, and rows and columns of each group's matrix."""
    groups = plain.groups if isinstance(plain, Conv) else 1
    return groups, math.prod(plain.out_shape) // groups, math.prod(plain.in_shape) // groups


def _cost(plain: Plain) -> float:
    groups, rows, cols = matrix_shape(plain)
    small, large = sorted((rows, cols))
    return groups * (1.3 * small * small * large + 2.0 * small**3)


def _compute(plain: Plain, start: float, effort: Effort) -> float:
    blocks, error = matrices(plain, effort.memory)
    return add_up(largest_norm([blocks], start), error)


def _confirm(plain: Plain, tau: float, effort: Effort) -> bool:
    blocks, error = matrices(plain, effort.memory)
    return bool(proves(blocks, sub_down(tau, error)).all())


METHOD = Method("dense", "verified Cholesky of the map's matrix", _cost, _compute, _confirm)
