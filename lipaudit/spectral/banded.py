"""TᴴT or TTᴴ of a convolution as a block-banded matrix: one image axis runs along the band.

    T = Σ_t K_t ⊗ S¹_t₁ ⊗ … ⊗ S^D_t_D,

K_t the c_out × c_in matrix of tap t = (t₁, …, t_D) and S^i_t the 0/1 matrix that says which cell of axis i
tap t reads for which output (times a weight, see `patches`).  So, with real or complex S,

    TᴴT = Σ_{t,u} K_tᵀK_u ⊗ ⊗_i (S^i_t)ᴴ S^i_u,      TTᴴ = Σ_{t,u} K_tK_uᵀ ⊗ ⊗_i S^i_t (S^i_u)ᴴ :

the Gram matrix of the kernel, once, spread over cells by counting.  T itself is never formed.

**Band.**  Input cells a, b of the long axis meet in TᴴT only if one output reads both, outputs y, z in TTᴴ
only if they read one cell.  Nodes (cells or outputs) are ordered along the axis, or folded, 0, n−1, 1, n−2,
…, which makes a ring a band of twice the width; grouped `group` at a time they are the block rows.  How far
a row reaches is read off the table of what meets, so that no padding needs an argument of its own.

**Error.**  An entry is a sum of products of c channels, of ≤ k_i² pairs of taps per axis, and of counts that
are themselves sums of ≤ max(outputs, cells) terms; factors of modulus one (`Frequencies`) err by ≤ 16u each.
With m the sum of these numbers and |T| = Σ|K_t| ⊗ |S_t|,

    ‖fl H − H‖ ≤ 2γ_{2m+40} ‖ |T|ᵀ|T| ‖ ≤ 2γ_{2m+40} · (largest row sum of |T|) · (largest column sum of |T|).

Higham (2002), ch. 3; Horn, Johnson (2013), 5.6.P21 (‖A‖₂² ≤ ‖A‖₁‖A‖_∞).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lipaudit.rounding import gamma, mul_up
from lipaudit.spectral.maps import Conv
from lipaudit.spectral.tridiagonal import PANEL, STRIPS

__all__ = [
    "Axis",
    "Frequencies",
    "Gramian",
    "Layout",
    "axes_of",
    "cheapest_layout",
    "has_few_reads",
]

PANEL_OVERHEAD = 5e6
"""Float operations that calling the steps of one panel is worth."""
PAIRS = 4_000_000
"""Pairs of reads of one output that are listed; more would take longer than they are worth."""
KEPT = 1 << 24
"""Entries of blocks kept for the rows to come; large ones are quickly made again."""


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """Output y reads cell `cells[t, y]` (−1: none) times `weights[t, y]` through tap t; `size` cells."""

    cells: Tensor
    weights: Tensor
    size: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Taps, outputs, cells."""
        return (*self.cells.shape, self.size)

    @property
    def batch(self) -> int:
        """One matrix."""
        return 1

    def selection(self) -> Tensor:
        """S: (1, taps, outputs, cells)."""
        table = self.weights.new_zeros(*self.cells.shape, self.size)
        values = torch.where(self.cells >= 0, self.weights, 0.0)
        return table.scatter_(2, self.cells.clamp(min=0)[..., None], values[..., None])[None]

    def gains(self) -> tuple[Tensor, Tensor]:
        """Per tap: the largest row sum and the largest column sum of S_t."""
        table = torch.where(self.cells >= 0, self.weights, 0.0)
        columns = table.new_zeros(len(table), self.size).scatter_add_(1, self.cells.clamp(min=0), table)
        return table.amax(dim=1), columns.amax(dim=1)

    def links(self, *, inputs: bool) -> list[list[tuple[int, int, float]]]:
        """What meets: per output the (cell, tap, weight) it reads, or per cell the (output, tap, weight)."""
        found: dict[int, list[tuple[int, int, float]]] = defaultdict(list)
        for tap, (cells, weights) in enumerate(zip(self.cells.tolist(), self.weights.tolist(), strict=True)):
            for output, (cell, weight) in enumerate(zip(cells, weights, strict=True)):
                if cell >= 0:
                    key, node = (output, cell) if inputs else (cell, output)
                    found[key].append((node, tap, weight))
        return list(found.values())

    def reach(self, places: Tensor, *, inputs: bool) -> int:
        """How far apart, in `places`, two nodes that meet can be."""
        outputs = torch.arange(self.cells.shape[1]).expand_as(self.cells)
        keys, nodes = (outputs, self.cells) if inputs else (self.cells, outputs)
        read = self.cells >= 0
        if not bool(read.any()):
            return 0
        where, count = places[nodes[read]], int(keys.max()) + 1
        high = torch.zeros(count, dtype=torch.int64).scatter_reduce_(0, keys[read], where, "amax")
        low = torch.full((count,), len(places)).scatter_reduce_(0, keys[read], where, "amin")
        return int((high - low).max())


