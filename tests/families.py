"""Weights that bring methods into trouble: high frequencies, ties, ranks of one, extreme scales.

Each family makes a weight (c_out, c_in, *k) out of integers that `pick(low, high)` returns, so that random
streams and hypothesis can drive it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Pick = Callable[[int, int], int]
Shape = tuple[int, ...]


def high_pass(pick: Pick, shape: Shape) -> Tensor:
    """Signs that alternate along every axis: the symbol peaks at ω = π, on grids of even size only."""
    weight = mixing(pick, shape)
    for axis, k in enumerate(shape[2:]):
        signs = (-1.0) ** torch.arange(k, dtype=torch.float64)
        weight = weight * signs.reshape([-1 if a == axis + 2 else 1 for a in range(len(shape))])
    return weight


def laplacian(pick: Pick, shape: Shape) -> Tensor:
    """−1 at the neighbours of the centre, on mixed channels: the norm depends on what the borders do."""
    weight = torch.zeros(shape, dtype=torch.float64)
    centre = [k // 2 for k in shape[2:]]
    for axis, k in enumerate(shape[2:]):
        for step in (-1, 1):
            there = list(centre)
            there[axis] += step
            if 0 <= there[axis] < k:
                weight[(slice(None), slice(None), *there)] -= 1
                weight[(slice(None), slice(None), *centre)] += 1
    return weight * mixing(pick, (*shape[:2], *[1] * (len(shape) - 2)))


def average(pick: Pick, shape: Shape) -> Tensor:
    """Equal weights that sum to one per output channel; reflected borders make its norm larger than 1."""
    del pick
    return torch.ones(shape, dtype=torch.float64) / math.prod(shape[1:])


def orthogonal(pick: Pick, shape: Shape) -> Tensor:
    """Orthonormal rows or columns at one tap: a flat symbol, singular values all the same."""
    return at_one_tap(pick, shape, orthonormal(pick, shape[0], shape[1]))


def near_orthogonal(pick: Pick, shape: Shape) -> Tensor:
    """The same and noise: all frequencies nearly tie."""
    noise = 10.0 ** -pick(3, 15)
    return orthogonal(pick, shape) + noise * normal(pick, shape)


def comb(pick: Pick, shape: Shape) -> Tensor:
    """Two taps at the ends of every axis: many frequencies reach the same maximum, or nearly."""
    weight = torch.zeros(shape, dtype=torch.float64)
    matrix = orthonormal(pick, shape[0], shape[1])
    tie = 1 + 10.0 ** -pick(8, 16)
    for index in range(2 ** len(shape[2:])):
        ends = [(k - 1) * (index >> axis & 1) for axis, k in enumerate(shape[2:])]
        weight[(slice(None), slice(None), *ends)] = matrix * (tie if index else 1.0)
    return weight


def rank_one(pick: Pick, shape: Shape) -> Tensor:
    """An outer product of one vector per axis."""
    weight = torch.ones((1,) * len(shape), dtype=torch.float64)
    for axis, n in enumerate(shape):
        weight = weight * normal(pick, (n,)).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return weight


def single_tap(pick: Pick, shape: Shape) -> Tensor:
    """One tap alone, which may only ever meet padding."""
    return at_one_tap(pick, shape, normal(pick, shape[:2]))


def single_weight(pick: Pick, shape: Shape) -> Tensor:
    """One number."""
    weight = torch.zeros(shape, dtype=torch.float64)
    weight[tuple(pick(0, n - 1) for n in shape)] = (1.0, -3.0, 1 / 3)[pick(0, 2)]
    return weight


def ties(pick: Pick, shape: Shape) -> Tensor:
    """−1, 0 and 1: ties and exact cancellations."""
    return (normal(pick, shape)).round().clamp(-1, 1)


def spread(pick: Pick, shape: Shape) -> Tensor:
    """Entries over 24 decades."""
    generator = torch.Generator().manual_seed(pick(0, 2**31))
    return normal(pick, shape) * 10.0 ** torch.randint(-12, 13, shape, generator=generator)


def tiny(pick: Pick, shape: Shape) -> Tensor:
    """1e−30 and far less."""
    return normal(pick, shape) * 10.0 ** -pick(30, 290)


def huge(pick: Pick, shape: Shape) -> Tensor:
    """1e30 and far more; norms stay below the largest float."""
    return normal(pick, shape) * 10.0 ** pick(30, 300)


def subnormal(pick: Pick, shape: Shape) -> Tensor:
    """Between the smallest number and the smallest normal one."""
    return normal(pick, shape) * 2.0**-530 * 2.0 ** -pick(490, 540)


def giant_beside_subnormals(pick: Pick, shape: Shape) -> Tensor:
    """Scaling by the largest entry makes the others subnormal, or 0."""
    weight = subnormal(pick, shape)
    weight[tuple(pick(0, n - 1) for n in shape)] = 2.0 ** pick(-40, 40)
    return weight


FAMILIES = (
    high_pass,
    laplacian,
    average,
    orthogonal,
    near_orthogonal,
    comb,
    rank_one,
    single_tap,
    single_weight,
    ties,
    spread,
    tiny,
    huge,
    subnormal,
    giant_beside_subnormals,
)


def normal(pick: Pick, shape: Shape) -> Tensor:
    """Gaussian."""
    generator = torch.Generator().manual_seed(pick(0, 2**31))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def mixing(pick: Pick, shape: Shape) -> Tensor:
    """One Gaussian number per pair of channels, the same at every tap."""
    return normal(pick, shape[:2]).reshape(*shape[:2], *[1] * (len(shape) - 2)).expand(shape).clone()


def orthonormal(pick: Pick, rows: int, columns: int) -> Tensor:
    """Orthonormal columns, or rows if there are fewer."""
    tall = torch.linalg.qr(normal(pick, (max(rows, columns), min(rows, columns))))[0]
    return tall if rows >= columns else tall.T


def at_one_tap(pick: Pick, shape: Shape, matrix: Tensor) -> Tensor:
    """A matrix at a random tap, zeros elsewhere."""
    weight = torch.zeros(shape, dtype=torch.float64)
    weight[(slice(None), slice(None), *(pick(0, k - 1) for k in shape[2:]))] = matrix
    return weight
