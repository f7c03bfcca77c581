"""Block Lanczos on TᵀT with thick restarts: the top k singular triplets in fewer products than PowerQR.

Where subspace iteration keeps only the last block, this keeps them all: with orthonormal rows Q_1, Q_2, …,

    Q_{j+1}·R = TᵀT Q_j − (its part in the span of Q_1 … Q_j),      Rayleigh–Ritz on the whole span.

The projected matrix is computed entry by entry, so that no recurrence has to stay exact.  A Ritz vector's
residual lies in the last block alone: its length is ‖Rᵀ·(last entries of the Ritz vector's coefficients)‖.
When the store is full, the best Ritz vectors and the next block are kept (their residuals lie in that
block), and the iteration goes on as if nothing had happened.

**When it ends.**  By the residuals, as PowerQR; but where many values lie close together those say little, so
it also ends when as many steps again as a third of those made raised no value by more than the tolerance.

A block has more than k vectors (up to eight), because a Krylov space holds no more copies of a singular value
than its block has vectors: of one with more copies, eight are found.  A filter that looks the same from all
sides has values with that many.

Golub, Underwood (1977), "The block Lanczos method for computing eigenvalues"; Wu, Simon (2000),
"Thick-restart Lanczos method for large symmetric eigenvalue problems", SIAM J. Matrix Anal. Appl. 22(2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lipaudit.spectral.implicit import Apply, Implicit
from lipaudit.spectral.power_qr import LEAST, block_size, first_block, orthonormal, value_errors
from lipaudit.spectral.triplets import Triplets, make_triplets

__all__ = ["block_lanczos"]

GUARDS = 2
"""Vectors in a block beyond those that are asked for."""
WIDEST = 8
"""Vectors in a block at most, however large k is: wider ones bring less than they cost."""
WATCHED = 4
"""Steps at least over which the values are compared."""
APART = 10
"""The Ritz values are looked at whenever a tenth of the steps made has been made again: a look costs the cube
of the vectors kept, and looking after every step would cost more than all products."""
STORED, STORED_ENTRIES = 1200, 40_000_000
"""Vectors kept at a time, and their entries."""
LEAST_BLOCKS = 4
"""Kept at a time beside 2k vectors, however large they are."""


def block_lanczos(  # noqa: PLR0913 - the interface of `power_qr`
    apply: Apply,
    in_shape: Sequence[int],
    k: int = 1,
    *,
    adjoint: Apply | None = None,
    start: Tensor | None = None,
    steps: int = 200,
    tolerance: float = 1e-6,
    error: float = 0.0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
) -> Triplets:
    """The top k singular triplets of T, where apply(v) = T v + c; arguments and result as of `power_qr`.

    There is no shift: a Krylov space is the same for all of them.

    Raises:
        UsageError: if k or steps is below 1, or `start` does not fit.
        InputRefused: if the map is not affine, or returns NaN or infinity.
    """
    implicit = Implicit(apply, in_shape, adjoint=adjoint, dtype=dtype, device=device)
    x = first_block(implicit, min(block_size(implicit, k, steps, GUARDS), WIDEST), start)
    k = min(k, implicit.inputs)
    implicit.scale_by(x)
    space = _Space(implicit, len(x), k, steps)
    used, settled, looked = 0, False, 0
    history: list[tuple[int, Tensor]] = []
    while True:
        x, rest = space.grow(x)
        used += 1
        full = space.rows + len(x) > space.room
        last = used >= steps or not len(x)
        if not (full or last or used >= looked + max(1, used // APART)):
            continue
        looked = used
        theta, vectors = space.ritz()
        residual = torch.linalg.vector_norm(rest @ vectors[-len(rest) :], dim=0)
        noise = 64 * torch.finfo(dtype).eps * float(theta[0])
        residual = torch.where(residual <= noise, 0.0, residual)
        errors = value_errors(theta, residual, theta - _next_value(theta, residual, k, tolerance))[:k]
        done = space.rows >= k and (used >= LEAST or not bool(residual.any()))
        history.append((used, theta[:k]))
        settled = done and bool((torch.minimum(errors, _growth(history)) <= tolerance).all())
        if settled or last:
            break
        if full:
            kept = min(k + len(rest), space.room - len(x))
            space.keep(theta[:kept], vectors[:, :kept])
    found = vectors[:, :k].T.to(dtype) @ space.basis
    return make_triplets(implicit, orthonormal(found), error, used, settled=settled)


def _next_value(theta: Tensor, residual: Tensor, k: int, tolerance: float) -> float:
    """The largest Ritz value behind the k-th that may still move."""
    moving = (residual[k:] > tolerance * theta[0]).nonzero()
    return float(theta[k + int(moving[0])]) if len(moving) else 0.0


def _growth(history: Sequence[tuple[int, Tensor]]) -> Tensor:
    """By how much each √θ_i grew, relatively, since a quarter of the steps (at least so many) ago.

    Args:
        history: pairs (steps, θ), the last ones last.
    """
    used, now = history[-1]
    earlier = [theta for step, theta in history if step <= used - max(WATCHED, used // 4)]
    if not earlier or len(earlier[-1]) < len(now):
        return torch.full_like(now, torch.inf)
    growth: Tensor = (now - earlier[-1]).clamp(min=0.0) / (2 * now.clamp(min=torch.finfo(torch.float64).tiny))
    return growth


class _Space:
    """Orthonormal rows, and TᵀT on their span."""

    def __init__(self, implicit: Implicit, block: int, k: int, steps: int) -> None:
        self._implicit = implicit
        least = 2 * k + LEAST_BLOCKS * block
        most = max(least, min(STORED, STORED_ENTRIES // implicit.inputs))
        self.room = min(most, steps * block, implicit.inputs)
        self._basis = torch.empty(self.room, implicit.inputs, dtype=implicit.dtype, device=implicit.device)
        self._projected = torch.zeros(self.room, self.room, dtype=torch.float64, device=implicit.device)
        self._generator = torch.Generator().manual_seed(1)
        self.rows = 0

    @property
    def basis(self) -> Tensor:
        """(rows, inputs)."""
        return self._basis[: self.rows]

    def grow(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Add orthonormal rows x, orthogonal to what is there.

        Returns:
            The next such rows (none when they span everything), and R: the part of TᵀTx outside of the span
            is Rᵀ times those rows.
        """
        old, self.rows = self.rows, self.rows + len(x)
        self._basis[old : self.rows] = x
        product = self._implicit.normal_product(x, self._implicit.times(x))
        parts = product @ self.basis.T
        self._projected[old : self.rows, : self.rows] = parts.double()
        self._projected[: self.rows, old : self.rows] = parts.T.double()
        outside = product - parts @ self.basis
        return self._next(outside, float(torch.linalg.vector_norm(product)))

    def ritz(self) -> tuple[Tensor, Tensor]:
        """θ (rows,), falling, and the coefficients of the Ritz vectors in columns, float64."""
        projected = self._projected[: self.rows, : self.rows]
        theta, vectors = torch.linalg.eigh((projected + projected.T) / 2)
        return theta.flip(0).clamp(min=0.0), vectors.flip(1)

    def keep(self, theta: Tensor, vectors: Tensor) -> None:
        """Only these Ritz vectors, given by their columns of coefficients."""
        basis = vectors.T.to(self._basis.dtype) @ self.basis
        self.rows = len(basis)
        self._basis[: self.rows] = basis
        self._projected[: self.rows, : self.rows] = torch.diag(theta)

    def _next(self, outside: Tensor, size: float) -> tuple[Tensor, Tensor]:
        free = self._implicit.inputs - self.rows
        basis, upper = torch.linalg.qr(outside.T)
        rows, rest = basis.T[:free], upper.double()
        # What nothing new is left of becomes random: another copy, or another part of the space.
        weak = upper.diagonal().abs() <= 8 * torch.finfo(outside.dtype).eps * size
        if bool(weak[:free].any()):
            random = torch.randn(rows.shape, generator=self._generator, dtype=torch.float64)
            fresh = torch.where(weak[:free, None], random.to(rows.device, rows.dtype), rows)
            rows = orthonormal(self._outside(fresh))
            rest = torch.where(weak[:, None], 0.0, rest)
        # Once is not enough in floating point: what little was left has been blown up, errors included, and
        # over many blocks even what looks harmless adds up until the vectors are not orthogonal.
        return orthonormal(self._outside(rows)), rest

    def _outside(self, rows: Tensor) -> Tensor:
        """Without their parts in the span."""
        return rows - (rows @ self.basis.T) @ self.basis
