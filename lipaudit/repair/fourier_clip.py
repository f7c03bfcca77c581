"""Clipping on a grid of frequencies, where a convolution falls apart into small matrices.

For circular "same" padding the matrices K̂(ω) of the grid hold all singular values (Sedghi 2019).  Clipped one
by one they belong to no kernel of the old size: that it is one is a second condition beside the first,

    (a) σ₁(K̂(ω)) ≤ c at every ω,      (b) K has the support it had.

`clip_and_crop` alternates: clip, crop to the support, and again; what it meets need not be the nearest
kernel.  `clip_on_grid` looks for the kernel nearest to the old one under both by the alternating direction
method of multipliers, over-relaxed; with the grid's transform F unitary up to √N (Parseval) each step is in
closed form:

    X ← αF K + (1 − α)Z,    Z ← clip(X + Y),    Y ← Y + X − Z,    K ← (K₀ + ρ·crop F⁻¹(Z − Y)) / (1 + ρ).

For other paddings the grid is that of the circulant which the convolution is cut out of, or close to it: a
good guess, and no more.

Sedghi, Gupta, Long (2019), "The Singular Values of Convolutional Layers", ICLR; Boyd, Parikh, Chu, Peleato,
Eckstein (2011), "Distributed optimization and statistical learning via ADMM", sec. 3.3, 3.4.3 and 5.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lipaudit.spectral.checker import ldexp, scaled
from lipaudit.spectral.embedding import embedding_grid
from lipaudit.spectral.fft import half_spectrum
from lipaudit.spectral.leading import is_large
from lipaudit.spectral.maps import Conv, power_of_two

__all__ = ["clip_and_crop", "clip_on_grid", "has_grid"]

ROUNDS, ROUNDS_LARGE = 150, 60
PENALTY, RELAXATION = 20.0, 1.7
"""ρ and α. Of ρ from 1 to 100 this is where random 3×3 kernels of 16 and 32 channels, clipped at 0.2 to 0.95
of their norm, need the fewest rounds: 150 at ρ = α = 1 leave more of the excess than 30 here."""
CLOSE = 1e-4
"""Excess over the limit, relative to it, that is none."""
ENOUGH, ENOUGH_LARGE = 1e-4, 1e-3
"""Distance of a frequency's F K from Z, and of Z from the last one, relative to the limit, that ends it."""


def grid_of(conv: Conv) -> tuple[int, ...]:
    """Frequencies per axis, in cells of the stride: exact for circular "same", near the truth for others."""
    plain = conv.base()
    if plain.padding_mode == "zeros":
        return embedding_grid(plain)
    return tuple(-(-n // s) for n, s in zip(plain.image, plain.stride, strict=True))


def has_grid(conv: Conv) -> bool:
    """Whether no two taps of the kernel meet on the grid, so that crop F⁻¹F = 1."""
    plain = conv.base()
    cells = zip(grid_of(conv), plain.stride, plain.extent, strict=True)
    return all(n * s >= e for n, s, e in cells)


def clip_on_grid(conv: Conv, limit: float, norm: float, rounds: int = ROUNDS) -> Conv:
    """About the nearest kernel whose singular values are `limit` at most.

    Args:
        conv: a convolution with `has_grid`.
        limit: c.
        norm: about ‖T‖, beside which the grid's maximum is seen: what the grid exceeds it by is granted.
        rounds: at most.
    """
    plain = conv.base()
    spectrum, exponent = _Grid(plain), power_of_two(plain.weight)
    old, enough = scaled(plain.weight, -exponent), ENOUGH
    if is_large(conv):  # half the memory to go through, and less often
        old, enough, rounds = old.float(), ENOUGH_LARGE, min(rounds, ROUNDS_LARGE)
    first = spectrum.forward(old)
    top = float(torch.linalg.matrix_norm(first, 2).max())
    limit = ldexp(limit, -exponent) * max(1.0, top / ldexp(norm, -exponent))
    clipped, excess = _clipped(first, limit)
    kernel, split = old, first - clipped
    if excess <= CLOSE:
        return conv
    for _ in range(rounds):
        kernel = (old + PENALTY * spectrum.inverse(clipped - split)) / (1 + PENALTY)
        transformed, last = spectrum.forward(kernel), clipped
        ahead = RELAXATION * transformed + (1 - RELAXATION) * last
        clipped, _ = _clipped(ahead + split, limit)
        split = split + ahead - clipped
        if max(_largest(transformed - clipped), _largest(clipped - last)) <= enough * limit:
            break
    return conv.with_weight(scaled(kernel.double(), exponent))


def clip_and_crop(conv: Conv, limit: float, rounds: int = 1) -> Conv:
    """Clip every frequency, keep the kernel's support, `rounds` times."""
    plain = conv.base()
    spectrum = _Grid(plain)
    kernel = plain.weight
    for _ in range(rounds):
        clipped, excess = _clipped(spectrum.forward(kernel), limit)
        if excess <= CLOSE:
            break
        kernel = spectrum.inverse(clipped)
    return conv.with_weight(kernel)


def _clipped(matrices: Tensor, limit: float) -> tuple[Tensor, float]:
    """Every singular value at most `limit`; by how much the largest was above, relatively.

    X·V diag(min(1, c/σ))Vᴴ, or the same from the left, with V and σ² of the smaller Gram matrix: several
    times as fast as an SVD of each, and what squaring loses concerns values far below the limit.
    """
    wide = matrices.shape[-1] > matrices.shape[-2]
    gram = matrices @ matrices.mH if wide else matrices.mH @ matrices
    squares, vectors = torch.linalg.eigh(gram)
    values = squares.clamp(min=0.0).sqrt()
    excess = float(values.max()) / limit - 1
    # 1 − the factor, which is 0 for what is below: nothing there is moved by rounding.
    lost = torch.where(values > limit, 1 - limit / values.clamp(min=limit), 0.0)
    most = int((values > limit).sum(-1).max())
    few, lost = vectors[..., values.shape[-1] - most :], lost[..., None, values.shape[-1] - most :]
    if wide:
        return matrices - (few * lost) @ (few.mH @ matrices), excess
    return matrices - (matrices @ few * lost) @ few.mH, excess


def _largest(matrices: Tensor) -> float:
    """Largest Frobenius norm."""
    return float(torch.linalg.matrix_norm(matrices).max())


class _Grid:
    """The transform of kernels of one shape, and the inverse on its range, cropped to the support."""

    def __init__(self, plain: Conv) -> None:
        self._plain, self._cells = plain, grid_of(plain)
        points = torch.full((self._cells[-1] // 2 + 1,), 2.0, dtype=torch.float64)
        points[0] = 1.0
        if self._cells[-1] % 2 == 0:
            points[-1] = 1.0
        self._weights = points.to(plain.weight.device)[:, None, None, None]

    def forward(self, kernel: Tensor) -> Tensor:
        """(*half grid, groups, c_out/groups, c_in/groups·∏s) complex."""
        plain = self._plain
        return half_spectrum(kernel, self._cells, plain.stride, plain.dilation, plain.groups)

    def inverse(self, matrices: Tensor) -> Tensor:
        """The adjoint of `forward`, divided by the number of frequencies."""
        kernel = torch.zeros_like(self._plain.weight, dtype=matrices.real.dtype, requires_grad=True)
        with torch.enable_grad():
            transformed = self.forward(kernel)
            # Half of the frequencies stand for both halves.
            (gradient,) = torch.autograd.grad(transformed, kernel, self._weights.to(matrices.real) * matrices)
        found: Tensor = gradient / math.prod(self._cells)
        return found
