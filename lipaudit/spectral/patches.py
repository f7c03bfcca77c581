"""Reflected, replicated and wrapped borders on large images: patches of the map instead of the whole.

Cut every axis into pieces by `partition`, Σ_j χ_j² = 1 on its cells, with reference unit vectors r_y.

**Statement.**  T̂_ya = T_ya/⟨χ(a), r_y⟩ = T_ya·∏_axes 1/cos(θ_a − θ_y).  Then ‖T‖ ≤ max_j ‖T̂ on supp χ_j‖.

**Proof.**  On one axis χ(a) and r_y are (cos θ, sin θ) in the plane of the two pieces that y can read; on
several axes χ, r and the weights are products.  (Tx)_y = Σ_a T̂_ya⟨χ(a), r_y⟩x_a = Σ_j r_y,j (T̂χ_jx)_y with
|r_y| = 1, so by Cauchy–Schwarz |(Tx)_y|² ≤ Σ_j |(T̂χ_jx)_y|², for each channel, and

    ‖Tx‖² ≤ Σ_j ‖T̂χ_jx‖² ≤ max_j ‖T̂ on supp χ_j‖² · Σ_j ‖χ_jx‖²,     Σ_j ‖χ_jx‖² = ‖x‖².  ∎

A patch is a product of pieces.  Weights exceed 1 by about (πδ/2m)²/2 for a read δ cells off its window's
centre and m steps: the price falls with the square of the patch's size and does not grow with the image.

**Interior pieces.**  On an interior piece every cell is read from where it is, so that but for the weights T̂
is a part of the convolution without ends.  With weights 1 ≤ w_t(y) ≤ 1 + η_t along that axis and T_t what tap
t of it contributes,  T̂ = T + Σ_t (diag w_t − 1)T_t  gives  ‖T̂‖ ≤ ‖T‖ + Σ_t η_t‖T_t‖, axis by axis.

**Norms.**  Patches of border pieces only are finite: banded Cholesky, as in `toeplitz`.  Those of interior
pieces only are the symbol's supremum.  A mixed patch is a finite matrix F(ω) for every frequency along its
interior axes, and as in `supremum`  sup_ω ‖F(ω)‖ ≤ max_grid ‖F‖ · ∏ sec(π d/2N);  ‖F(−ω)‖ = ‖F(ω)‖, so half
of one axis' grid will do.

Computed weights differ from 1/cos by ≤ 8u relatively: T errs by 9Du·|T| entrywise on D axes, which is added.

In place of the commutators of the IMS localisation formula T̂ takes the cosines up: Cycon, Froese, Kirsch,
Simon (1987), Schrödinger Operators, ch. 3.1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lipaudit.errors import NotCovered
from lipaudit.rounding import UNIT, add_up, div_down, div_up, mul_up, scale_up, sqrt_up, sub_down
from lipaudit.spectral import supremum
from lipaudit.spectral.banded import Axis, Frequencies, Gramian, cheapest_layout, has_few_reads
from lipaudit.spectral.checker import ldexp, scaled
from lipaudit.spectral.fft import is_block_circulant
from lipaudit.spectral.krylov import banded_product, likely_top
from lipaudit.spectral.maps import Conv, power_of_two
from lipaudit.spectral.method import DEFAULT, LARGEST, Effort, Method, Plain
from lipaudit.spectral.partition import Interior, Piece, is_regular, pieces_of
from lipaudit.spectral.schur import schur_bound
from lipaudit.spectral.toeplitz import holds, proved_norm
from lipaudit.spectral.tridiagonal import ceiling

__all__ = ["METHOD"]

STEPS = (64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
"""Steps of the angle from a border to the interior; the most that are affordable."""
ENOUGH = 1e-3
"""Largest weight − 1 below which more steps are for nothing."""
AFFORDABLE = 4e11
"""Float operations, ten seconds on one core."""
UNREASONABLE = 2e13
POINTS_PER_DEGREE = 32
"""sec(π/64) = 1.0012 per interior axis of a mixed patch."""
SEARCHED, EXCESS = 60, 3e-4
"""Lanczos steps and relative excess for a patch: closer is for nothing beside what the weights cost."""
SINGLE = Interior((0,), 1, (0.0,))
"""An interior axis of which one tap is left."""
Patch = tuple[Piece, ...]


def _channels(conv: Conv) -> tuple[int, int]:
    return conv.weight.shape[0] // conv.groups, conv.weight.shape[1]


def _frequencies(piece: Interior, points: Tensor | None = None) -> Frequencies:
    """The grid of an interior piece, or some of its points."""
    count = max(1, POINTS_PER_DEGREE * piece.degree)
    return Frequencies(
        torch.tensor(piece.taps), piece.stride, torch.arange(count) if points is None else points, count
    )


def _axes(patch: Patch) -> tuple[Axis | Frequencies, ...]:
    """The patch on its grid of frequencies; of the first interior axis half is enough."""
    axes: list[Axis | Frequencies] = []
    halved = False
    for piece in patch:
        if isinstance(piece, Axis):
            axes.append(piece)
            continue
        whole = _frequencies(piece)
        axes.append(whole if halved else _frequencies(piece, torch.arange(whole.count // 2 + 1)))
        halved = True
    return tuple(axes)


def _patches(conv: Conv, steps: int) -> list[Patch]:
    """All patches, interior ones first: those take least time."""
    found = itertools.product(*(pieces_of(conv, axis, steps) for axis in range(len(conv.image))))
    return sorted(found, key=lambda patch: sum(isinstance(piece, Axis) for piece in patch))


def _patch_cost(conv: Conv, patch: Patch, effort: Effort) -> float:
    axes = _axes(patch)
    if not any(isinstance(axis, Axis) for axis in axes):
        return 0.0
    # One factorisation, and products for Lanczos that cost about as much.
    return 2.0 * cheapest_layout(conv.groups, _channels(conv), axes, effort.memory).cost


def _plan(plain: Plain, effort: Effort) -> tuple[Conv, list[Patch], float]:
    """The patches of most steps that are affordable, or of fewest, and their cost.

    Raises:
        NotCovered: where no border is irregular, or none can be cut off.
    """
    if not isinstance(plain, Conv):
        raise NotCovered("not a convolution")
    if not has_few_reads(plain):
        raise NotCovered(f"{plain!r}: the kernel has too many taps")
    if all(is_regular(plain, axis) for axis in range(len(plain.image))):
        raise NotCovered(f"{plain!r}: no border is reflected, replicated or wrapped")
    if is_block_circulant(plain):
        raise NotCovered(f"{plain!r}: block-circulant, the method fft is exact")
    best: tuple[list[Patch], float] | None = None
    for steps in STEPS:
        patches = _patches(plain, steps)
        interiors = [piece for patch in patches for piece in patch if isinstance(piece, Interior)]
        if not interiors or (steps > 1 and max(max(piece.excess) for piece in interiors) < ENOUGH):
            continue
        cost = sum(_patch_cost(plain, patch, effort) for patch in patches)
        if best is None or cost < best[1]:
            best = patches, cost
        if cost <= AFFORDABLE:
            break
    if best is None:
        raise NotCovered(f"{plain!r}: the image is too small to be cut")
    return plain, *best


def _cost(plain: Plain) -> float:
    try:
        return _plan(plain, DEFAULT)[2]
    except NotCovered:
        return math.inf


def _compute(plain: Plain, start: float, effort: Effort) -> float:
    conv, patches, cost = _plan(plain, effort)
    if cost > UNREASONABLE:
        raise NotCovered(f"{plain!r}: its patches are too large")
    bound = start
    for patch in patches:
        bound = max(bound, _norm(conv, conv.weight, patch, bound, effort))
    if bound == math.inf:
        raise NotCovered(f"{plain!r}: no proof up to ten times the likely norm")
    return add_up(bound, mul_up(9 * len(conv.image) * UNIT, schur_bound(conv)))


def _confirm(plain: Plain, tau: float, effort: Effort) -> bool:
    conv, patches, _ = _plan(plain, effort)
    claim = sub_down(tau, mul_up(9 * len(conv.image) * UNIT, schur_bound(conv)))
    return all(_holds(conv, conv.weight, patch, claim, effort) for patch in patches)


def _holds(conv: Conv, weight: Tensor, patch: Patch, claim: float, effort: Effort) -> bool:
    """Whether ‖T̂‖ ≤ claim is proved for a patch; single taps, which cost little, are bounded anew."""
    if not bool(weight.any()):
        return True
    parted = _weighted(conv, weight, patch, Effort(memory=effort.memory))
    if parted is not None:
        patch, rest = parted
        return _holds(conv, weight, patch, sub_down(claim, rest), effort)
    exponent = power_of_two(weight)  # ≤ 0: scaling is exact
    weight, claim = scaled(weight, -exponent), min(ldexp(claim, -exponent), LARGEST)
    if not any(isinstance(piece, Axis) for piece in patch):
        return supremum.METHOD.confirms(_endless(conv, weight, patch), claim, effort.memory)
    claim = div_down(claim, _secants(patch))
    return all(holds(gramian, claim) for gramian in _gramians(conv, weight, _axes(patch), effort.memory))


def _norm(conv: Conv, weight: Tensor, patch: Patch, hint: float, effort: Effort) -> float:
    """A bound on ‖T̂‖ of a patch with this kernel; at once if it is about `hint` or less."""
    if not bool(weight.any()):
        return 0.0
    parted = _weighted(conv, weight, patch, effort)
    if parted is not None:
        patch, rest = parted
        return add_up(_norm(conv, weight, patch, max(0.0, hint - rest), effort), rest)
    exponent = power_of_two(weight)  # ≤ 0: scaling is exact
    weight, hint = scaled(weight, -exponent), min(ldexp(hint, -exponent), LARGEST)
    if not any(isinstance(piece, Axis) for piece in patch):
        return scale_up(_supremum(conv, weight, patch, hint, effort), exponent)
    return scale_up(_mixed(conv, weight, patch, hint, effort), exponent)


def _weighted(conv: Conv, weight: Tensor, patch: Patch, effort: Effort) -> tuple[Patch, float] | None:
    """The patch without the weights along its first weighted axis, and Σ_t η_t‖T_t‖; None if it has none."""
    for axis, piece in enumerate(patch):
        if not isinstance(piece, Interior) or not any(piece.excess):
            continue
        single = _with(patch, axis, SINGLE)
        terms = [
            mul_up(excess, _norm(conv, weight.narrow(axis + 2, tap, 1), single, 0.0, effort))
            for tap, excess in enumerate(piece.excess)
            if excess > 0
        ]
        plain = _with(patch, axis, Interior(piece.taps, piece.stride, (0.0,) * len(piece.taps)))
        return plain, add_up(*terms)
    return None


def _with(patch: Patch, axis: int, piece: Piece) -> Patch:
    return (*patch[:axis], piece, *patch[axis + 1 :])


def _supremum(conv: Conv, weight: Tensor, patch: Patch, hint: float, effort: Effort) -> float:
    """The norm of the convolution without ends."""
    rough = Effort(max(effort.tolerance, EXCESS), effort.memory)
    return supremum.METHOD.bound(_endless(conv, weight, patch), hint, rough).value


def _endless(conv: Conv, weight: Tensor, patch: Patch) -> Conv:
    """A convolution whose supremum that is."""
    pieces = [piece for piece in patch if isinstance(piece, Interior)]
    return Conv(
        weight,
        [max(piece.taps) + 1 for piece in pieces],
        stride=[piece.stride for piece in pieces],
        dilation=[piece.taps[1] if len(piece.taps) > 1 else 1 for piece in pieces],
        groups=conv.groups,
    )


def _mixed(conv: Conv, weight: Tensor, patch: Patch, hint: float, effort: Effort) -> float:
    """The largest norm over the grid of frequencies, times what lies between its points."""
    factor = _secants(patch)
    bound = hint / factor
    for gramian in _gramians(conv, weight, _axes(patch), effort.memory):
        if bound > 0:
            error = gramian.error()
            found = add_up(float(ceiling(gramian.rows(), bound * bound).max()), error)
            if found <= bound * bound * (1 + EXCESS):
                bound = sqrt_up(found)
                continue
        rows = list(gramian.rows())
        like = rows[0][0].new_zeros(len(rows[0][0]), sum(row[0].shape[-1] for row in rows))
        top = float(likely_top(banded_product(rows), like, SEARCHED, EXCESS).max())
        del rows
        bound = max(bound, proved_norm(gramian, math.sqrt(max(top, 0.0)), EXCESS))
    return mul_up(bound, factor)


def _secants(patch: Patch) -> float:
    """∏ sec(πd/2N), rounded up."""
    factor = 1.0
    for piece in patch:
        if isinstance(piece, Interior) and piece.degree:
            cosine = math.cos(math.pi / (2 * POINTS_PER_DEGREE)) * (1 - 16 * UNIT)
            factor = mul_up(factor, div_up(1.0, cosine))
    return factor


def _gramians(
    conv: Conv, weight: Tensor, axes: Sequence[Axis | Frequencies], memory: float
) -> Iterator[Gramian]:
    """TᴴT of all groups and frequencies, as many at a time as memory holds."""
    kernel = weight.reshape(conv.groups, -1, *weight.shape[1:])
    layout = cheapest_layout(conv.groups, _channels(conv), axes)
    capacity = max(1, int(memory // (layout.memory + layout.stored)))
    grid = math.prod(axis.batch for axis in axes)
    split = next((i for i, axis in enumerate(axes) if isinstance(axis, Frequencies)), 0)
    first = axes[split]
    points = max(1, capacity * first.batch // grid)
    for some in kernel.split(max(1, capacity // grid)):
        if not isinstance(first, Frequencies):
            yield Gramian(some, tuple(axes), layout)
            continue
        for part in first.points.split(points):
            few = Frequencies(first.taps, first.stride, part, first.count)
            yield Gramian(some, (*axes[:split], few, *axes[split + 1 :]), layout)


METHOD = Method("patches", "irregular borders: weighted patches of the map", _cost, _compute, _confirm)
