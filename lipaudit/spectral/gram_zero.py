"""Zero padding, every image size: Gram iteration on the kernel itself.

K_0 is the (polyphase) kernel, K_{t+1}[δ] = Σ_τ K_t[τ+δ] K_t[τ]ᵀ its full self-correlation, of extent
2^t·d + 1 per axis (d = extent of K_0 − 1).  For t ≥ 1

    ‖T‖ ≤ sup_ω ‖K̂_0(ω)‖ = sup_ω ‖K̂_t(ω)‖^(1/2^t) ≤ ‖W_t‖_∞^(1/2^t),   W_t = Σ_δ |K_t[δ]|,

since K̂_{t+1} = K̂_t K̂_tᴴ, |K̂_t(ω)| ≤ W_t entrywise, and W_t is symmetric (K_t[−δ] = K_t[δ]ᵀ).  A
zero-padded map of any size is a compression of the convolution on ℤ^D, whose norm is the supremum; for
other paddings see `low_resolution.copies`. More steps never hurt (‖·‖_∞ is submultiplicative) and converge to
the supremum.

**How K_t is had.**  Summing over pairs of taps costs 4^{tD}.  But K_t has N = 2^t·d + 1 taps per axis, so
its values at ω_l = 2πl/N determine it: run Gram iteration at these points and transform back.  K̂(−ω) =
conj K̂(ω), so half the points do; only the triangle o ≥ j is transformed.  No library's FFT is trusted:
the transforms are matrix products.

**Rounding.**  u = 2⁻⁵³.  S_i is the exact symbol, scaled as G_i is, G_i what was computed, e_i ≥ ‖G_i −
S_i‖ at all points.
1. A twiddle (angle ≤ π after reduction mod N, three roundings; cos, sin within 2 ulp) errs by ≤ 16u, a
   product of D of them by ≤ 20Du, a sum of T products by √2γ_{2T+2}: e_0 = (20Du + 2γ_{2T+2})(1 +
   20Du)·‖Σ_τ|K[τ]|‖_F.
2. With B_i ≥ ‖G_i‖ and ρ_i from `gram`, ‖S_iS_iᴴ − G_iG_iᴴ‖ ≤ (2B_i + e_i)e_i, so e_{i+1} =
   2^(−c_i)((2B_i + e_i)e_i + ρ_i). The triangle of G_t that is not used is taken for the mirror image of
   the other.  e_t stays: the first part of the error is Hermitian, the second is bounded entry by entry
   by a symmetric matrix.
3. Let P be the trigonometric polynomial through the values G_t(ω_l), made conjugate-symmetric (which
   moves them no further from S_t); its coefficients are real.  S_t − P is its own interpolant Σ_l D(ω −
   ω_l)(S_t − P)(ω_l), and Σ_l |D|² = 1, hence by Cauchy–Schwarz ‖S_t − P‖ ≤ √(∏N)·e_t everywhere.
4. Transforming back along axes of n_i complex terms multiplies each sum of moduli by 1 + η, η = ∏(1 + 18u
   + 2γ_{2n_i+2}) − 1, so the row sums of Σ_δ|P[δ]| err by at most ∏N·η·√p·√2·max‖G_t‖_F (√2: the mirrored
   triangle), and their own summation by γ.
Then B_t = row sums + 3. + 4., and B_0 as in `gram`, with the scalings undone.  Terms of underflow are far
below.  ∎

Delattre, Barthélemy, Allauzen (2024), "Spectral Norm of Convolutional Layers with Circular and Zero
Paddings", arXiv 2402.00240; Higham (2002), ch. 3; Zygmund (2002), Trigonometric Series, ch. X
(interpolation at equal distances).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from lipaudit.errors import NotCovered
from lipaudit.rounding import UNDERFLOW, UNIT, add_up, div_down, div_up, gamma, mul_up, scale_up, sqrt_up
from lipaudit.spectral.checker import largest_part
from lipaudit.spectral.gram import check_steps, frobenius, gram_error, unwound
from lipaudit.spectral.low_resolution import repetition
from lipaudit.spectral.maps import Conv
from lipaudit.spectral.method import DEFAULT, Effort, Method, Plain
from lipaudit.spectral.symbol import Symbol, polyphase

__all__ = ["METHOD", "method"]

Counts = tuple[int, ...]
"""Taps of K_t, and points of its grid, per axis."""

MOST_STEPS = 5
MOST_STEPS_OF_A_POINT = 12
"""A kernel of one (polyphase) tap stays one: a step is one small product."""
CHUNK_ENTRIES = 1_000_000
"""Complex entries of a factor or product formed at a time (16 MB)."""
POINT_COST = 3000.0
"""Float operations that handling one small matrix is worth."""
TWIDDLE_COST = 60.0
"""Float operations that one tap's factor at one point is worth."""


