"""Propose τ for many matrices at once, and let the checker grant it.

`largest_norm(chunks)` bounds the largest spectral norm among all matrices of all chunks.  What is
cheap and unproved (power iteration, eigenvalues) only chooses τ; the value returned has passed
`checker.proves` for every single matrix.  A matrix proved at one τ stays proved at a larger one, so
each chunk is visited once and only the matrices that fail are looked at again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from lipaudit.rounding import scale_up
from lipaudit.spectral import checker

__all__ = ["EXACT_EIGENVALUES", "largest_norm", "rough_roots", "top_root"]

POWER_STEPS = 6
EXACT_EIGENVALUES = 256
"""Up to this size eigenvalues are computed; beyond, 120 Lanczos steps propose (both unproved)."""
CLOSE = 1e-8
"""First step above a proposal that turned out too low; further ones are four times as large each."""
GIVE_UP = 200
"""Doublings of the margin after which the search stops: 2^200 covers every float that matters."""


def largest_norm(chunks: Iterable[Tensor], start: float = 0.0, limit: float = math.inf) -> float:
    """A proved upper bound on max ‖G‖ over all matrices G of all chunks.

    Args:
        chunks: tensors (batch, p, q), float64 or complex128, finite.
        start: a τ worth trying first (an Estimate, say); the result is not smaller.
        limit: results from here on are not wanted: stop early and return inf.

    Returns:
        The bound; 0 only if every entry is 0; inf if nothing could be proved (overflow).
    """
    tau = start
    for chunk in chunks:
        tau = _cover(chunk, tau)
        if tau >= limit:
            return math.inf
    return tau


def _cover(G: Tensor, tau: float) -> float:
    """The smallest τ' ≥ τ found for which every matrix of the chunk is proved."""
    if not bool(G.any()):
        return tau
    known, exponent = checker.scaled_gram(G)
    if known is None:
        return math.inf
    # The largest part of an entry is at least ½ now, so no norm is smaller.
    start = scale_up(tau, -exponent)
    if start >= 2.0 * G.shape[-2] * G.shape[-1]:  # beyond every Frobenius norm
        return tau
    own = max(start, 0.5) if tau else known.enough(top_root(_front(known)))
    margin = 0.0
    for _ in range(GIVE_UP):
        proved = known.proves(own)
        if bool(proved.all()):
            # One step more pays for entries that scaling made subnormal.
            return max(tau, scale_up(math.nextafter(own, math.inf), exponent)) if own > start else tau
        # Those that failed are few: look closer at them, and widen the margin each time.
        known = known[~proved]
        own = max(own, known.enough(top_root(_front(known)))) * (1 + margin)
        margin = max(4 * margin, CLOSE)
    return math.inf


def _front(known: checker.Gram) -> Tensor:
    """The matrices with the largest norms, as power iteration sees it, both triangles filled."""
    A = known.matrices.tril()
    A = A + A.tril(-1).mH
    front = 4 if A.shape[-1] <= EXACT_EIGENVALUES else 2
    return A[rough_roots(A).topk(front).indices] if len(A) > front else A


def rough_roots(A: Tensor, steps: int = POWER_STEPS) -> Tensor:
    """√λ_max of each Hermitian A ⪰ 0 by power iteration in single precision: some per cent low, unproved.

    Args:
        A: (batch, p, p), float64 or complex128, both triangles filled.
        steps: power iterations.
    """
    scale = checker.largest_part(A)
    if scale == 0 or not math.isfinite(scale):
        return torch.zeros(len(A), dtype=torch.float64, device=A.device)
    single = torch.complex64 if A.is_complex() else torch.float32
    H = A.to(single) if 1e-10 < scale < 1e10 else (A / scale).to(single)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(A.shape[-1], 1, generator=generator, dtype=torch.float64).to(A.device, single)
    v = (v / torch.linalg.vector_norm(v)).expand(len(A), -1, 1)
    size = torch.zeros(len(A), device=A.device)
    for _ in range(steps):
        v = H @ v
        # Norms of complex columns are slow in torch; those of their real parts in a row are not.
        parts = torch.view_as_real(v).flatten(1) if v.is_complex() else v.flatten(1)
        size = torch.linalg.vector_norm(parts, dim=1)
        v = v / size.clamp(min=1e-30)[:, None, None]
    roots: Tensor = size.double().sqrt()
    return roots if 1e-10 < scale < 1e10 else roots * math.sqrt(scale)


def top_root(A: Tensor) -> float:
    """About the largest √λ_max of a small batch of Hermitian A ⪰ 0; unproved."""
    scale = checker.largest_part(A)
    if scale == 0 or not math.isfinite(scale):
        return 0.0
    A = A / scale
    if A.shape[-1] > EXACT_EIGENVALUES:
        return math.sqrt(scale) * max(_lanczos_root(a) for a in A)
    try:
        top = float(torch.linalg.eigvalsh(A)[:, -1].max())
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        top = float(torch.linalg.vector_norm(A, dim=(1, 2)).max())
    return math.sqrt(scale * max(top, 0.0))


def _lanczos_root(A: Tensor, steps: int = 120) -> float:
    """About √λ_max of one Hermitian matrix."""
    generator = torch.Generator().manual_seed(1)
    v = torch.randn(A.shape[0], generator=generator, dtype=torch.float64).to(A.device, A.dtype)
    basis = (v / torch.linalg.vector_norm(v))[None]
    images = []
    for _ in range(min(steps, A.shape[0])):
        w = A @ basis[-1]
        images.append(w)
        for _ in range(2):
            w = w - basis.T @ (basis.conj() @ w)
        norm = torch.linalg.vector_norm(w)
        if not float(norm) > 1e-12 * float(torch.linalg.vector_norm(images[-1])):
            break
        basis = torch.cat([basis, (w / norm)[None]])
    projected = basis[: len(images)].conj() @ torch.stack(images).T
    return math.sqrt(max(float(torch.linalg.eigvalsh(projected)[-1]), 0.0))
