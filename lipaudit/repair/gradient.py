"""The derivative of ⟨u, T_W v⟩ in the weights: a tensor G of their shape, ⟨u, T_W v⟩ = ⟨G, W⟩ for all W.

For a matrix G = u vᵀ.  A convolution reads, for output y and tap t, one cell of the padded image P v:

    G[o, i, t] = Σ_y u[o, y] · (P v)[i, s·y + d·t].

A transposed convolution is the adjoint of a plain one, so that u and v change places.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lipaudit.spectral.maps import Conv, LinearMap

__all__ = ["reads_per_tap", "weight_gradients"]

CHUNK_ENTRIES = 20_000_000
"""Entries of unfolded images held at a time (160 MB)."""


def weight_gradients(linear_map: LinearMap, left: Tensor, right: Tensor) -> Tensor:
    """G_1, …, G_k, each of the shape of the weight.

    Args:
        linear_map: a `Dense` or `Conv`.
        left: (k, *out_shape) float64.
        right: (k, *in_shape) float64.

    Returns:
        (k, *weight.shape) float64.
    """
    if not isinstance(linear_map, Conv):
        return left[:, :, None] * right[:, None, :]
    conv = linear_map.base()
    outputs, inputs = (right, left) if linear_map.transposed else (left, right)
    windows = conv.weight.shape[1] * conv.groups * math.prod(conv.kernel) * math.prod(conv.out_image)
    size = max(1, CHUNK_ENTRIES // windows)
    parts = zip(outputs.split(size), inputs.split(size), strict=True)
    return torch.cat([_correlated(conv, u, v) for u, v in parts])


def _correlated(conv: Conv, outputs: Tensor, inputs: Tensor) -> Tensor:
    cells = inputs
    for axis in range(len(conv.image)):
        reads = conv.reads(axis).to(inputs.device)  # (taps, outputs), −1 for a padded zero
        read = cells.index_select(axis + 2, reads.clamp(min=0).flatten())
        shape = [1] * read.dim()
        shape[axis + 2] = -1
        read = torch.where((reads >= 0).flatten().reshape(shape), read, 0.0)
        # The taps of the axes before this one have been moved to the end.
        cells = read.unflatten(axis + 2, tuple(reads.shape)).movedim(axis + 2, -1)
    k, axes = len(inputs), len(conv.image)
    cells = cells.reshape(k, conv.groups, -1, math.prod(conv.out_image), math.prod(conv.kernel))
    u = outputs.reshape(k, conv.groups, -1, math.prod(conv.out_image))
    found = torch.einsum("kgoy,kgiyt->kgoit", u, cells)
    return found.reshape(k, *conv.weight.shape[:2], *conv.kernel) if axes else found


def reads_per_tap(linear_map: LinearMap) -> Tensor:
    """How many entries of T's matrix each weight fills, broadcastable to the weight's shape; 1 for none."""
    if not isinstance(linear_map, Conv):
        return torch.ones_like(linear_map.weight[:1, :1])
    conv = linear_map.base()
    counts = torch.ones((), dtype=torch.float64)
    for axis in range(len(conv.image)):
        counts = counts[..., None] * (conv.reads(axis) >= 0).sum(dim=1).double()
    return counts.clamp(min=1.0).to(conv.weight.device)[None, None]
