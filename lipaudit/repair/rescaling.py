"""Smaller weights without a look at the spectrum: the baselines beside clipping.

Plain rescaling multiplies the whole map by c/‖T‖: every singular value shrinks by one factor.  Spectral
rescaling divides each channel by a bound of its own, from the absolute entries of powers of the Gram matrix
(`layers.rescaling`, with its proof); the result is scaled to the limit.

Delattre, Barthélemy, Allauzen (2024), arXiv 2402.00240.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lipaudit.errors import NotCovered
from lipaudit.layers.rescaling import rescaled, rescaled_kernel
from lipaudit.spectral import bracket
from lipaudit.spectral.maps import Conv, LinearMap

__all__ = ["rescale", "spectral_rescale"]

STEPS = 4
"""T: the closer to ‖T‖ the larger; a power has (2^T(k − 1) + 1)² taps."""


def rescale(linear_map: LinearMap, limit: float) -> LinearMap:
    """T·c/‖T‖ with the proved bound for ‖T‖; the very same map if that is within the limit."""
    norm = bracket(linear_map).above.value
    if norm <= limit:
        return linear_map
    return linear_map.with_weight(linear_map.weight * (limit / norm))


def spectral_rescale(linear_map: LinearMap, limit: float) -> LinearMap:
    """diag(t)⁻¹T, brought to the limit; the very same map if it is within the limit.

    Raises:
        NotCovered: for convolutions of three axes, which the rescaling has no form for.
    """
    norm = bracket(linear_map).above.value
    if norm <= limit:
        return linear_map
    if not isinstance(linear_map, Conv):
        found = linear_map.with_weight(rescaled(linear_map.weight, STEPS))
    else:
        found = linear_map.with_weight(_kernel(linear_map.base()))
    return found.with_weight(found.weight * (limit / bracket(found).above.value))


def _kernel(plain: Conv) -> Tensor:
    """Group by group, as a kernel of two axes with the zeros of its dilation written out."""
    axes = len(plain.image)
    if axes > 2:
        raise NotCovered("spectral rescaling is for convolutions of one and two axes")
    weight = plain.weight if axes == 2 else plain.weight[..., None]
    extents = plain.extent if axes == 2 else (*plain.extent, 1)
    stride = plain.stride if axes == 2 else (*plain.stride, 1)
    dilation = plain.dilation if axes == 2 else (*plain.dilation, 1)
    spread = weight.new_zeros(*weight.shape[:2], *extents)
    taps = (..., slice(None, None, dilation[0]), slice(None, None, dilation[1]))
    spread[taps] = weight
    groups = spread.chunk(plain.groups)
    whole = torch.cat([rescaled_kernel(kernel, (stride[0], stride[1]), STEPS) for kernel in groups])
    return whole[taps].reshape(plain.weight.shape)
