"""About σ₁(K̂(ω)) at many frequencies at once: power iteration in single precision on the taps themselves.

    K̂(ω)v = Σ_t e^{i⟨ω,t⟩}·K[t]v   for all frequencies is one real product (T·p × q)(q × 2F),

so F frequencies cost 4Tpq·F operations a step, without a single matrix K̂.  Estimates only: they choose what
is proved (which grid, which τ, which start of a search for a witness), never what is printed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lipaudit.spectral.symbol import Symbol, twiddles

__all__ = ["climb", "peaks"]

STEPS, WALKING = 8, 3
ENTRIES = 16_000_000
"""Numbers of K[t]v held at a time (64 MB)."""


def peaks(
    symbol: Symbol,
    points: Tensor,
    grid: tuple[int, ...],
    steps: int = STEPS,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """About σ₁ and its right singular vector at ω = π·point/N.

    Args:
        symbol: the taps.
        points: (F, D) int64.
        grid: N per axis.
        steps: power iterations; a few give some per cent.
        start: (groups, q, F) vectors to start from, such as those of points nearby.

    Returns:
        (groups, F) float64, some per cent too small, and (groups, q, F) complex64.
    """
    count, groups, p, _ = symbol.matrices.shape
    size = max(1, ENTRIES // (2 * count * groups * p))
    taps = symbol.matrices.permute(1, 0, 2, 3).to(torch.float32)
    if start is None:
        start = _random(symbol).expand(-1, -1, len(points))
    parts = [slice(i, i + size) for i in range(0, len(points), size)]
    found = [_chunk(symbol, taps, points[part], grid, start[:, :, part], steps) for part in parts]
    return torch.cat([v for v, _ in found], dim=1), torch.cat([v for _, v in found], dim=2)


def climb(symbol: Symbol, points: Tensor, grid: tuple[int, ...], step: int) -> Tensor:
    """The point (D,) that seems highest after walking uphill from several, in steps that become shorter.

    Args:
        symbol: the taps, of one group.
        points: (F, D) int64, π/N apart; every walk keeps to points an even number of steps away.
        grid: N per axis.
        step: the first step, even.
    """
    values, vectors = peaks(symbol, points, grid)
    offsets = torch.cartesian_prod(*([torch.tensor([0, -1, 1])] * len(grid))).reshape(-1, len(grid))
    moving = torch.tensor([n > 1 for n in grid])
    offsets = offsets[(offsets[:, ~moving] == 0).all(dim=1)]
    while step >= 2:
        around = (points[:, None] + step * offsets).flatten(0, 1)
        begin = vectors.repeat_interleave(len(offsets), dim=2)
        heights, found = peaks(symbol, around, grid, WALKING, begin)
        best = heights.reshape(len(points), len(offsets)).argmax(dim=1).cpu()
        chosen = torch.arange(len(points)) * len(offsets) + best
        points, values, vectors = around[chosen], heights[:, chosen], found[:, :, chosen]
        # The lower half gives up: most walks end at lower summits.
        kept = values[0].topk(max(min(len(points), 3), len(points) // 2)).indices.cpu()
        points, vectors = points[kept], vectors[:, :, kept]
        step = step // 2 // 2 * 2
    return points[0]


def _random(symbol: Symbol) -> Tensor:
    _, groups, _, q = symbol.matrices.shape
    start = torch.randn(2, q, 1, generator=torch.Generator().manual_seed(0))
    return torch.complex(start[0], start[1]).to(symbol.matrices.device).expand(groups, -1, -1)


def _chunk(
    symbol: Symbol, taps: Tensor, points: Tensor, grid: tuple[int, ...], v: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    groups, count, p, q = taps.shape
    cos, sin = twiddles(symbol.taps, points, grid)
    phase = torch.complex(cos, sin).T.to(taps.device, torch.complex64).reshape(1, count, 1, -1)
    rows, columns = taps.reshape(groups, count * p, q), taps.permute(0, 3, 1, 2).reshape(groups, q, count * p)
    value = torch.zeros(groups, 1, len(points))
    for _ in range(steps):
        v = v / _lengths(v).clamp(min=1e-30)
        u = (_times(rows, v).reshape(groups, count, p, -1) * phase).sum(dim=1)
        value = _lengths(u)
        v = _times(columns, (u[:, None] * phase.conj()).reshape(groups, count * p, -1))
    return value[:, 0].double(), v / _lengths(v).clamp(min=1e-30)


def _lengths(x: Tensor) -> Tensor:
    """Of complex columns; torch's own norm of them is slow."""
    return (x.real.square() + x.imag.square()).sum(dim=1, keepdim=True).sqrt()


def _times(A: Tensor, x: Tensor) -> Tensor:
    """A real matrix times complex columns: one real product."""
    parts = A @ torch.cat([x.real, x.imag], dim=-1)
    real, imaginary = parts.chunk(2, dim=-1)
    return torch.complex(real, imaginary)