def method(steps: int | None = None) -> Method:
    """The method with a fixed number of squarings, or (None) as many as the effort allows.

    Raises:
        UsageError: for fewer than one step: the kernel itself is not Hermitian.
    """
    check_steps(steps, least=1)

    def compute(plain: Plain, start: float, effort: Effort) -> float:
        if not isinstance(plain, Conv):
            raise NotCovered("not a convolution")
        symbol = polyphase(plain, plain.stride)
        factor = repetition(plain)
        most = _most_steps(symbol, effort) if steps is None else steps
        if _bytes(symbol, most) > effort.memory:
            raise NotCovered(f"{plain!r}: {most} steps on kernels take more than {effort.memory} bytes")
        value = math.inf
        # An orthogonal kernel is exact after one step, which costs next to nothing.
        for step in sorted({1, most}) if steps is None else (steps,):
            if value > mul_up(start, 1 + effort.tolerance):
                value = min(value, mul_up(_supremum(symbol, step), factor))
        return value

    def confirm(plain: Plain, tau: float, effort: Effort) -> bool:
        if not isinstance(plain, Conv):
            raise NotCovered("not a convolution")
        symbol = polyphase(plain, plain.stride)
        claim = div_down(tau, repetition(plain))
        # Every number of squarings is a proof; each costs several times what the one before it does.
        most = _most_steps(symbol, effort) if steps is None else steps
        tried = range(1 if steps is None else most, most + 1)
        return any(
            _bytes(symbol, step) <= effort.memory and _supremum(symbol, step) <= claim for step in tried
        )

    def cost(plain: Plain) -> float:
        if not isinstance(plain, Conv):
            return math.inf
        symbol = polyphase(plain, plain.stride)
        return _operations(symbol, _most_steps(symbol, DEFAULT) if steps is None else steps)

    summary = "any image size: Gram iteration on the kernel, by its ∞-norm"
    return Method("gram-zero", summary, cost, compute, confirm, outdone_by="supremum")


METHOD = method()


def _counts(symbol: Symbol, steps: int) -> Counts:
    return tuple(2**steps * degree + 1 for degree in symbol.degrees)


