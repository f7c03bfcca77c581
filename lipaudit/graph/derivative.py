"""Directional derivatives of functions of tensors, quietly.

The first forward-mode derivative makes torch compile scripts of its own, which it then warns about; that
is not the user's business.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["pushforward"]


def pushforward(function: Callable[[Tensor], Tensor], point: Tensor, direction: Tensor) -> Tensor:
    """J(point)·direction, with the shape of the function's value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        result: Tensor = torch.func.jvp(function, (point,), (direction,))[1]
    return result
