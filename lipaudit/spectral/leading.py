"""The leading singular triplets of a `Dense` or `Conv`, with all roundings accounted for.

Weights are scaled by a power of two first.  Large maps are searched in float32, and what was found is
multiplied once more in float64; a product T v there errs by at most γ_m·‖|T|‖·‖v‖, with m terms per output
and ‖|T|‖ ≤ Schur bound (Higham 2002, sec. 3.5), which is subtracted from the values.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lipaudit.rounding import down, gamma, mul_up
from lipaudit.spectral.block_lanczos import block_lanczos
from lipaudit.spectral.checker import scaled
from lipaudit.spectral.implicit import Apply
from lipaudit.spectral.maps import Conv, Dense, power_of_two
from lipaudit.spectral.power_qr import power_qr
from lipaudit.spectral.schur import schur_bound
from lipaudit.spectral.triplets import Triplets

__all__ = ["ROUGH", "application_error", "is_large", "leading_triplets"]

SMALL = 2e6
"""Multiplications of an application up to which the search is made in float64: it costs little there."""
ROUGH = 1e-4
"""Tolerance that float32 is good for."""


def leading_triplets(
    linear_map: Conv | Dense,
    k: int = 1,
    *,
    start: Tensor | None = None,
    steps: int = 400,
    tolerance: float = 1e-6,
    accelerated: bool = True,
) -> Triplets:
    """The top k singular triplets, on the weight's device.

    Args:
        linear_map: a `Dense` or `Conv`.
        k: how many; fewer where an input has fewer entries.
        start: vectors to begin with, (any, *in_shape).
        steps: block products at most.
        tolerance: relative error of the values that is good enough.
        accelerated: by block Lanczos; else by PowerQR.

    Returns:
        Values that are proved to lie below the true ones.
    """
    exponent = power_of_two(linear_map.weight)
    unit = _used(linear_map.with_weight(scaled(linear_map.weight, -exponent)))
    search = block_lanczos if accelerated else power_qr
    options: dict[str, Any] = {"device": linear_map.weight.device, "tolerance": tolerance}
    used, settled, ended = 0, False, False
    if is_large(unit):
        apply, adjoint = _products(unit, torch.float32)
        rough = {**options, "tolerance": max(tolerance, ROUGH), "dtype": torch.float32}
        found = search(apply, unit.in_shape, k, adjoint=adjoint, start=start, steps=steps, **rough)
        start, used, settled = found.right, found.steps, found.settled
        ended = tolerance >= ROUGH or used >= steps
    apply, adjoint = _products(unit, torch.float64)
    options |= {"start": start, "error": application_error(unit)}
    multiplied = partial(power_qr, apply, unit.in_shape, k, adjoint=adjoint, **options, steps=1)
    if ended:
        # Only where float32 was as good as was asked for did its search decide.
        fine, settled = multiplied(), settled and tolerance >= ROUGH
    else:
        fine = search(apply, unit.in_shape, k, adjoint=adjoint, **options, steps=steps - used)
        settled = fine.settled
        if used and not settled:  # what was left of the steps may have been too little for all k
            fine = max(fine, multiplied(), key=lambda found: (len(found.values), float(found.values.sum())))
    values = [down(Fraction(v) * Fraction(2) ** exponent) for v in fine.values.tolist()]
    exact = torch.tensor(values, dtype=torch.float64)
    return Triplets(exact, fine.right, fine.left, used + fine.steps, settled)


def _products(linear_map: Conv | Dense, dtype: torch.dtype) -> tuple[Apply, Apply]:
    """T and Tᵀ in that type; a matrix, which may be large, is converted once."""
    if isinstance(linear_map, Conv):
        return linear_map.apply, linear_map.adjoint
    matrix = linear_map.weight.to(dtype)
    return lambda x: x @ matrix.T, lambda y: y @ matrix


def application_error(linear_map: Conv | Dense) -> float:
    """γ_m·‖|T|‖, rounded up: ‖fl(T v) − T v‖ ≤ that · ‖v‖ in float64, without Winograd or FFT algorithms."""
    plain = linear_map.base() if isinstance(linear_map, Conv) else linear_map
    weight = plain.weight
    terms = math.prod(weight.shape[1:])
    if isinstance(linear_map, Conv) and linear_map.transposed:
        # Its outputs sum over what are the outputs of the plain map.
        terms = weight.numel() // (weight.shape[1] * linear_map.groups)
    return mul_up(gamma(terms + 8), schur_bound(plain))


def _used(linear_map: Conv | Dense) -> Conv | Dense:
    """Without the taps that only ever meet padding."""
    if not isinstance(linear_map, Conv):
        return linear_map
    return linear_map.with_weight(linear_map.base().used().weight)


def is_large(linear_map: Conv | Dense) -> bool:
    """Whether it is searched in float32 first."""
    image = linear_map.base().out_image if isinstance(linear_map, Conv) else ()
    return float(linear_map.weight.numel()) * math.prod(image) > SMALL