def _points(counts: Counts) -> int:
    """Points of the half grid: the last axis holds 0 … (N − 1)/2."""
    return math.prod(counts[:-1]) * ((counts[-1] + 1) // 2)


def _most_steps(symbol: Symbol, effort: Effort) -> int:
    last = MOST_STEPS if any(symbol.degrees) else MOST_STEPS_OF_A_POINT
    for steps in range(last, 1, -1):
        if _operations(symbol, steps) <= effort.operations and _bytes(symbol, steps) <= effort.memory:
            return steps
    return 1


def _operations(symbol: Symbol, steps: int) -> float:
    """Rough float operations: the samples, their squarings, the transform back."""
    counts, (taps, groups, p, q) = _counts(symbol, steps), symbol.matrices.shape
    there = taps * (TWIDDLE_COST + 4.0 * groups * p * q)
    squarings = groups * (8.0 * p * p * (q + (steps - 1) * p) + steps * POINT_COST)
    back = groups * p * p * 4.0 * sum(counts)
    return _points(counts) * (there + squarings + back)


def _bytes(symbol: Symbol, steps: int) -> int:
    """What the samples, the factors of the transforms and a few chunks take."""
    counts, (_, groups, p, _) = _counts(symbol, steps), symbol.matrices.shape
    return 16 * (_points(counts) * (groups * p * p + 4) + 2 * sum(n * n for n in counts) + 4 * CHUNK_ENTRIES)


def _supremum(symbol: Symbol, steps: int) -> float:
    """The bound on sup ‖K̂(ω)‖ after `steps` ≥ 1 squarings."""
    counts = _counts(symbol, steps)
    G, trail, error = _sampled(symbol, counts, steps)
    total = math.prod(counts)
    interpolated = mul_up(sqrt_up(total), error)
    closed = add_up(_row_sum(G, symbol.matrices.shape[1], counts), interpolated, UNDERFLOW)
    # The errors are all in `closed`: what is undone here are exact squarings.
    return unwound(closed, [(power, 0.0) for power, _ in trail])[0]


def _sampled(symbol: Symbol, counts: Counts, steps: int) -> tuple[Tensor, list[tuple[int, float]], float]:
    """G_t at all points, (points·groups, p, p), the steps' (c, ρ), and e_t."""
    _, groups, p, q = symbol.matrices.shape
    G = symbol.matrices.new_empty((_points(counts) * groups, p, p), dtype=torch.complex128)
    trail: list[tuple[int, float]] = []
    for step in range(steps):
        rho, done = 0.0, 0
        size = max(1, CHUNK_ENTRIES // (p * (p if step else q)))
        for part in G.split(size) if step else _values(symbol, counts):
            rho = max(rho, gram_error(part))
            G[done : done + len(part)] = part @ part.mH
            done += len(part)
        power = math.frexp(largest_part(G))[1]
        G.mul_(2.0**-power)
        trail.append((power, rho))
    error = _symbol_error(symbol)
    for bound, (power, rho) in zip(unwound(frobenius(G), trail)[:-1], trail, strict=True):
        grown = mul_up(add_up(2 * bound, error), error)
        error = scale_up(add_up(grown, rho), -power)
    return G, trail, error


def _symbol_error(symbol: Symbol) -> float:
    """e_0."""
    count, axes = symbol.taps.shape
    factor = mul_up(add_up(20 * axes * UNIT, 2 * gamma(2 * count + 2)), 1 + 32 * axes * UNIT)
    spread = frobenius(symbol.matrices.abs().sum(dim=0))
    return add_up(mul_up(factor, spread, 1 + 2 * gamma(count)), UNDERFLOW)


def _values(symbol: Symbol, counts: Counts) -> Iterator[Tensor]:
    """K̂ at the points of the half grid in row-major order, in chunks (points·groups, p, q)."""
    taps, groups, p, q = symbol.matrices.shape
    flat = symbol.matrices.reshape(taps, -1)
    half = (*counts[:-1], (counts[-1] + 1) // 2)
    points = torch.cartesian_prod(*(torch.arange(n) for n in half)).reshape(-1, len(half))
    for chunk in points.split(max(1, CHUNK_ENTRIES // (groups * p * q + 4 * taps))):
        twiddles = torch.ones(len(chunk), taps, dtype=torch.complex128)
        for axis, n in enumerate(counts):
            twiddles = twiddles * _roots(n)[chunk[:, axis, None] * symbol.taps[None, :, axis] % n]
        twiddles = twiddles.to(flat.device)
        yield torch.complex(twiddles.real @ flat, twiddles.imag @ flat).reshape(-1, p, q)


def _roots(n: int) -> Tensor:
    """e^{2πi·r/n} for r = 0 … n − 1, each within 16u."""
    turns = torch.arange(n)
    angle = torch.where(2 * turns > n, turns - n, turns).double() * (2 * math.pi) / n
    return torch.complex(angle.cos(), angle.sin())


def _row_sum(G: Tensor, groups: int, counts: Counts) -> float:
    """Bound on the largest row sum of Σ_δ|P[δ]|, from P's values on the half grid."""
    p, points, total = G.shape[-1], _points(counts), math.prod(counts)
    rows, columns = torch.tril_indices(p, p, device=G.device)
    pairs = (torch.arange(groups, device=G.device)[:, None] * p * p + rows * p + columns).flatten()
    values = G.reshape(points, -1)
    sums = values.real.new_zeros(groups * p * p)
    for chunk in pairs.split(max(1, CHUNK_ENTRIES // points)):
        sums[chunk] = _absolute_coefficients(values[:, chunk], counts)
    lower = sums.reshape(groups, p, p)
    largest = float((lower.sum(dim=2) + lower.tril(-1).sum(dim=1)).max())
    eta = 1.0
    for n in (*counts[:-1], (counts[-1] + 1) // 2):
        eta = mul_up(eta, add_up(1.0, 18 * UNIT, 2 * gamma(2 * n + 2)))
    # ‖G_t‖_F counts a mirrored triangle at most √2 times.
    lost = mul_up(total, eta - 1, 2.0, sqrt_up(p), frobenius(G))
    return add_up(mul_up(div_up(largest, total), 1 + 2 * gamma(total + 2 * p + 8)), lost)


def _absolute_coefficients(values: Tensor, counts: Counts) -> Tensor:
    """∏N·Σ_δ|P[δ]| for every column of (points, columns)."""
    half = (counts[-1] + 1) // 2
    X = values.reshape(*counts[:-1], half, -1)
    for axis, n in enumerate(counts[:-1]):
        order = torch.arange(n)
        X = torch.tensordot(_roots(n).conj()[order[:, None] * order % n].to(X.device), X, dims=([1], [axis]))
    n, axis = counts[-1], len(counts) - 1
    factors = _roots(n)[torch.arange(n)[:, None] * torch.arange(half) % n]
    factors[:, 1:] *= 2  # the other half of the grid is the conjugate of this one
    factors = factors.to(X.device)
    coefficients = torch.tensordot(factors.real, X.real, dims=([1], [axis]))
    coefficients += torch.tensordot(factors.imag, X.imag, dims=([1], [axis]))
    sums: Tensor = coefficients.abs().flatten(0, -2).sum(dim=0)
    return sums
