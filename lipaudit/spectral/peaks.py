"""About σ₁(K̂(ω)) at many frequencies at once: power iteration in single precision on the taps themselves.

    K̂(ω)v = Σ_t e^{i⟨ω,t⟩}·K[t]v   for all frequencies is one real product (T·p × q)(q × 2F),

so F frequencies cost 4Tpq·F operations a step, without a single matrix K̂.  Estimates only: they choose what
is proved (which grid, which τ, which start of a search for a witness), never what is printed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lipaudit.spectral.symbol import Symbol, twiddles

__all__ = ["peaks"]

STEPS = 8
ENTRIES = 16_000_000
"""Numbers of K[t]v held at a time (64 MB)."""


def peaks(symbol: Symbol, points: Tensor, grid: tuple[int, ...], steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """About σ₁ and its right singular vector at ω = π·point/N.

    Args:
        symbol: the taps.
        points: (F, D) int64.
        grid: N per axis.
        steps: power iterations; a few give some per cent.

    Returns:
        (groups, F) float64, some per cent too small, and (groups, q, F) complex64.
    """
    count, groups, p, _ = symbol.matrices.shape
    size = max(1, ENTRIES // (2 * count * groups * p))
    taps = symbol.matrices.permute(1, 0, 2, 3).to(torch.float32)
    found = [_chunk(symbol, taps, points[i : i + size], grid, steps) for i in range(0, len(points), size)]
    return torch.cat([v for v, _ in found], dim=1), torch.cat([v for _, v in found], dim=2)


def _chunk(
    symbol: Symbol, taps: Tensor, points: Tensor, grid: tuple[int, ...], steps: int
) -> tuple[Tensor, Tensor]:
    groups, count, p, q = taps.shape
    cos, sin = twiddles(symbol.taps, points, grid)
    phase = torch.complex(cos, sin).T.to(taps.device, torch.complex64).reshape(1, count, 1, -1)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, q, 1, generator=generator)
    v = torch.complex(start[0], start[1]).to(taps.device).expand(groups, q, len(points))
    rows, columns = taps.reshape(groups, count * p, q), taps.permute(0, 3, 1, 2).reshape(groups, q, count * p)
    value = torch.zeros(groups, 1, len(points))
    for _ in range(steps):
        v = v / torch.linalg.vector_norm(v, dim=1, keepdim=True).clamp(min=1e-30)
        u = (_times(rows, v).reshape(groups, count, p, -1) * phase).sum(dim=1)
        value = torch.linalg.vector_norm(u, dim=1, keepdim=True)
        v = _times(columns, (u[:, None] * phase.conj()).reshape(groups, count * p, -1))
    return value[:, 0].double(), v / torch.linalg.vector_norm(v, dim=1, keepdim=True).clamp(min=1e-30)


def _times(A: Tensor, x: Tensor) -> Tensor:
    """A real matrix times complex columns: one real product."""
    parts = A @ torch.cat([x.real, x.imag], dim=-1)
    real, imaginary = parts.chunk(2, dim=-1)
    return torch.complex(real, imaginary)
