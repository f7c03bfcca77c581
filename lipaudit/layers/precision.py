"""What keeps formulas exact up to rounding, whatever the size of the weights.

A factor that a formula does not depend on is divided out first, so that no square of an entry overflows or
falls below the smallest normal number; what float32 is too coarse for is computed in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["largest", "tamed", "widened"]


def largest(weight: Tensor, *axes: int) -> Tensor:
    """The largest modulus along these axes, which stay; 1 where all is 0.  No gradient."""
    found = weight.detach().abs().amax(axes or tuple(range(weight.dim())), keepdim=True)
    if weight.is_complex():
        # torch divides them by multiplying with the reciprocal, which has to be finite.
        found = torch.where(found == 0, found, found.clamp(min=torch.finfo(found.dtype).tiny))
    return torch.where(found == 0, 1.0, found)


def tamed(weight: Tensor, *axes: int) -> Tensor:
    """The weight with its largest modulus along these axes (default: all) brought to 1."""
    return weight / largest(weight, *axes)


def widened(weight: Tensor) -> Tensor:
    """In float64 or complex128, where the device has them."""
    if weight.device.type == "mps":
        return weight
    return weight.to(torch.promote_types(weight.dtype, torch.float64))
