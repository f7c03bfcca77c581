"""Layers that multiply frequencies: with any matrices, and Cayley and LOT as their authors build them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

__all__ = ["BUILT", "Cayley", "Lot", "complex_seeded", "half_filter", "orthogonal", "whole_filter"]


def complex_seeded(seed: int, *shape: int) -> Tensor:
    """Fixed complex normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.view_as_complex(torch.randn((*shape, 2), generator=generator, dtype=torch.float64))


def orthogonal(seed: int, *shape: int) -> Tensor:
    """Matrices with orthonormal rows or columns."""
    rows, cols = shape[-2:]
    made = complex_seeded(seed, *shape[:-2], max(rows, cols), min(rows, cols))
    q: Tensor = torch.linalg.qr(made)[0]
    return q if rows >= cols else q.mT


def half_filter(x: Tensor, q: Tensor, extents: tuple[int, int] | None = None) -> Tensor:
    """irfft2(Q · rfft2(x)) for x (b, c, n, m) and Q (n·(m // 2 + 1), c_out, c)."""
    n, m = x.shape[-2:]
    z = torch.fft.rfft2(x).permute(2, 3, 1, 0).reshape(n * (m // 2 + 1), x.shape[1], x.shape[0])
    y = (q @ z).reshape(n, m // 2 + 1, q.shape[1], x.shape[0]).permute(3, 2, 0, 1)
    return torch.fft.irfft2(y, s=extents or (n, m))


def whole_filter(x: Tensor, q: Tensor) -> Tensor:
    """The real part of ifft2(Q · fft2(x)) for Q (n, m, c_out, c)."""
    z = torch.fft.fft2(x).permute(2, 3, 1, 0)
    return torch.fft.ifft2((q @ z).permute(3, 2, 0, 1)).real


class Cayley(nn.Module):
    """Trockman and Kolter's layer: unitary matrices from stored weights, computed on every call."""

    def __init__(self, c_in: int, c_out: int, extent: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3, generator=generator))
        self.bias = nn.Parameter(torch.randn(c_out, generator=generator))
        self.extent = extent

    def matrices(self) -> Tensor:
        n = self.extent
        c_out, c_in = self.weight.shape[:2]
        w = torch.fft.rfft2(self.weight / self.weight.norm() * 3, (n, n)).conj()
        w = w.reshape(c_out, c_in, n * (n // 2 + 1)).permute(2, 0, 1)
        tall = w if c_out >= c_in else w.mT
        u, v = tall[:, : tall.shape[2]], tall[:, tall.shape[2] :]
        one = torch.eye(tall.shape[2], dtype=w.dtype)
        a = u - u.mH + v.mH @ v
        inverse = torch.linalg.inv(one + a)
        q = torch.cat([inverse @ (one - a), -2 * v @ inverse], 1)
        return q if c_out >= c_in else q.mT

    def forward(self, x: Tensor) -> Tensor:
        return half_filter(x, self.matrices()) + self.bias[:, None, None]


class Lot(nn.Module):
    """Xu, Li and Li's layer: (WWᴴ)^(−½)W at every frequency of the padded image, computed or stored."""

    def __init__(self, c_in: int, c_out: int, extent: int, *, stored: bool, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3, generator=generator) / math.sqrt(9 * c_in))
        self.extent = extent + 2
        self.stored = stored
        if stored:
            self.register_buffer("q", self.matrices().detach())

    def matrices(self) -> Tensor:
        w = torch.fft.fft2(self.weight, s=(self.extent, self.extent)).permute(2, 3, 0, 1)
        values, vectors = torch.linalg.eigh(w @ w.mH)
        return (vectors * values.rsqrt()[..., None, :]) @ vectors.mH @ w

    def forward(self, x: Tensor) -> Tensor:
        q = self.q if self.stored else self.matrices()
        return whole_filter(F.pad(x, (1, 1, 1, 1)), q)[:, :, 1:-1, 1:-1]


BUILT: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "cayley": (lambda: Cayley(3, 4, 6), (3, 6, 6)),
    "cayley_odd": (lambda: Cayley(4, 2, 5), (4, 5, 5)),
    "lot": (lambda: Lot(4, 3, 5, stored=False), (4, 5, 5)),
    "lot_stored": (lambda: Lot(4, 3, 4, stored=True), (4, 4, 4)),
    "network": (
        lambda: nn.Sequential(
            Cayley(3, 8, 6), nn.ReLU(), nn.PixelUnshuffle(2), Cayley(32, 8, 3), nn.Flatten(), nn.Linear(72, 5)
        ),
        (3, 6, 6),
    ),
}
"""By name: what makes it, and the shape of a sample."""
