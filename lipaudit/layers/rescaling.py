"""Factors that bring a linear map to norm at most 1, from the absolute entries of powers of its Gram matrix.

**Statement.**  Let P = WWᵀ, m = 2^(T−1), T ≥ 1, and t_i = (Σ_j |Pᵐ|_ij)^(1/2^T).  Then ‖diag(t)⁻¹W‖ ≤ 1.

Proof.  diag(Σ_j |Pᵐ|_ij) − Pᵐ is symmetric and diagonally dominant, so Pᵐ ⪯ diag(t)^(2m).  Taking m-th roots
keeps the order (m ≥ 1), so P ⪯ diag(t)², which is the statement. ∎  Rows that are 0 stay 0.

T = 1 is AOL's rescaling; as T grows, each row is divided by the norm of the block of rows that it belongs to.

**Convolutions.**  For a kernel K on an infinite image the same sums run over channels j and shifts u of the
kernel's self-correlation (KKᵀ)_ij,u, and t depends on the channel only.  Padding with zeros cuts a block out
of the infinite map; circular padding folds the shifts, and |Σ| ≤ Σ|·|.  With a stride s the kernel is one of
stride 1 on s² times as many channels, the cells of each phase of the image being channels of their own
(`phases`), as long as s divides a circular image.

The rescaled side is the shorter one, the outputs or the inputs: ‖W‖ = ‖Wᵀ‖.

Prach, Lampert (2022), "Almost-orthogonal layers for efficient general-purpose Lipschitz networks", ECCV,
theorems 1 and 2; Delattre, Barthélemy, Allauzen (2024), "Spectral norm of convolutional layers with circular
and zero paddings", arXiv 2402.00240.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

__all__ = ["from_phases", "phases", "rescaled", "rescaled_kernel"]


def rescaled(weight: Tensor, steps: int) -> Tensor:
    """A matrix (out, in) of norm at most 1.

    Args:
        weight: any matrix.
        steps: T ≥ 1.
    """
    if weight.shape[0] > weight.shape[1]:
        return rescaled(weight.T, steps).T
    weight = _tamed(weight)
    power = weight @ weight.T
    for _ in range(steps - 1):
        power = power @ power
    return weight * _reciprocal_root(power.abs().sum(1), steps)[:, None]


def rescaled_kernel(kernel: Tensor, stride: tuple[int, int], steps: int) -> Tensor:
    """A kernel (c_out, c_in, k, k) whose convolution has norm at most 1, for zero and circular padding.

    Args:
        kernel: any kernel.
        stride: of the convolution.
        steps: T ≥ 1.
    """
    split = phases(_tamed(kernel), stride)
    by_input = split.shape[0] > split.shape[1]
    rows = split.transpose(0, 1) if by_input else split
    factors = _reciprocal_root(_absolute_sums(rows, steps), steps)
    scaled = split * (factors[None, :, None, None] if by_input else factors[:, None, None, None])
    return from_phases(scaled, stride, kernel.shape)


def _tamed(weight: Tensor) -> Tensor:
    """The largest entry 1, so that no power overflows: the result does not depend on a common factor."""
    largest = weight.detach().abs().amax()
    return weight / torch.where(largest > 0, largest, 1.0)


def _absolute_sums(rows: Tensor, steps: int) -> Tensor:
    """Σ_{j,u} |(KKᵀ)ᵐ|_ij,u for every row i."""
    k = rows.shape[2:]
    if steps == 1:
        whole: Tensor = F.conv2d(rows, rows, padding=(k[0] - 1, k[1] - 1)).abs().sum((1, 2, 3))
        return whole
    # As many grid points as the m-th power has taps, so that the inverse transform is exact.
    grid = [2**steps * (extent - 1) + 1 for extent in k]
    symbol = torch.fft.rfft2(rows, s=grid).permute(2, 3, 0, 1)
    power = symbol @ symbol.mH
    for _ in range(steps - 1):
        power = power @ power
    taps: Tensor = torch.fft.irfft2(power, s=grid, dim=(0, 1))
    return taps.abs().sum((0, 1, 3))


def _reciprocal_root(sums: Tensor, steps: int) -> Tensor:
    """sums^(−1/2^T), and 1 where the sum is 0, since such rows are 0."""
    live = sums > 0
    roots: Tensor = torch.where(live, sums, 1.0) ** -(0.5**steps)
    return roots


def phases(kernel: Tensor, stride: tuple[int, int]) -> Tensor:
    """The kernel of stride 1 on an image whose phases are channels: (c_out, c_in·s², ⌈k/s⌉, ⌈k/s⌉)."""
    if stride == (1, 1):
        return kernel
    (s, t), (h, w) = stride, kernel.shape[2:]
    kernel = F.pad(kernel, (0, -w % t, 0, -h % s))
    rows, columns, h, w = kernel.shape
    split = kernel.reshape(rows, columns, h // s, s, w // t, t).permute(0, 1, 3, 5, 2, 4)
    return split.reshape(rows, columns * s * t, h // s, w // t)


def from_phases(split: Tensor, stride: tuple[int, int], shape: torch.Size) -> Tensor:
    """The kernel of that shape whose `phases` they are."""
    if stride == (1, 1):
        return split
    (s, t), (rows, columns, h, w) = stride, shape
    whole = split.reshape(rows, columns, s, t, *split.shape[2:]).permute(0, 1, 4, 2, 5, 3)
    return whole.reshape(rows, columns, split.shape[2] * s, split.shape[3] * t)[:, :, :h, :w]
