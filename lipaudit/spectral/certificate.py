"""What is kept of a proved norm, so that it can be proved again without a search.

A certificate says by which method ‖T‖ ≤ τ was proved, of the map with which weights and geometry.  Whoever
checks it derives the map anew and asks `Method.confirms` for that very τ: nothing else in it is trusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lipaudit.bound import Bound
from lipaudit.spectral.maps import Conv, LinearMap

__all__ = ["Certificate", "Shape", "digest"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a linear map is, but for its weights; of a matrix only `weight` and `kind` say something.

    Args:
        kind: "dense" or "conv".
        weight: shape of the weights.
        image: cells per axis, as are the next three.
        padding: (left, right) per axis.
    """

    kind: str
    weight: tuple[int, ...]
    image: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    padding_mode: str = ""
    transposed: bool = False

    @classmethod
    def of(cls, linear_map: LinearMap) -> Shape:
        """The facts about a map."""
        weight = tuple(linear_map.weight.shape)
        if not isinstance(linear_map, Conv):
            return cls("dense", weight)
        return cls(
            "conv",
            weight,
            linear_map.image,
            linear_map.stride,
            linear_map.padding,
            linear_map.dilation,
            linear_map.groups,
            linear_map.padding_mode,
            linear_map.transposed,
        )


@dataclass(frozen=True, slots=True)
class Certificate:
    """‖T‖ ≤ `tau` by `method`, for the map of this shape and the weights of this digest."""

    method: str
    tau: float
    shape: Shape
    weights_sha256: str

    @classmethod
    def of(cls, linear_map: LinearMap, bound: Bound) -> Certificate:
        """For a bound that the method of that name proved."""
        return cls(bound.method, bound.value, Shape.of(linear_map), digest([linear_map.weight]))


def digest(tensors: Sequence[Tensor]) -> str:
    """SHA-256 over shapes and float64 entries, little endian."""
    state = hashlib.sha256()
    for tensor in tensors:
        state.update(str(tuple(tensor.shape)).encode())
        entries = tensor.detach().cpu().double().contiguous().numpy()
        # A copy only on big-endian machines: weights of a gigabyte are hashed where they lie.
        state.update(np.ascontiguousarray(entries, dtype="<f8").reshape(-1).view(np.uint8).data)
    return state.hexdigest()
