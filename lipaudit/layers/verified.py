"""Weights made smaller until their norm is proved to be at most 1.

A trained layer's norm is 1 up to the rounding of its formula; stored in float32 it may be 1 + 10⁻⁶.  Here the
stored numbers themselves are judged, by the bounds of `lipaudit.spectral`, and scaled where those ask for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lipaudit.errors import Incomplete
from lipaudit.spectral import Dense, LinearMap, prove

__all__ = ["MOST", "Fit", "dense_norm", "proved_norm"]

MOST = 1 - 2.0**-22
"""What stored weights are scaled to: below 1 by what proving them again, by other means, may cost."""
TRIES = 12
STEP = 2.0**-23
"""A float32 weight does not move under a smaller change of scale."""


def proved_norm(linear_map: LinearMap) -> float:
    """‖T‖ from above."""
    return prove(linear_map).bracket.above.value


def dense_norm(weight: Tensor) -> float:
    """The norm of a matrix from above."""
    return proved_norm(Dense(weight))


@dataclass(frozen=True, slots=True)
class Fit:
    """How float64 weights become stored ones.

    Args:
        dtype: in which they are stored.
        proves: whether their norms are proved, and weights scaled where those ask for it.
    """

    dtype: torch.dtype
    proves: bool = True

    def __call__(self, value: Tensor, norm: Callable[[Tensor], float], most: float = MOST) -> Tensor:
        """c·value as stored, with proved norm at most `most` and c ≤ 1 as large as that allows.

        Args:
            value: float64.
            norm: of a stored tensor, from above; proportional to it.
            most: what the norm may be.

        Raises:
            Incomplete: the norm could not be bounded, hence not be brought down.
        """
        if not self.proves:
            return value.detach().to(self.dtype)
        if not bool(value.isfinite().all()):
            raise Incomplete("a weight is not finite", hint="look for NaN in the layer's parameters")
        scale = 1.0
        for attempt in range(TRIES):
            stored = (value.detach() * scale).to(self.dtype)
            found = norm(stored)
            if found <= most:
                return stored
            if not math.isfinite(found):
                break
            scale *= most / found * (1 - attempt * STEP)
        raise Incomplete(
            f"a weight of shape {tuple(value.shape)} was not brought to norm {most}",
            hint="are its entries of ordinary size?",
        )

    def bias(self, value: Tensor | None) -> Tensor | None:
        """A bias as stored."""
        return None if value is None else value.detach().to(self.dtype).clone()

    def filled(self, layer: nn.Linear | nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Module:
        """An empty layer with these parameters."""
        layer.weight = nn.Parameter(weight)
        stored = self.bias(bias)
        layer.bias = None if stored is None else nn.Parameter(stored)
        return layer
