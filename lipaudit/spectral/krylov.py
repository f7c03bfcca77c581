"""Lanczos' three-term recurrence: about the largest eigenvalue of Hermitian matrices, as a proposal.

v_{j+1}β_j = Hv_j − α_jv_j − β_{j−1}v_{j−1}; the largest eigenvalue of the tridiagonal matrix of the α and β
grows towards λ_max(H).  Nothing is stored and nothing reorthogonalised: rounding makes copies of
eigenvalues that have converged, which does the largest no harm.  Not a bound and not an estimate: it only
chooses what to prove.

Golub, Van Loan (2013), Matrix Computations, 4th ed., ch. 10.1–10.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["banded_product", "likely_top"]

FIRST_CHECK, SPACING = 10, 1.12
"""Eigenvalues of the tridiagonal matrix are computed at steps that grow geometrically."""


def likely_top(apply: Callable[[Tensor], Tensor], like: Tensor, steps: int, tolerance: float) -> Tensor:
    """About λ_max of every matrix of a batch.

    Args:
        apply: v ↦ Hv on tensors of the shape and type of `like`, whose first axis is the batch.
        like: gives that shape; its values are not used.
        steps: products at most.
        tolerance: stop when as many steps again as a third of those made gain less than this, relatively.

    Returns:
        (batch,) float64.
    """
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.device, like.dtype)
    v = v / _length(v).clamp(min=torch.finfo(torch.float64).tiny)
    before, last = torch.zeros_like(v), torch.zeros(len(v), 1, dtype=torch.float64, device=v.device)
    alphas: list[Tensor] = []
    betas: list[Tensor] = []
    history: list[tuple[int, Tensor]] = []
    top, check = last[:, 0], FIRST_CHECK
    for step in range(1, steps + 1):
        image = apply(v)
        alpha = (v.conj() * image).flatten(1).sum(dim=1, keepdim=True).real
        rest = image - _wide(alpha, v) * v - _wide(last, v) * before
        beta = _length(rest).reshape(len(v), 1)
        beta = torch.where(beta > 1e-14 * alpha.abs(), beta, 0.0)  # nothing new is left
        before, v = v, torch.where(_wide(beta, v) > 0, rest / _wide(beta, v).clamp(min=1e-300), 0.0)
        alphas.append(alpha)
        betas.append(beta)
        last = beta
        if step >= min(check, steps):
            check = int(step * SPACING) + 1
            top = _largest(torch.cat(alphas, 1), torch.cat(betas, 1))
            history.append((step, top))
            earlier = [value for at, value in history if 4 * at <= 3 * step + 4]
            if earlier and bool((top <= earlier[-1] * (1 + tolerance)).all()):
                break
    return top


def banded_product(rows: Sequence[Sequence[Tensor]]) -> Callable[[Tensor], Tensor]:
    """v ↦ Hv for block rows [H_ii, H_i,i−1, …] as `tridiagonal.ceiling` takes them."""
    ends = [0]
    for row in rows:
        ends.append(ends[-1] + row[0].shape[-1])

    def apply(v: Tensor) -> Tensor:
        result = torch.zeros_like(v)
        for i, row in enumerate(rows):
            here = slice(ends[i], ends[i + 1])
            for back, block in enumerate(row):
                there = slice(ends[i - back], ends[i - back + 1])
                part = block if back else block.tril(-1)
                result[:, here] += (block @ v[:, there, None])[..., 0]
                result[:, there] += (part.mH @ v[:, here, None])[..., 0]
        return result

    return apply


def _largest(alphas: Tensor, betas: Tensor) -> Tensor:
    """The largest eigenvalue of each tridiagonal matrix."""
    off = betas[:, :-1]
    matrix = torch.diag_embed(alphas) + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    top: Tensor = torch.linalg.eigvalsh(matrix.cpu())[:, -1].to(alphas.device)
    return top


def _length(v: Tensor) -> Tensor:
    return _wide(torch.linalg.vector_norm(v.flatten(1), dim=1), v)


def _wide(x: Tensor, v: Tensor) -> Tensor:
    """One number per matrix, shaped so that it multiplies vectors."""
    return x.reshape(len(v), *[1] * (v.dim() - 1))
