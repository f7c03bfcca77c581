"""One axis of an image, cut into overlapping pieces by a partition of unity Σ_j χ_j² = 1.

Cells that padding copies are *irregular*: some output reads them through a position outside the image.  An
angle θ rises from 0 at the irregular cell farthest from its border to π/2 in `steps` equal steps; with
χ = cos θ the border's piece holds the cells with θ < π/2, with χ = sin θ the interior those with θ > 0, hence
no irregular one.  Reflected and replicated borders are two pieces, the ring's seam (circular padding) one.

Every output y gets a reference angle θ_y, halfway between the smallest and the largest θ it reads, and every
read a weight 1/cos(θ_a − θ_y) ∈ [1, √2]; `patches` says what they are for.  An axis is left whole where
its borders' pieces would meet in a cell or in an output.

Cycon, Froese, Kirsch, Simon (1987), Schrödinger Operators, ch. 3.1 (localisation by partitions of unity).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.spectral.banded import Axis
from lipaudit.spectral.maps import Conv

__all__ = ["Interior", "Piece", "is_regular", "pieces_of"]


@dataclass(frozen=True, slots=True)
class Interior:
    """The axis without ends: where taps stand, the stride, each tap's largest weight − 1."""

    taps: tuple[int, ...]
    stride: int
    excess: tuple[float, ...]

    @property
    def degree(self) -> int:
        """Degree of the symbol along this axis."""
        return (max(self.taps) - min(self.taps)) // self.stride


Piece = Axis | Interior


def is_regular(conv: Conv, axis: int) -> bool:
    """Whether every output reads cells where they are: the axis needs no border."""
    reads = conv.reads(axis)
    return bool(((reads < 0) | (reads == _positions(conv, axis))).all())


def _positions(conv: Conv, axis: int) -> Tensor:
    taps = torch.arange(conv.kernel[axis]) * conv.dilation[axis]
    starts = torch.arange(conv.out_image[axis]) * conv.stride[axis] - conv.padding[axis][0]
    return taps[:, None] + starts[None, :]


def pieces_of(conv: Conv, axis: int, steps: int) -> tuple[Piece, ...]:
    """The pieces of one axis of a plain convolution; one `Axis` alone is the whole axis."""
    reads, n = conv.reads(axis), conv.image[axis]
    taps = tuple(t * conv.dilation[axis] for t in range(conv.kernel[axis]))
    if is_regular(conv, axis):
        return (Interior(taps, conv.stride[axis], (0.0,) * len(taps)),)
    whole = (Axis(reads, torch.ones(reads.shape, dtype=torch.float64), n),)
    left, right = _borders(conv, axis, steps)
    cells = torch.arange(n)
    from_left, from_right = (cells - left).clamp(0, steps), (right - cells).clamp(0, steps)
    at_left, at_right = from_left < steps, from_right < steps
    seam = conv.padding_mode == "circular"
    read, index = reads >= 0, reads.clamp(min=0)
    meets = (at_left[index] & read).any(dim=0) & (at_right[index] & read).any(dim=0)
    if bool((at_left & at_right).any()) or (not seam and bool(meets.any())):
        return whole
    ticks = torch.minimum(from_left, from_right)
    weights = _weights(ticks[index], read, steps)
    interior = read & (ticks[index] > 0)
    excess = tuple(torch.where(interior, weights - 1, 0.0).amax(dim=1).tolist())
    # The seam's cells are counted from where its right-hand end begins.
    end = right - steps + 1
    borders = [(at_left | at_right, end)] if seam else [(at_left, 0), (at_right, end)]
    found = [_border(reads, weights, held, start) for held, start in borders if bool(held.any())]
    return (*found, Interior(taps, conv.stride[axis], excess))


def _borders(conv: Conv, axis: int, steps: int) -> tuple[int, int]:
    """The last irregular cell of the left border and the first of the right one; out of reach if none is."""
    reads, position, n = conv.reads(axis), _positions(conv, axis), conv.image[axis]
    before, after = reads[(reads >= 0) & (position < 0)], reads[(reads >= 0) & (position >= n)]
    if conv.padding_mode == "circular":  # what is read before the first cell lies at the other end
        before, after = after, before
    left = int(before.max()) if before.numel() else -steps
    right = int(after.min()) if after.numel() else n + steps - 1
    return left, right


def _weights(ticks: Tensor, read: Tensor, steps: int) -> Tensor:
    """1/cos(θ_a − θ_y) for θ = ticks·π/(2·steps) and θ_y halfway between an output's extremes."""
    highest = torch.where(read, ticks, 0).amax(dim=0)
    lowest = torch.where(read, ticks, steps).amin(dim=0)
    # Counted in whole numbers, so that equal angles get equal weights.
    angle = (2 * ticks - highest - lowest).double() * (math.pi / (4 * steps))
    return torch.where(read, 1 / angle.cos(), 1.0)


def _border(reads: Tensor, weights: Tensor, held: Tensor, start: int) -> Axis:
    """The cells held, counted from `start`, and the outputs that read any of them."""
    n = len(held)
    kept = torch.where((reads >= 0) & held[reads.clamp(min=0)], (reads - start) % n, -1)
    outputs = (kept >= 0).any(dim=0)
    return Axis(kept[:, outputs], weights[:, outputs], int(held.sum()))
