"""Golub–Kahan–Lanczos: a vector v with ‖Tv‖/‖v‖ close to ‖T‖.

The search runs in float32 with full reorthogonalisation; the number reported is the quotient of the
Ritz vector it found, recomputed in float64 and rounded down by the error of that one product:

    ‖T‖ ≥ (‖fl(Tv)‖ − γ_m ‖|T|‖ ‖v‖) / ‖v‖,   m = terms per output,  ‖|T|‖ ≤ Schur bound.

A zero-padded convolution on a large image is searched on its first cells only: an input that is zero behind
them makes the outputs of the small map and perhaps more, so ‖T‖ ≥ ‖T on the smaller image‖.

Golub, Kahan (1965), SIAM J. Numer. Anal. 2(2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lipaudit.rounding import div_down, gamma, mul_down, mul_up, sub_down
from lipaudit.spectral.maps import Conv
from lipaudit.spectral.method import Estimator, Plain
from lipaudit.spectral.schur import schur_bound

__all__ = ["ESTIMATOR", "quotient"]

SMALL = 2000
"""Weights up to this many entries are searched in float64: it costs nothing there."""
MANY_CELLS, ENOUGH = 400_000, 6
"""Entries of an input from which only a part of the image is searched, at least so many kernels wide."""
STORED_ENTRIES = 40_000_000
"""Krylov vectors kept at a time (160 MB in float32)."""
MIN_LENGTH, MAX_LENGTH, CHECK_EVERY = 8, 96, 8
CONVERGED = 1e-5
"""Relative gain of σ₁² over the last steps below which the search stops."""


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


def _first_cells(plain: Plain) -> Plain:
    """The same convolution on a smaller image, where the whole one is large and padded with zeros."""
    if not isinstance(plain, Conv) or plain.transposed or plain.padding_mode != "zeros":
        return plain
    image = list(plain.image)
    while plain.weight.shape[1] * plain.groups * math.prod(image) > MANY_CELLS:
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


def _compute(plain: Plain, steps: int) -> float:
    plain = _first_cells(plain)
    dtype = torch.float32 if plain.weight.numel() > SMALL else torch.float64
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(math.prod(plain.in_shape), generator=generator, dtype=torch.float64)
    v = v.to(plain.weight.device, dtype)
    per_step = v.numel() + math.prod(plain.out_shape)
    length = max(MIN_LENGTH, min(MAX_LENGTH, STORED_ENTRIES // per_step))
    best, done = 0.0, 0
    while done < steps:
        # Each round restarts from the best vector so far.
        v, value, used = _round(plain, v, min(length, steps - done))
        done += used
        if value <= best * (1 + CONVERGED) or used < MIN_LENGTH:
            break
        best = value
    return quotient(plain, v.reshape(plain.in_shape))


def _round(plain: Plain, v: Tensor, length: int) -> tuple[Tensor, float, int]:
    """One Krylov space: its Ritz vector, about ‖T·vector‖, and how many products it took."""
    basis = v.new_empty(length, v.numel())
    images = v.new_empty(length, math.prod(plain.out_shape))
    top, used = 0.0, 0
    for used in range(1, length + 1):
        v = v / torch.linalg.vector_norm(v).clamp(min=torch.finfo(v.dtype).tiny)
        basis[used - 1] = v
        images[used - 1] = plain.apply(v.reshape(1, *plain.in_shape)).flatten()
        v = plain.adjoint(images[used - 1].reshape(1, *plain.out_shape)).flatten()
        before = torch.linalg.vector_norm(v)
        for _ in range(2):
            v = v - basis[:used].T @ (basis[:used] @ v)
        if not bool(torch.linalg.vector_norm(v) > 1e-5 * before):
            break  # nothing new left: the Krylov space is invariant
        if used % CHECK_EVERY == 0:
            value = float(torch.linalg.eigvalsh(_gram(images[:used]))[-1])
            if value <= top * (1 + CONVERGED):
                break
            top = value
    values, vectors = torch.linalg.eigh(_gram(images[:used]))
    return basis[:used].T @ vectors[:, -1].to(v.dtype), math.sqrt(max(float(values[-1]), 0.0)), used


def _gram(images: Tensor) -> Tensor:
    return (images @ images.T).double()


ESTIMATOR = Estimator("lanczos", "Golub–Kahan–Lanczos, the witness re-evaluated in float64", _compute)
