"""How far the Hessians of z_y − z_t reach below 0, for a network of one hidden layer z = Wφ(Jx + a) + d.

With c = w_y − w_t and lowest ≤ φ″ ≤ highest the Hessian is Jᵀ diag(c_j φ″(u_j)) J, and −c_j φ″ ≤ s_j where

    s_j = max(c_j⁺·|lowest|, c_j⁻·highest).

So at every point −∇²(z_y − z_t) ⪯ Jᵀ diag(s) J, and

    K_yt = ‖diag(√s) J‖² ≤ max_j s_j · ‖J‖²

bounds −λ_min.  The right-hand side costs nothing; the other norm is proved for each pair where J is small
enough to be written down, row by row as Jᵀ on unit vectors: with Ĵ off by ε in Frobenius norm and d ≥ √s,

    ‖diag(√s)J‖ ≤ ‖fl(diag(d)Ĵ)‖ + u‖fl(diag(d)Ĵ)‖_F(1 + …) + max d·ε.

Only one side of the spectrum matters to a lower bound, so units that speak for y cost nothing where φ is
convex.

Singla, Feizi (2020), "Second-Order Provable Defenses against Adversarial Attacks", ICML, for
max|c|·sup|φ″|·‖J‖²; Horn, Johnson (2013), Matrix Analysis, sec. 4.3, for the order of Hermitian matrices.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lipaudit.certify.two_layer import TwoLayer, pulled
from lipaudit.rounding import UNDERFLOW, UNIT, add_up, coarse_up, gamma, mul_up, sqrt_up
from lipaudit.spectral.checker import proves

__all__ = ["hessian_bounds"]

UP = 1 + 64 * UNIT
"""More than the few operations on single numbers round."""
MOST_WORK = 5e10
"""Float operations that the norms of all pairs may take together."""
ROWS = 256
"""Of J that are formed at a time."""
ABOVE = 1e-9
"""What is proved lies so much above what is computed."""


def hessian_bounds(net: TwoLayer) -> Tensor:
    """K_yt for all pairs, (classes, classes), rounded up; 0 on the diagonal."""
    squared = mul_up(net.norm, net.norm)
    classes, units = net.rows.shape
    cells = math.prod(net.inner.input_shape)
    small = min(units, cells)
    work = classes * (classes - 1) * small * (2 * units * cells + 12 * small * small)
    matrix = _matrix(net) if work <= MOST_WORK else None
    found = []
    for row in net.rows:
        weights = _weights(net, row - net.rows)
        bounds = (weights.amax(1) * squared) * UP + UNDERFLOW
        if matrix is not None:
            tight = [_weighted(matrix, w, net.pull_off) for w in weights]
            bounds = torch.minimum(bounds, bounds.new_tensor(tight))
        found.append(bounds)
    return torch.stack(found).fill_diagonal_(0.0)


def _weights(net: TwoLayer, c: Tensor) -> Tensor:
    """s_j of each row of differences, rounded up; the rows they are of are off, too."""
    unsure = c.abs() * UNIT + add_up(net.rows_off, net.rows_off)
    against = (unsure - c).clamp(min=0) * net.smooth.highest
    along = (unsure + c).clamp(min=0) * -net.smooth.lowest
    return torch.maximum(against, along) * UP


def _matrix(net: TwoLayer) -> Tensor:
    """Ĵ, (units, cells of the input); each row is off by at most `pull_off`."""
    shape, device = net.activation.shape, net.inner.device
    count, parts = math.prod(shape), []
    for start in range(0, count, ROWS):
        units = torch.zeros(min(ROWS, count - start), count, dtype=torch.float64, device=device)
        units.diagonal(start).fill_(1.0)
        parts.append(pulled(net, units.reshape(-1, *shape)).flatten(1))
    return torch.cat(parts)


def _weighted(matrix: Tensor, weights: Tensor, off: float) -> float:
    """‖diag(√s)J‖², proved; inf where that does not succeed."""
    largest = float(weights.max())
    if not 0 < largest < math.inf:
        return UNDERFLOW if largest == 0 else math.inf
    roots = (weights / largest).sqrt() * UP
    scaled = roots[:, None] * matrix
    wide = scaled if scaled.shape[0] <= scaled.shape[1] else scaled.T
    if not bool(wide.isfinite().all()):
        return math.inf
    tau = math.sqrt(max(0.0, float(torch.linalg.eigvalsh(wide @ wide.T)[-1]))) * (1 + ABOVE)
    tau = coarse_up(tau + UNDERFLOW)
    if not math.isfinite(tau) or not bool(proves(wide[None], tau).all()):
        return math.inf
    cells = wide.numel()
    frobenius = float(torch.linalg.vector_norm(wide)) * (1 + 2 * gamma(cells + 8))
    off = mul_up(off, sqrt_up(float(len(matrix))), UP)
    norm = add_up(tau, mul_up(2 * UNIT, frobenius), off, UNDERFLOW)
    return add_up(mul_up(largest, norm, norm, UP), UNDERFLOW)
