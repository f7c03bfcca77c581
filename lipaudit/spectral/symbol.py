"""The symbol K̂(ω) = Σ_taps K[tap]·e^{i⟨ω,tap⟩} of a convolution on a regular grid, with its error.

**Polyphase.**  A convolution of stride s reads cell s·y + j (j = d·t).  With j = s·q + r it is a
stride-1 convolution, tap q, on the c_in·∏s channels (i, r) of the regrouped image.  Distinct t give
distinct (q, r), so regrouping moves numbers and computes none.

**Grid.**  ω = (2π l + π σ)/N with l = 0 … N − 1 per axis; σ is 0, or 1 for the grid shifted by half a step.
The integer (2l + σ)·q is reduced modulo 2N before the cosine, so kernels longer than N wrap by themselves.
Real kernels satisfy K̂(−ω) = conj K̂(ω), and both grids are symmetric: half of the last axis is enough.

**Error.**  With an angle error of ≤ 3 roundings on a number ≤ π, cos and sin within 2 ulp and D axes
multiplied, a twiddle errs by ≤ 16Du; a sum of T complex terms by γ_{2T+2} relative to Σ|K|.  Hence

    |K̂ − fl K̂| ≤ (2γ_{2T+2} + 16Du)·Σ_taps|K|  entrywise,  ‖K̂ − fl K̂‖ ≤ that factor · ‖Σ_taps|K|‖_F.

Vaidyanathan (1993), Multirate Systems and Filter Banks, ch. 4; Sedghi, Gupta, Long (2019), ICLR.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.errors import NotCovered
from lipaudit.rounding import UNIT, add_up, gamma, mul_up
from lipaudit.spectral.maps import Conv

__all__ = ["Symbol", "polyphase", "twiddles"]

CHUNK_ENTRIES = 3_000_000
"""Complex entries evaluated at a time (48 MB), twiddles included."""
TWIDDLE_COST = 60.0
"""Float operations that a frequency's factor for one tap is worth: sines, products, memory traffic."""


@dataclass(frozen=True, slots=True, eq=False)
class Symbol:
    """Taps (T, D) int64 and their matrices (T, groups, p, q) float64, p ≤ q."""

    taps: Tensor
    matrices: Tensor

    @property
    def degrees(self) -> tuple[int, ...]:
        """Per axis the largest difference between taps."""
        return tuple(int(d) for d in self.taps.amax(dim=0) - self.taps.amin(dim=0))

    def error(self) -> float:
        """Bound on ‖K̂ − fl K̂‖ at any grid point."""
        count, axes = self.taps.shape
        factor = add_up(2 * gamma(2 * count + 2), 16 * axes * UNIT)
        spread = self.matrices.abs().sum(dim=0)
        largest = float(torch.linalg.vector_norm(spread, dim=(1, 2)).max())
        # Summing and the norm cost at most γ_{entries+T} themselves.
        return mul_up(factor, largest, 1 + 4 * gamma(spread[0].numel() + count + 8))

    def cost(self, grid: tuple[int, ...]) -> float:
        """Rough float operations of `bound` on that grid."""
        _, groups, p, q = self.matrices.shape
        taps = len(self.taps)
        matrices = groups * (16.0 * p * p * q + 24.0 * p**3 + 8.0 * p * q * taps)
        return math.prod(grid) / 2 * (matrices + TWIDDLE_COST * taps)

    def chunks(self, grid: tuple[int, ...], shift: tuple[int, ...] = ()) -> Iterator[Tensor]:
        """K̂ on the half grid: tensors (batch, p, q) complex128."""
        count, groups, p, q = self.matrices.shape
        flat, shift = self.matrices.reshape(count, -1), shift or (0,) * len(grid)
        # Negation sends l to −l − σ: on the last axis 0 … (N − σ)//2 meets every pair.
        axes = [range(n) for n in grid[:-1]] + [range((grid[-1] - shift[-1]) // 2 + 1)]
        size = max(1, CHUNK_ENTRIES // max(1, groups * p * q + 4 * count))
        points = itertools.product(*axes)
        while batch := list(itertools.islice(points, size)):
            cos, sin = twiddles(self.taps, 2 * torch.tensor(batch) + torch.tensor(shift), grid)
            yield torch.complex(cos.to(flat.device) @ flat, sin.to(flat.device) @ flat).reshape(-1, p, q)


def twiddles(taps: Tensor, points: Tensor, grid: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of e^{i⟨ω,tap⟩} at ω = π·point/N, each (points, taps), on the CPU.

    Args:
        taps: (T, D) int64.
        points: (b, D) int64.
        grid: N per axis.

    Raises:
        NotCovered: if the integers point·tap exceed 64 bits (degrees above a million).
    """
    if points.numel() and int(points.abs().max()) * int(taps.abs().max()) >= 2**62:
        raise NotCovered("the kernel spans too many cells for its frequencies to be exact integers")
    cos = torch.ones(len(points), len(taps), dtype=torch.float64)
    sin = torch.zeros_like(cos)
    for axis, n in enumerate(grid):
        steps, where = points[:, axis].unique(return_inverse=True)
        turns = (steps[:, None] * taps[None, :, axis]) % (2 * n)
        turns = torch.where(turns > n, turns - 2 * n, turns)
        angle = turns.double() * math.pi / n
        c, s = angle.cos()[where], angle.sin()[where]
        cos, sin = cos * c - sin * s, cos * s + sin * c
    return cos, sin


def polyphase(conv: Conv, stride: tuple[int, ...]) -> Symbol:
    """The symbol of the plain convolution `conv` regrouped for `stride` (its own, or all ones)."""
    groups, (c_out, c_in) = conv.groups, conv.weight.shape[:2]
    per_group = c_out // groups
    weight = conv.weight.reshape(groups, per_group, c_in, -1)
    found: dict[tuple[int, ...], Tensor] = {}
    for index, tap in enumerate(itertools.product(*(range(k) for k in conv.kernel))):
        quotient, phase = [], 0
        for t, d, s in zip(tap, conv.dilation, stride, strict=True):
            quotient.append(d * t // s)
            phase = phase * s + d * t % s
        matrix = found.setdefault(
            tuple(quotient), weight.new_zeros(groups, per_group, c_in, math.prod(stride))
        )
        matrix[..., phase] = weight[..., index]
    matrices = torch.stack([m.flatten(2) for m in found.values()])
    if matrices.shape[2] > matrices.shape[3]:
        matrices = matrices.transpose(2, 3)
    return Symbol(torch.tensor(list(found)).reshape(len(found), -1), matrices.contiguous())
