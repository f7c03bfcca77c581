"""Differentiable bounds: the formulas of the methods, as losses for training.

    from lipaudit import bounds
    loss = loss + 0.01 * bounds.four_way(layer.weight, stride=layer.stride)

**A loss, not a guarantee.**  In exact arithmetic each value bounds the norm; as computed, no rounding error
is added, and the FFT and SVD used are proved by nobody.  A value here may lie below the truth.  It is a
training loss, never a `Bound`: certify the trained weight with `bracket`.

`gram_zero`, `reshape` and `four_way` are about zero padding of any amount, on images of any size, and
`four_way` and `reshape` about circular "same" padding as well; `gram_circular` is about the latter alone.
Other padding repeats cells of the image: multiply by `padding_factor`.  A transposed convolution is the
adjoint of the convolution with the same weight and has its norm: pass `nn.ConvTranspose2d`'s weight, stride,
dilation and groups as they are.  `regularizer` chooses all this for the layers of a module.

Each value is finite with a finite gradient for every finite weight; at zero both are 0.  Works in float32
and float64.

Gram iteration is rescaled by the largest entry at every step.  The scales are constants to autograd and
are undone in the logarithm, so that neither value nor gradient over- or underflows:

    ‖W‖ ≤ s_0·exp((log‖G_t‖ + Σ_{i≥1} 2^(t−i) log s_i) / 2^t),   G_0 = W/s_0,   G_{i+1} = G_iG_iᴴ/s_{i+1}.

Where several frequencies, rows, folds or singular values tie, the gradient is one of the subgradients.

Delattre, Barthélemy, Araujo, Allauzen (2023), ICML; Delattre, Barthélemy, Allauzen (2024), arXiv
2402.00240; Singla, Feizi (2021), "Fantastic Four", ICLR (the gradient of a reshape bound is √∏k·uvᵀ).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lipaudit.errors import UsageError
from lipaudit.spectral.fft import half_spectrum
from lipaudit.spectral.four_way import Fold, folds
from lipaudit.spectral.gram import check_steps
from lipaudit.spectral.low_resolution import repetition
from lipaudit.spectral.maps import Conv

__all__ = ["dense", "four_way", "gram", "gram_circular", "gram_zero", "padding_factor", "reshape"]

PerAxis = int | Sequence[int]


def dense(weight: Tensor) -> Tensor:
    """The norm of a matrix itself, by its singular values; the gradient is uvᵀ.

    Args:
        weight: (out, in), or a batch (…, out, in); real.

    Returns:
        The loss, of the batch's shape: not a Bound.
    """
    norms: Tensor = torch.linalg.matrix_norm(weight, ord=2)
    # The singular vectors of a zero matrix are arbitrary: they are no gradient.
    return torch.where(weight.detach().any(-1).any(-1), norms, 0)


def gram(weight: Tensor, steps: int = 6) -> Tensor:
    """Gram iteration on a matrix, closed by the Frobenius norm.

    Args:
        weight: (out, in), or a batch (…, out, in); real or complex.
        steps: squarings t ≥ 0.

    Returns:
        The loss, of the batch's shape: not a Bound.

    Raises:
        UsageError: for negative steps.
    """
    check_steps(steps, least=0)
    G, logarithm, size = _iterated(weight, steps, dim=(-2, -1))
    root = _root(torch.linalg.vector_norm(G, dim=(-2, -1)), logarithm.squeeze((-2, -1)), steps)
    return root * size.squeeze((-2, -1))


def gram_circular(
    weight: Tensor,
    image: PerAxis,
    steps: int = 6,
    *,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Tensor:
    """Gram iteration on every frequency of a circular "same" convolution.

    Args:
        weight: (c_out, c_in/groups, *k).
        image: the input's extent, one number or one per axis; kernels longer than it wrap.
        steps: squarings t ≥ 0.
        stride: one number or one per axis; divides the image.
        dilation: one number or one per axis.
        groups: blocks of channels.

    Returns:
        The loss, a scalar: not a Bound.

    Raises:
        UsageError: for negative steps, or a stride that does not divide the image.
    """
    image, strides, dilations = (_per_axis(v, weight) for v in (image, stride, dilation))
    if any(n % s for n, s in zip(image, strides, strict=True)):
        raise UsageError(
            f"stride {strides} does not divide the circle {image}", hint="the symbol bounds nothing"
        )
    cells = [n // s for n, s in zip(image, strides, strict=True)]
    return gram(half_spectrum(weight, cells, strides, dilations, groups), steps).amax()


def gram_zero(
    weight: Tensor, steps: int = 4, *, stride: PerAxis = 1, dilation: PerAxis = 1, groups: int = 1
) -> Tensor:
    """Gram iteration on the kernel, closed by the ∞-norm: zero padding, every image size.

    Args:
        weight: (c_out, c_in/groups, *k).
        steps: squarings t ≥ 1.
        stride: one number or one per axis.
        dilation: one number or one per axis.
        groups: blocks of channels.

    Returns:
        The loss, a scalar: not a Bound.

    Raises:
        UsageError: for fewer than one step.
    """
    check_steps(steps, least=1)
    strides, dilations = _per_axis(stride, weight), _per_axis(dilation, weight)
    geometry = zip(weight.shape[2:], strides, dilations, strict=True)
    counts = [2**steps * (d * (k - 1) // s) + 1 for k, s, d in geometry]
    axes = tuple(range(len(counts)))
    values = half_spectrum(weight, counts, strides, dilations, groups)
    G, logarithm, size = _iterated(values, steps, dim=tuple(range(values.dim())))
    # The self-correlation has as many taps as the grid has points: the inverse transform is exact.
    taps = torch.fft.irfftn(G, s=counts, dim=axes)
    return _root(taps.abs().sum(dim=(*axes, -1)).amax(), logarithm.squeeze(), steps) * size.squeeze()


def reshape(weight: Tensor, *, stride: PerAxis = 1, dilation: PerAxis = 1, groups: int = 1) -> Tensor:
    """√reads · ‖kernel as (c_out, c_in·∏k)‖.

    Args:
        weight: (c_out, c_in/groups, *k).
        stride: one number or one per axis.
        dilation: one number or one per axis.
        groups: blocks of channels.

    Returns:
        The loss, a scalar: not a Bound.
    """
    return _folded(weight, _folds(weight, stride, dilation)[0], groups)


def four_way(weight: Tensor, *, stride: PerAxis = 1, dilation: PerAxis = 1, groups: int = 1) -> Tensor:
    """The smallest of the reshape bounds: R, S, M and N in 2-D.

    Args:
        weight: (c_out, c_in/groups, *k).
        stride: one number or one per axis.
        dilation: one number or one per axis.
        groups: blocks of channels.

    Returns:
        The loss, a scalar: not a Bound.
    """
    found = [_folded(weight, fold, groups) for fold in _folds(weight, stride, dilation)]
    return torch.stack(found).amin()


def padding_factor(conv: Conv) -> float:
    """√copies: what a bound for zero padding is multiplied by for the padding of that convolution.

    Padding copies each cell at most so often (`spectral.low_resolution`); 1 for zeros and where the map is
    block-circulant.  Copies hardly depend on the image: 1 + p cells of a border that is replicated, 2 of one
    that is reflected.

    Args:
        conv: its geometry counts; its weight does not.

    Returns:
        A constant, not a Bound.
    """
    return repetition(conv)


def _iterated(W: Tensor, steps: int, dim: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """G_t, Σ_{i≥1} 2^(t−i) log s_i and s_0; the scales are shared over `dim`."""
    if W.shape[-2] > W.shape[-1]:
        W = W.mH
    first = _size(W, dim)
    G, logarithm = W / first, torch.zeros_like(first)
    for _ in range(steps):
        G = G @ G.mH
        size = _size(G, dim)
        G, logarithm = G / size, 2 * logarithm + size.log()
    return G, logarithm, first


def _size(G: Tensor, dim: tuple[int, ...]) -> Tensor:
    """The largest entry over `dim`, a constant to autograd; 1 where all are 0."""
    size = G.detach().abs().amax(dim=dim, keepdim=True)
    return torch.where(size > 0, size, 1)


def _root(norm: Tensor, logarithm: Tensor, steps: int) -> Tensor:
    """(norm·e^logarithm)^(1/2^steps), and 0 with gradient 0 where norm is 0, NaN where it is."""
    zero = norm <= 0
    root = ((torch.where(zero, 1, norm).log() + logarithm) / 2**steps).exp()
    return torch.where(zero, 0, root)


def _folds(weight: Tensor, stride: PerAxis, dilation: PerAxis) -> list[Fold]:
    return folds(weight.shape[2:], _per_axis(stride, weight), _per_axis(dilation, weight))


def _folded(weight: Tensor, fold: Fold, groups: int) -> Tensor:
    return math.sqrt(fold.factor) * dense(fold.matrices(weight, groups)).amax()


def _per_axis(value: PerAxis, weight: Tensor) -> list[int]:
    return [value] * (weight.dim() - 2) if isinstance(value, int) else list(value)