@dataclass(frozen=True, slots=True, eq=False)
class Frequencies:
    """An axis without ends, at the frequencies 2π·point/count: S is 1 × stride, one column per residue."""

    taps: Tensor
    stride: int
    points: Tensor
    count: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Taps, outputs, cells."""
        return (len(self.taps), 1, self.stride)

    @property
    def batch(self) -> int:
        """One matrix per frequency."""
        return len(self.points)

    def selection(self) -> Tensor:
        """S: (points, taps, 1, stride) complex; the angle is reduced as an integer."""
        turns = (self.points[:, None] * (self.taps // self.stride)) % self.count
        turns = torch.where(2 * turns > self.count, turns - self.count, turns)
        angle = turns.double() * (2 * math.pi / self.count)
        table = torch.zeros(*turns.shape, 1, self.stride, dtype=torch.complex128)
        residue = (self.taps % self.stride).expand_as(turns)[..., None, None]
        return table.scatter_(3, residue, torch.polar(torch.ones_like(angle), angle)[..., None, None])

    def gains(self) -> tuple[Tensor, Tensor]:
        """Every tap reads one residue once."""
        ones = torch.ones(len(self.taps), dtype=torch.float64)
        return ones, ones


@dataclass(frozen=True, slots=True)
class Layout:
    """Which axis runs along the band, which side is taken, and how nodes are ordered and grouped.

    `cost` is in float operations, `memory` in bytes; `stored` are the bytes of all blocks of H together.
    """

    axis: int
    inputs: bool
    folded: bool
    group: int
    cost: float = math.inf
    memory: float = math.inf
    stored: float = math.inf

    def places(self, count: int) -> Tensor:
        """Where each node of the long axis stands."""
        index = torch.arange(count)
        return torch.minimum(2 * index, 2 * (count - 1 - index) + 1) if self.folded else index


def has_few_reads(conv: Conv) -> bool:
    """Whether the pairs of reads on every axis can be listed; ask before `axes_of`, which lists the reads."""
    extents = zip(conv.kernel, conv.out_image, conv.image, strict=True)
    return all(k * k * max(outputs, n) <= PAIRS for k, outputs, n in extents)


def axes_of(conv: Conv) -> tuple[Axis, ...]:
    """The axes of a plain convolution, each tap with weight 1."""
    reads = (conv.reads(axis) for axis in range(len(conv.image)))
    return tuple(
        Axis(r, torch.ones(r.shape, dtype=torch.float64), n) for r, n in zip(reads, conv.image, strict=True)
    )


def cheapest_layout(
    groups: int, channels: tuple[int, int], axes: Sequence[Axis | Frequencies], memory: float = math.inf
) -> Layout:
    """The layout of least cost.

    Args:
        groups: as many matrices at a time, for every frequency.
        channels: (c_out, c_in) of one group.
        axes: at least one of them an `Axis`.
        memory: bytes that one matrix may take; if every layout takes more, the cost returned is inf.
    """
    tried = [
        layout
        for axis, long in enumerate(axes)
        if isinstance(long, Axis)
        for inputs in (True, False)
        for folded in (False, True)
        for layout in _layouts(groups, channels, axes, Layout(axis, inputs, folded, 1))
    ]
    fitting = [layout for layout in tried if layout.memory <= memory]
    return min(fitting, key=lambda layout: layout.cost, default=Layout(0, inputs=True, folded=False, group=1))


def _layouts(
    groups: int, channels: tuple[int, int], axes: Sequence[Axis | Frequencies], layout: Layout
) -> Iterator[Layout]:
    """The layout with its cost, for every size of groups worth a thought."""
    long, side = axes[layout.axis], 2 if layout.inputs else 1
    if not isinstance(long, Axis):
        return
    others = [a.shape for i, a in enumerate(axes) if i != layout.axis]
    width = channels[side - 1] * math.prod(shape[side] for shape in others)
    taps, count = long.shape[0], long.shape[side]
    reach = long.reach(layout.places(count), inputs=layout.inputs)
    kernel = channels[side - 1] * math.prod(a.shape[0] for a in axes)
    spread = taps**2 * width**2 + kernel**2 + sum(s[0] ** 2 * s[side] ** 2 for s in others)
    spreading = 2.0 * kernel**2 * channels[2 - side] + sum(2.0 * spread * s[0] ** 2 for s in others[:1])
    factor = 4 if any(isinstance(a, Frequencies) for a in axes) else 1
    batch = groups * math.prod(a.batch for a in axes)
    for group in (2**power for power in range(max(count - 1, 1).bit_length() + 1)):
        block, steps = group * width, -(-count // group)
        window = block * min(-(-reach // group) + 1, steps)
        eliminated = (window**3 - (window - block) ** 3) / 3 * (1 + 1 / STRIPS)
        panels = 4.0 * min(PANEL, block) * window * block + 20.0 * window**2
        overhead = PANEL_OVERHEAD * -(-block // PANEL)
        yield Layout(
            layout.axis,
            layout.inputs,
            layout.folded,
            group,
            batch * factor * (steps * (eliminated + panels) + spreading) + steps * overhead,
            8.0 * factor * (3 * window**2 + 2 * spread),
            8.0 * factor * steps * block * window,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Gramian:
    """H = TᴴT or TTᴴ, laid out in block rows; its norm is ‖T‖².

    Args:
        kernel: (groups, c_out, c_in, *k) float64.
        axes: one per kernel axis; the batch of H is groups × frequencies.
        layout: from `cheapest_layout`.
    """

    kernel: Tensor
    axes: tuple[Axis | Frequencies, ...]
    layout: Layout
    _kept: dict[tuple[tuple[int, int, int], ...], Tensor] = field(default_factory=dict)

    def error(self) -> float:
        """Bound on ‖fl H − H‖, for every matrix of the batch."""
        magnitude = self.kernel.abs()
        rows = columns = magnitude
        count = max(self.kernel.shape[1:3])
        for axis in reversed(self.axes):
            per_row, per_column = (gain.to(magnitude.device) for gain in axis.gains())
            rows, columns = rows @ per_row, columns @ per_column
            taps, *extent = axis.shape
            count += taps**2 + max(extent) + (40 if isinstance(axis, Frequencies) else 4)
        largest = mul_up(float(rows.sum(dim=2).max()), float(columns.sum(dim=1).max()))
        return mul_up(2 * gamma(2 * count + 40), largest, 1 + 4 * gamma(magnitude[0].numel() + count + 8))

    def rows(self) -> Iterator[list[Tensor]]:
        """[H_ii, H_i,i−1, …] for i = 0, 1, …, each (batch, b_i, b_j)."""
        pairs, (patterns, meetings, count) = self._pairs(), self._meetings()
        group = self.layout.group
        starts = [
            min((j for i in nodes for j, _ in meetings[i]), default=nodes[0]) // group
            for nodes in (range(first, min(first + group, count)) for first in range(0, count, group))
        ]
        for index in range(len(starts) - 2, -1, -1):
            starts[index] = min(starts[index], starts[index + 1], index)
        for index, start in enumerate(starts):
            yield [
                self._block(pairs, patterns, meetings, (index, other, count))
                for other in range(index, start - 1, -1)
            ]

    def _block(
        self,
        pairs: Tensor,
        patterns: list[dict[tuple[int, int], float]],
        meetings: list[list[tuple[int, int]]],
        where: tuple[int, int, int],
    ) -> Tensor:
        """One block of H, made of the nodes that meet in it."""
        index, other, count = where
        group, width = self.layout.group, pairs.shape[-1]
        top, left = index * group, other * group
        height, breadth = min(group, count - top), min(group, count - left)
        key = (
            (height, breadth, int(index == other)),
            *(
                (i - top, j - left, pattern)
                for i in range(top, top + height)
                for j, pattern in meetings[i]
                if left <= j < left + breadth
            ),
        )
        if key in self._kept:
            return self._kept[key]
        block = pairs.new_zeros(pairs.shape[0], height * width, breadth * width)
        for i, j, pattern in key[1:]:
            cell = block[:, i * width : (i + 1) * width, j * width : (j + 1) * width]
            for (t, u), weight in patterns[pattern].items():
                cell.add_(pairs[:, t, u], alpha=weight)
        if index == other:  # what stands above the diagonal of H_ii is not listed
            block = block.tril()
        if sum(b.numel() for b in self._kept.values()) + block.numel() <= KEPT:
            self._kept[key] = block
        return block

    def _meetings(self) -> tuple[list[dict[tuple[int, int], float]], list[list[tuple[int, int]]], int]:
        """Distinct patterns {(tap, tap): weight}; per node those it meets on its left; how many nodes."""
        layout, long = self.layout, self.axes[self.layout.axis]
        if not isinstance(long, Axis):
            raise TypeError("an axis without ends has no rows")
        count = long.shape[2 if layout.inputs else 1]
        places = layout.places(count).tolist()
        found: dict[tuple[int, int], dict[tuple[int, int], float]] = defaultdict(lambda: defaultdict(float))
        for link in long.links(inputs=layout.inputs):
            for i, t, v in link:
                for j, u, w in link:
                    if places[i] >= places[j]:
                        found[places[i], places[j]][t, u] += v * w
        known: dict[tuple[tuple[tuple[int, int], float], ...], int] = {}
        meetings: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        for (i, j), pattern in sorted(found.items()):
            meetings[i].append((j, known.setdefault(tuple(sorted(pattern.items())), len(known))))
        return [dict(pattern) for pattern in known], meetings, count

    def _pairs(self) -> Tensor:
        """(batch, k, k, w, w): for taps t, u of the long axis, all that does not depend on the long axis."""
        groups, axis = len(self.kernel), self.layout.axis
        kernel = self.kernel if self.layout.inputs else self.kernel.transpose(1, 2)
        kernel = kernel.movedim(3 + axis, 3)
        flat = kernel.flatten(2)
        gram = (flat.mT @ flat).reshape(groups, *kernel.shape[2:], *kernel.shape[2:])
        # (groups, c, k, …, c', k', …) → (groups, k, k', c, c', then the other taps in pairs)
        axes = len(self.axes)
        order = [p for d in range(axes - 1) for p in (3 + d, 4 + axes + d)]
        result = gram.permute(0, 2, 3 + axes, 1, 2 + axes, *order)
        for other in (a for i, a in enumerate(self.axes) if i != axis):
            result = self._spread(result, other)
        return result

    def _spread(self, pairs: Tensor, axis: Axis | Frequencies) -> Tensor:
        """Contracts the next pair of taps with what they share on their axis."""
        S = axis.selection().to(pairs.device)
        if self.layout.inputs:
            shared = torch.einsum("ftya,fuyb->ftuab", S.conj(), S)
        else:
            shared = torch.einsum("ftya,fuza->ftuyz", S, S.conj())
        batch, taps, _, width = pairs.shape[:4]
        rest = pairs.shape[7:]
        points, nodes = shared.shape[0], shared.shape[-1]
        dtype = torch.promote_types(pairs.dtype, shared.dtype)
        product = torch.tensordot(pairs.to(dtype), shared.to(dtype), dims=([5, 6], [1, 2]))
        last = product.dim()  # its axes: batch, tap, tap, width, width, the rest, points, nodes, nodes
        order = (0, last - 3, 1, 2, 3, last - 2, 4, last - 1, *range(5, last - 3))
        product = product.permute(order)
        result: Tensor = product.reshape(batch * points, taps, taps, width * nodes, width * nodes, *rest)
        return result
