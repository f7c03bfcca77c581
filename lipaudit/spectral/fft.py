"""Circular padding: the exact grid of frequencies.

With p_l + p_r = e − 1 on every axis and stride s dividing n, T is block-circulant on the regrouped
image of n/s cells, hence unitarily equivalent to its symbol on that grid:

    ‖T‖ = max over l of σ₁(K̂_polyphase(2πl/(n/s)))        (kernels longer than n wrap).

With p_l + p_r ≤ e − 1 and any stride, the outputs are distinct rows of the stride-1 circulant (rows
s·y span at most n − 1), whose norm on the n-grid bounds T.

Trap: when s does not divide n, the polyphase grid bounds nothing (K = [1,1,1], n = 3, s = 2: true √6,
polyphase √5), so the stride-1 circulant is taken.

Sedghi, Gupta, Long (2019), "The Singular Values of Convolutional Layers", ICLR.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lipaudit.errors import NotCovered
from lipaudit.spectral.branch import grid_cost, largest_on_grid
from lipaudit.spectral.cells import Domain
from lipaudit.spectral.checker import scaled
from lipaudit.spectral.maps import Conv, power_of_two
from lipaudit.spectral.method import Effort, Method, Plain
from lipaudit.spectral.symbol import polyphase

__all__ = ["METHOD", "circulant_grid", "half_spectrum", "is_block_circulant", "singular_values"]


def is_block_circulant(conv: Conv) -> bool:
    """Circular "same" padding with a stride that divides the image, on every axis."""
    geometry = zip(conv.padding, conv.extent, conv.image, conv.stride, strict=True)
    return conv.padding_mode == "circular" and all(
        sum(pads) == e - 1 and n % s == 0 for pads, e, n, s in geometry
    )


def circulant_grid(plain: Plain) -> tuple[Conv, tuple[int, ...], tuple[int, ...]]:
    """The convolution, the stride its symbol is regrouped for, and the grid.

    Raises:
        NotCovered: for maps that are no part of a circulant one.
    """
    if not isinstance(plain, Conv) or plain.padding_mode != "circular":
        raise NotCovered("not a circular convolution")
    if is_block_circulant(plain):
        return plain, plain.stride, tuple(n // s for n, s in zip(plain.image, plain.stride, strict=True))
    if any(sum(pads) > e - 1 for pads, e in zip(plain.padding, plain.extent, strict=True)):
        raise NotCovered("circular padding larger than the kernel: outputs repeat")
    return plain, (1,) * len(plain.image), plain.image


def _cost(plain: Plain) -> float:
    try:
        conv, stride, grid = circulant_grid(plain)
    except NotCovered:
        return math.inf
    return grid_cost(polyphase(conv, stride), grid)


def _compute(plain: Plain, start: float, effort: Effort) -> float:
    conv, stride, grid = circulant_grid(plain)
    return largest_on_grid(polyphase(conv, stride), grid, start=start, effort=effort)


def _confirm(plain: Plain, tau: float, effort: Effort) -> bool:
    conv, stride, grid = circulant_grid(plain)
    return Domain.of_grid(polyphase(conv, stride), grid, memory=effort.memory).holds(tau, effort)


METHOD = Method("fft", "circular padding: σ₁ of the symbol on the exact grid", _cost, _compute, _confirm)


def singular_values(conv: Conv) -> Tensor:
    """All singular values of a block-circulant convolution, descending, with their multiplicities.

    Estimates: as accurate as an FFT and an SVD in float64 (some ulp of the largest), proved by neither.

    Args:
        conv: circular "same" padding, with strides that divide the image.

    Returns:
        (min(number of outputs, number of inputs),) float64, on the weight's device.

    Raises:
        NotCovered: for any other convolution.
    """
    if not is_block_circulant(conv):
        raise NotCovered(f"{conv!r}: only circular 'same' convolutions with s | n are block-circulant")
    exponent = power_of_two(conv.weight)
    cells = [n // s for n, s in zip(conv.image, conv.stride, strict=True)]
    weight = scaled(conv.weight, -exponent)
    blocks = half_spectrum(weight, cells, conv.stride, conv.dilation, conv.groups)
    values = torch.linalg.svdvals(blocks)
    # ω and −ω share their singular values; the last axis holds one of the two, unless it is its own mirror.
    inner = values.narrow(len(cells) - 1, 1, (cells[-1] - 1) // 2)
    everything = torch.cat([values.flatten(), inner.flatten()])
    return scaled(everything.sort(descending=True).values, exponent)


def half_spectrum(
    weight: Tensor, cells: Sequence[int], stride: Sequence[int], dilation: Sequence[int], groups: int
) -> Tensor:
    """The polyphase symbol on a grid, by an FFT: differentiable, with rounding errors nobody bounds.

    Args:
        weight: (c_out, c_in/groups, *k), real.
        cells: grid points per axis; taps beyond wrap.
        stride: s per axis.
        dilation: d per axis.
        groups: blocks of channels.

    Returns:
        (*cells with the last one halved to N//2 + 1, groups, c_out/groups, c_in/groups·∏s), complex.
    """
    kernel = weight.reshape(groups, -1, *weight.shape[1:])
    axes = len(cells)
    for place, (n, s, d) in enumerate(zip(cells, stride, dilation, strict=True)):
        axis = 3 + 2 * place
        slots = torch.arange(kernel.shape[axis], device=weight.device) * d % (n * s)
        shape = [*kernel.shape[:axis], n * s, *kernel.shape[axis + 1 :]]
        kernel = kernel.new_zeros(shape).index_add(axis, slots, kernel).unflatten(axis, (n, s))
    order = [*range(3, 3 + 2 * axes, 2), 0, 1, 2, *range(4, 4 + 2 * axes, 2)]
    regrouped = kernel.permute(order).flatten(axes + 2)
    spectrum: Tensor = torch.fft.rfftn(regrouped, dim=tuple(range(axes)))
    return spectrum
