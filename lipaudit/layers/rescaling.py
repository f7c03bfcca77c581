"""Factors that bring a linear map to norm at most 1, from the absolute entries of powers of its Gram matrix.

**Statement.**  Let P = WWᵀ, m = 2^(T−1), T ≥ 1, and t_i = (Σ_j |Pᵐ|_ij)^(1/2^T).  Then ‖diag(t)⁻¹W‖ ≤ 1.

Proof.  diag(Σ_j |Pᵐ|_ij) − Pᵐ is symmetric and diagonally dominant, so Pᵐ ⪯ diag(t)^(2m).  Taking m-th roots
keeps the order (m ≥ 1), so P ⪯ diag(t)², which is the statement. ∎  Rows that are 0 stay 0.

**Rounding.**  A larger t is as good: Pᵐ ⪯ diag(t)^(2m) stays true.  Powers leave the range of numbers (a row
v times as long as the longest has v^(2m) in Pᵐ), and what underflows would be missing in t.  So a floor that
exceeds it is added to every sum.  Entries of W are divided by the largest one, hence some P_ii ≥ 1 and
max|P²| ≥ 1 for max|P| = 1, P ⪰ 0: dividing every power by its largest entry z_k ≥ 1 enlarges no error.  An
entry of W Wᵀ loses at most q·τ, with q the number of columns and τ the smallest normal number; if entries of
modulus at most 1 are wrong by E ≥ τ, those of the p×p square are by at most 2pE + pE² + pτ ≤ 4pE.  The sum of
a row of the last power is thus too small by less than p·(4p)^(T−1)·(q + 2)·τ, the floor.  For kernels on N
grid points a transform adds up at most N numbers, and a complex product has four terms.  Rows that are 0, or
have underflowed altogether, are divided by Π z_k^(1/2^(k+1)) ≥ t.  What is left is the relative rounding of
sums and roots, which T > 1 takes in float64 (where rows shorter than about 1e-8 of the longest come out
shorter than they need to be).

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

from lipaudit.layers.precision import largest, tamed, widened

__all__ = ["from_phases", "phases", "rescaled", "rescaled_kernel"]


def rescaled(weight: Tensor, steps: int) -> Tensor:
    """A matrix (out, in) of norm at most 1.

    Args:
        weight: any matrix.
        steps: T ≥ 1.
    """
    if weight.shape[0] > weight.shape[1]:
        return rescaled(weight.T, steps).T
    weight = tamed(weight)
    rows = weight if steps == 1 else widened(weight)
    power, root = _power(rows @ rows.T, steps)
    short, long = rows.shape
    lost = short * (4.0 * short) ** (steps - 1) * (long + 2)
    factors = _reciprocal_root(power.abs().sum(1), steps, lost) / root
    return (rows * factors[:, None]).to(weight.dtype)


def rescaled_kernel(kernel: Tensor, stride: tuple[int, int], steps: int) -> Tensor:
    """A kernel (c_out, c_in, k, k) whose convolution has norm at most 1, for zero and circular padding.

    Args:
        kernel: any kernel.
        stride: of the convolution.
        steps: T ≥ 1.
    """
    split = phases(tamed(kernel), stride)
    by_input = split.shape[0] > split.shape[1]
    rows = split.transpose(0, 1) if by_input else split
    factors = _kernel_factors(rows, steps)
    scaled = split * (factors[None, :, None, None] if by_input else factors[:, None, None, None])
    return from_phases(scaled.to(kernel.dtype), stride, kernel.shape)


def _power(gram: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """P^(2^(T−1))/z and z^(1/2^T), with every squaring divided by its largest entry."""
    root = gram.new_ones((), dtype=gram.real.dtype)
    for step in range(steps):
        gram = gram if step == 0 else gram @ gram
        size = largest(gram).reshape(())
        gram, root = gram / size, root * size ** (0.5 ** (step + 1))
    return gram, root


def _kernel_factors(rows: Tensor, steps: int) -> Tensor:
    """1/t_i for every row i, from Σ_{j,u} |(KKᵀ)ᵐ|_ij,u."""
    channels, others, *k = rows.shape
    if steps == 1:
        correlation = F.conv2d(rows, rows, padding=(k[0] - 1, k[1] - 1))
        power, root = _power(correlation, 1)
        lost = channels * correlation[0, 0].numel() * (others * k[0] * k[1] + 2.0)
        return _reciprocal_root(power.abs().sum((1, 2, 3)), steps, lost) / root
    # As many grid points as the m-th power has taps, so that the inverse transform is exact.
    grid = [2**steps * (extent - 1) + 1 for extent in k]
    symbol = torch.fft.rfft2(widened(rows), s=grid).permute(2, 3, 0, 1)
    power, root = _power(symbol @ symbol.mH, steps)
    taps: Tensor = torch.fft.irfft2(power, s=grid, dim=(0, 1))
    points = grid[0] * grid[1]
    lost = channels * points * (16.0 * channels) ** (steps - 1) * (others * points**2 + 2.0)
    return _reciprocal_root(taps.abs().sum((0, 1, 3)), steps, lost) / root


def _reciprocal_root(sums: Tensor, steps: int, lost: float) -> Tensor:
    """(sums + floor)^(−1/2^T), the floor being so many smallest normal numbers; 1 where the sum is 0."""
    live = sums > 0
    floor = lost * torch.finfo(sums.dtype).tiny
    roots: Tensor = torch.where(live, sums + floor, 1.0) ** -(0.5**steps)
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
