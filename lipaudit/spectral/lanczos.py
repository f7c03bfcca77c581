"""Golub–Kahan–Lanczos: a vector v with ‖Tv‖/‖v‖ close to ‖T‖.

The search runs in float32 with full reorthogonalisation; the number reported is the quotient of the
Ritz vector it found, recomputed in float64 and rounded down by the error of that one product:

    ‖T‖ ≥ (‖fl(Tv)‖ − γ_m ‖|T|‖ ‖v‖) / ‖v‖,   m = terms per output,  ‖|T|‖ ≤ Schur bound.

The search starts from plane waves of the frequencies at which the symbol is largest, tapered towards the
borders: on large images they are nearly the singular vectors.

A zero-padded convolution on a large image is searched on its first cells only: an input that is zero behind
them makes the outputs of the small map and perhaps more, so ‖T‖ ≥ ‖T on the smaller image‖.

Golub, Kahan (1965), SIAM J. Numer. Anal. 2(2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lipaudit.rounding import div_down, gamma, mul_down, mul_up, sub_down
from lipaudit.spectral.maps import Conv, Dense
from lipaudit.spectral.method import Estimator, Plain
from lipaudit.spectral.peaks import climb, peaks
from lipaudit.spectral.schur import schur_bound
from lipaudit.spectral.symbol import Symbol, polyphase

__all__ = ["ESTIMATOR", "quotient"]

SMALL = 2000
"""Weights up to this many entries are searched in float64: it costs nothing there."""
CHEAP, CLOSE = 5e6, 1e-6
"""Products up to which a step costs so little that the search goes on until it gains less than this."""
MANY_CELLS, ENOUGH = 120_000, 6
"""Entries of an input from which only a part of the image is searched, at least so many kernels wide."""
THOROUGH, MORE = 1e-5, 8
"""Tolerance from which on so many times as large images are searched whole."""
PEAK_ENTRIES = 2e8
"""Weights times frequencies among which the strongest are looked for: some tenths of a second."""
WAVES, OTHERS, CLOSER = 8, 0.3, 30
"""How many of the strongest frequencies of a coarse grid the search starts from, their amplitude beside the
highest point between them, and the power iterations for that."""
NOISE = 0.05
"""Length of the random part of the starting vector."""
STORED_ENTRIES = 40_000_000
"""Krylov vectors kept at a time (160 MB in float32)."""
MIN_LENGTH, MAX_LENGTH, CHECK_EVERY = 8, 96, 8


def quotient(plain: Plain, v: Tensor) -> float:
    """‖Tv‖/‖v‖ for v of shape in_shape, in float64, rounded down (0 for v = 0)."""
    v = v.double()
    if not bool(torch.isfinite(v).all()) or not bool(v.any()):
        return 0.0
    v = v / v.abs().max()
    # cuDNN may pick Winograd or FFT algorithms, for which γ_m does not hold.
    with torch.backends.cudnn.flags(enabled=False):
        image = plain.apply(v[None])
    size = float(torch.linalg.vector_norm(image))
    length = mul_up(float(torch.linalg.vector_norm(v)), 1 + gamma(v.numel() + 8))
    terms = math.prod(plain.weight.shape[1:]) if isinstance(plain, Conv) else plain.weight.shape[1]
    error = mul_up(gamma(terms + 8), schur_bound(plain), length)
    return div_down(sub_down(mul_down(size, 1 - 2 * gamma(image.numel() + 8)), error), length)


def _first_cells(plain: Plain, limit: int) -> Plain:
    """The same convolution on a smaller image, where the whole one is large and padded with zeros."""
    if not isinstance(plain, Conv) or plain.transposed or plain.padding_mode != "zeros":
        return plain
    image = list(plain.image)
    while plain.weight.shape[1] * plain.groups * math.prod(image) > limit:
        longest = max(range(len(image)), key=lambda axis: image[axis] / plain.extent[axis])
        if image[longest] < 2 * ENOUGH * plain.extent[longest]:
            break
        image[longest] //= 2
    if image == list(plain.image):
        return plain
    return Conv(
        plain.weight,
        image,
        stride=plain.stride,
        padding=plain.padding,
        dilation=plain.dilation,
        groups=plain.groups,
    )


def _compute(plain: Plain, steps: int, tolerance: float) -> float:
    plain = _first_cells(plain, MANY_CELLS * (MORE if tolerance <= THOROUGH else 1))
    dtype = torch.float32 if plain.weight.numel() > SMALL else torch.float64
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(math.prod(plain.in_shape), generator=generator, dtype=torch.float64)
    v = v.to(plain.weight.device, dtype)
    if isinstance(plain, Conv):
        wave = _waves(plain).flatten().to(dtype)
        # Some noise: the wave alone may be orthogonal to the vector that is looked for.
        v = NOISE * v / torch.linalg.vector_norm(v) + wave / torch.linalg.vector_norm(wave).clamp(min=1e-30)
    per_step = v.numel() + math.prod(plain.out_shape)
    length = max(MIN_LENGTH, min(MAX_LENGTH, STORED_ENTRIES // per_step))
    if plain.weight.numel() * (math.prod(plain.out_image) if isinstance(plain, Conv) else 1) < CHEAP:
        tolerance = min(tolerance, CLOSE)
    best, done = 0.0, 0
    while done < steps:
        # Each round restarts from the best vector so far.
        room = min(length, steps - done)
        v, value, used = _round(plain, v, room, tolerance)
        done += used
        if used < room or value <= best * (1 + tolerance):
            break
        best = value
    return quotient(plain, v.reshape(plain.in_shape))


def _waves(plain: Conv) -> Tensor:
    """An input of shape in_shape: the strongest frequencies' vectors on plane waves, tapered, added up."""
    symbol = polyphase(plain, plain.stride)
    affordable = PEAK_ENTRIES / symbol.matrices.numel()
    # The finest density whose points are affordable, or at worst the sum and the difference of the taps.
    grids = [tuple(density * d if d else 1 for d in symbol.degrees) for density in (8, 4, 2, 1)]
    grid = next(
        (g for g in grids if math.prod(g) <= affordable), tuple(2 if d else 1 for d in symbol.degrees)
    )
    # One half of the torus, in half steps; σ₁ does not see the other.
    axes = [torch.arange(0, 2 * n, 2) for n in grid]
    half = max(range(len(grid)), key=lambda i: grid[i])
    axes[half] = axes[half][: grid[half] // 2 + 1]
    points = torch.cartesian_prod(*axes).reshape(-1, len(grid))
    values, vectors = peaks(symbol, points, grid)
    best = values.flatten().topk(min(WAVES, values.numel())).indices
    group, where = best // len(points), best % len(points)
    angles = points[where.cpu()] * (math.pi / torch.tensor(grid))
    chosen = OTHERS * vectors.permute(0, 2, 1)[group, where]
    # The highest point is wanted as closely as the image resolves frequencies.
    finer = 2 ** max(0, math.ceil(math.log2(max(plain.out_image) / max(grid))))
    if finer > 1:
        alone = Symbol(symbol.taps, symbol.matrices[:, group[:1]])
        grid = tuple(n * finer if n > 1 else n for n in grid)
        near = where[group == group[0]].cpu()
        summit = climb(alone, finer * points[near], grid, finer)[None]
        angles = torch.cat([summit * (math.pi / torch.tensor(grid)), angles])
        chosen = torch.cat([peaks(alone, summit, grid, CLOSER)[1][:, :, 0], chosen])
        group = torch.cat([group[:1], group])
    if plain.weight.shape[0] // plain.groups > plain.weight.shape[1] * math.prod(plain.stride):
        # The symbol was transposed: its right vectors are the conjugates of outputs.
        waves = _on_image(chosen.conj(), angles, plain.out_image)
        full = waves.new_zeros(plain.groups, *waves.shape[1:]).index_add(0, group, waves)
        return plain.adjoint(full.reshape(1, *plain.out_shape))[0]
    image = tuple(-(-n // s) for n, s in zip(plain.image, plain.stride, strict=True))
    waves = _on_image(chosen, angles, image)
    full = waves.new_zeros(plain.groups, *waves.shape[1:]).index_add(0, group, waves)
    # Channels are (channel, phases): back to the image that was regrouped for the stride.
    count = len(image)
    full = full.reshape(-1, *plain.stride, *image)
    full = full.permute(0, *(axis for i in range(count) for axis in (1 + count + i, 1 + i)))
    full = full.reshape(-1, *(n * s for n, s in zip(image, plain.stride, strict=True)))
    for axis, (n, (left, _)) in enumerate(zip(plain.image, plain.padding, strict=True), start=1):
        full = full.roll(-left, axis).narrow(axis, 0, n)
    return full


def _on_image(vectors: Tensor, angles: Tensor, image: tuple[int, ...]) -> Tensor:
    """Re(vector ⊗ e^{i⟨ω,y⟩})·∏ sin(π(y + ½)/n) on an image: (waves, channels, *image) float32."""
    phase, taper = torch.zeros(len(vectors)), torch.ones(1)
    for axis, cells in enumerate(image):
        y = torch.arange(cells)
        phase = phase[..., None] + angles[:, axis].reshape(-1, *[1] * phase.dim()) * y
        taper = taper[..., None] * (math.pi * (y + 0.5) / cells).sin()
    wave = torch.polar(taper.expand_as(phase), phase).to(vectors.device)
    return (vectors.reshape(*vectors.shape, *[1] * len(image)) * wave[:, None]).real


def _round(plain: Plain, v: Tensor, length: int, tolerance: float) -> tuple[Tensor, float, int]:
    """One Krylov space: its Ritz vector, about ‖T·vector‖, and how many products it took."""
    basis = v.new_empty(length, v.numel())
    images = v.new_empty(length, math.prod(plain.out_shape))
    apply, adjoint = plain.apply, plain.adjoint
    if isinstance(plain, Dense):
        # The matrix may be large: it is converted once, not for every product.
        matrix = plain.weight.to(v.dtype)
        apply, adjoint = lambda x: x @ matrix.T, lambda y: y @ matrix
    top, used = 0.0, 0
    for used in range(1, length + 1):
        v = v / torch.linalg.vector_norm(v).clamp(min=torch.finfo(v.dtype).tiny)
        basis[used - 1] = v
        images[used - 1] = apply(v.reshape(1, *plain.in_shape)).flatten()
        v = adjoint(images[used - 1].reshape(1, *plain.out_shape)).flatten()
        before = torch.linalg.vector_norm(v)
        for _ in range(2):
            v = v - basis[:used].T @ (basis[:used] @ v)
        if not bool(torch.linalg.vector_norm(v) > 1e-5 * before):
            break  # nothing new left: the Krylov space is invariant
        if used % CHECK_EVERY == 0:
            value = float(torch.linalg.eigvalsh(_gram(images[:used]))[-1])
            if value <= top * (1 + tolerance):
                break
            top = value
    values, vectors = torch.linalg.eigh(_gram(images[:used]))
    return basis[:used].T @ vectors[:, -1].to(v.dtype), math.sqrt(max(float(values[-1]), 0.0)), used


def _gram(images: Tensor) -> Tensor:
    return (images @ images.T).double()


ESTIMATOR = Estimator("lanczos", "Golub–Kahan–Lanczos, the witness re-evaluated in float64", _compute)
