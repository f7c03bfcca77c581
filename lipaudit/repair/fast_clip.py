"""FastClip: the largest singular values of a linear map brought down to a limit, the others left alone.

    descend on W of ‖T_W v − T_W'(c/σ₁)v‖²   for the top right singular vector v with σ₁ > c

A matrix has the limit of that descent in closed form, W − Σ (σ_i − c)₊u_iv_iᵀ.  The weights of a convolution
are fewer than its singular values: what is done to one is done to others, and a descent along the top vector
alone goes back and forth between neighbours.  So all that lie above c are taken at once, and the step is not
a gradient's but the smallest that does it: of all weights with ⟨u_i, T_W v_i⟩ ≤ c for the vectors met so far
those with the least ‖T_W − T_W0‖_F (`cuts`).  As Σ(σ_i(T_W) − σ_i(T_W0))² ≤ ‖T_W − T_W0‖_F² (Hoffman,
Wielandt), nothing in the spectrum moves more than it must.

Where many values lie above the limit, they are first brought down on a grid of frequencies, which has all of
them at a time (`fourier_clip`); what borders and padding leave above the limit is the vectors' work.

The triplets come from `leading_triplets`: searched, not proved to be the top ones.  Whoever needs a guarantee
asks `spectral` for a bound afterwards (`certified`).

Boroojeny, Telgarsky, Sundaram (2024), "Spectrum Extraction and Clipping for Implicitly Linear Layers".
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipaudit.errors import UsageError
from lipaudit.repair.cuts import nearest
from lipaudit.repair.fourier_clip import clip_on_grid, has_grid
from lipaudit.repair.gradient import reads_per_tap, weight_gradients
from lipaudit.repair.keeping import keep_spectrum
from lipaudit.spectral.checker import scaled
from lipaudit.spectral.leading import ROUGH, is_large, leading_triplets
from lipaudit.spectral.maps import Conv, Dense, LinearMap, power_of_two
from lipaudit.spectral.triplets import Triplets

__all__ = ["Clipped", "fast_clip"]

FIRST, MOST = 8, 64
"""Triplets looked for at a time."""
CLOSE, CLOSE_ENOUGH = 2e-4, 1e-3
"""Relative excess over the limit that is scaled away at the end, rather than cut; the same of large maps,
whose last moves are dear."""
SEARCH, SEARCH_TOLERANCE = 60, 1e-5
"""Block products per search and its tolerance: cuts need no exact vectors, and the search starts warm."""
TAME = 60
"""Binary exponent of the largest weight beyond which the map is scaled first: squares would leave float64."""
TOO_FAR = 1e-9
"""Limit relative to the largest weight below which nothing of a spectrum is left to keep: it is rescaled."""


@dataclass(frozen=True, slots=True, eq=False)
class Clipped:
    """A map whose singular values were brought down.

    Args:
        map: of the same type and shapes as the one that was clipped.
        right: (k, *in_shape) float64, its top right singular vectors: a start for the next call.
        values: (k,) float64, its top singular values, from below.
        steps: how many times the weights were moved; 0 if they are the same.
    """

    map: LinearMap
    right: Tensor
    values: Tensor
    steps: int


def fast_clip(
    linear_map: LinearMap,
    limit: float,
    *,
    start: Tensor | None = None,
    steps: int = 60,
    keep: bool = False,
) -> Clipped:
    """Bring the singular values above `limit` down to it.

    Args:
        linear_map: a `Dense` or `Conv`.
        limit: c > 0.
        start: (any number, *in_shape), such as `right` of an earlier result: where the search begins.
        steps: how many times the weights of a convolution may be moved; what lies above the limit then is
            scaled away, with all the rest.
        keep: small convolutions: prefer weights that leave values below 0.9c in their place (`keeping`), at
            the cost of some SVDs.

    Returns:
        A map of norm c at most, as far as the search could see; the very same map if it was below.

    Raises:
        UsageError: if the limit is not a positive number.
    """
    if not 0 < limit < math.inf:
        raise UsageError(f"limit {limit!r}: a positive number is needed")
    exponent = power_of_two(linear_map.weight)
    if abs(exponent) > TAME:
        near = linear_map.with_weight(scaled(linear_map.weight, -exponent))
        found = fast_clip(near, _times(limit, -exponent), start=start, steps=steps, keep=keep)
        back = scaled(found.map.weight, exponent)
        same = linear_map if found.steps == 0 else linear_map.with_weight(back)
        return Clipped(same, found.right, scaled(found.values, exponent), found.steps)
    top = _search(linear_map, FIRST, start)
    if float(top.values[0]) <= limit:
        return Clipped(linear_map, top.right, top.values, 0)
    if limit < TOO_FAR * float(linear_map.weight.abs().max()):
        return _finished(linear_map, top, limit, 1)
    if not isinstance(linear_map, Conv):
        return _dense(linear_map, top, limit)
    found = _convolution(linear_map, top, limit, steps)
    if not keep or not isinstance(found.map, Conv):
        return found
    kept = keep_spectrum(linear_map, found.map, limit)
    return found if kept is found.map else replace(found, map=kept)


def _times(limit: float, exponent: int) -> float:
    """limit·2^exponent among the positive numbers: beyond them nothing is clipped, or nothing is left."""
    try:
        return max(math.ldexp(limit, exponent), sys.float_info.min)
    except OverflowError:
        return sys.float_info.max


def _dense(linear_map: LinearMap, top: Triplets, limit: float) -> Clipped:
    """W − Σ (σ_i − c)₊ u_i v_iᵀ."""
    left, values, right = torch.linalg.svd(linear_map.weight, full_matrices=False)
    above = values > limit
    excess = (values - limit)[above]
    weight = linear_map.weight - (left[:, above] * excess) @ right[above]
    kept = len(top.values)
    return Clipped(linear_map.with_weight(weight), right[:kept], values[:kept].clamp(max=limit), 1)


def _convolution(conv: Conv, top: Triplets, limit: float, steps: int) -> Clipped:
    used = 0
    if float(top.values[-1]) > limit and has_grid(conv):
        conv, used = clip_on_grid(conv, limit, float(top.values[0])), 1
        top = _search(conv, len(top.values), top.right)
    anchor, metric = conv.weight.flatten(), reads_per_tap(conv).expand_as(conv.weight).flatten()
    cuts = anchor.new_zeros(0, len(anchor))
    wanted, close = len(top.values), CLOSE_ENOUGH if is_large(conv) else CLOSE
    while float(top.values[0]) > limit * (1 + close) and used < steps:
        # Those just below the limit come up when others go down.
        near = top.values > limit * (1 - 0.02)
        found = weight_gradients(conv, top.left[near], top.right[near]).flatten(1)
        cuts = torch.cat([cuts, found])
        weight, active = nearest(anchor, metric, cuts, limit)
        conv, cuts, used = conv.with_weight(weight.reshape(conv.weight.shape)), cuts[active], used + 1
        if bool(near.all()):
            wanted = min(MOST, 2 * wanted)
        top = _search(conv, wanted, top.right)
    return _finished(conv, top, limit, used)


def _finished(linear_map: LinearMap, top: Triplets, limit: float, used: int) -> Clipped:
    """Scaled by what is left, at most."""
    factor = min(1.0, limit / float(top.values[0]))
    clipped = linear_map if factor == 1.0 else linear_map.with_weight(linear_map.weight * factor)
    return Clipped(clipped, top.right, top.values * factor, used)


def _search(linear_map: LinearMap, wanted: int, start: Tensor | None) -> Triplets:
    assert isinstance(linear_map, Conv | Dense)  # noqa: S101 - what `fast_clip` takes
    tolerance = ROUGH if is_large(linear_map) else SEARCH_TOLERANCE
    return leading_triplets(linear_map, wanted, start=start, steps=SEARCH, tolerance=tolerance)
