"""Two-way and four-way reshape bounds: √∏k · the norm of the kernel folded into one small matrix.

Let A be any set of axes.  Fold the kernel so that an output channel o and the taps of the axes in A
number the rows, an input channel i and the taps of the other axes the columns.  At stride 1

    ‖K̂(ω)‖ ≤ √∏k · ‖K_A‖     for every ω, hence for the supremum, and ‖T‖ ≤ √copies · √∏k · ‖K_A‖.

In 2-D these are R (c_out·h × c_in·w) and S (c_out·w × c_in·h), the *two-way* bound, and with M (c_out ×
c_in·h·w) and N (c_out·h·w × c_in) the *four-way* one; D axes give 2^D matrices.  An axis of a single tap
is a row as well as a column.

**With stride and dilation.**  On each axis write d·t = s·q + r, 0 ≤ r < s.  The polyphase symbol, which
strided maps have, is K̂(ω)[o, (i, r)] = Σ_{t: r_t = r} K[o, i, t]·e^{i⟨ω,q_t⟩}.  Let Q be the number of
distinct q of an axis and reads = ⌈k/(s/gcd(s, d))⌉ the largest number of taps that share a phase r.  K_A
has the rows (o, q_A) and the columns (i, r_A, t_A′), A′ being the other axes, and

    ‖K̂(ω)‖ ≤ √(∏_A Q · ∏_A′ reads) · ‖K_A‖.

Proof.  t ↦ (q, r) is injective, so K_A holds every weight once, and K̂(ω) = L·K_A·R with L = I ⊗ ⨂_A
(e^{iωq})_q, a row vector of norm √Q for each axis, and R = I ⊗ ⨂_A′ R_a, R_a[t, r] = e^{iωq_t} if r_t =
r, else 0.  The columns of R_a have disjoint supports of at most `reads` entries of modulus 1, so ‖R_a‖ ≤
√reads.  Dilation alone (s = 1) leaves Q = reads = k: the zeros between the taps cost nothing.  ∎

‖T‖ ≤ sup ‖K̂‖ for zero padding of any amount and for circular "same" padding with s | n; any other
padding is a copy of cells followed by a map without padding (`low_resolution.copies`).  The matrices' norms
come from the checker: power iteration would put the bound below the truth.

Singla, Feizi (2019), "Bounding Singular Values of Convolution Layers", arXiv 1911.10258 v1 (two-way);
Singla, Feizi (2021), "Fantastic Four: Differentiable Bounds on Singular Values of Convolution Layers",
ICLR.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.errors import NotCovered
from lipaudit.rounding import div_down, div_up, mul_up, sqrt_up
from lipaudit.spectral.checker import proves
from lipaudit.spectral.low_resolution import repetition
from lipaudit.spectral.maps import Conv
from lipaudit.spectral.method import Effort, Method, Plain
from lipaudit.spectral.search import largest_norm

__all__ = ["FOUR_WAY", "TWO_WAY", "Fold", "folds"]

BYTES_PER_ENTRY = 48
"""Of p² in the checker: the Gram matrix, its factor, and what is formed on the way."""


@dataclass(frozen=True, slots=True)
class Fold:
    """One way to fold a kernel: which axes number rows, and each axis' phases.

    Args:
        rows: the axes in A.
        quotients: q per axis and tap; the distinct values are numbered 0 … Q − 1 in order.
        phases: r per axis and tap, numbered likewise.
    """

    rows: frozenset[int]
    quotients: tuple[tuple[int, ...], ...]
    phases: tuple[tuple[int, ...], ...]

    @property
    def factor(self) -> int:
        """∏_A Q · ∏_A′ reads: the bound's square over ‖K_A‖²."""
        counts = (
            1 + max(q) if axis in self.rows else max(r.count(phase) for phase in r)
            for axis, (q, r) in enumerate(zip(self.quotients, self.phases, strict=True))
        )
        return math.prod(counts)

    def matrices(self, weight: Tensor, groups: int) -> Tensor:
        """K_A of each group, (groups, rows, columns), for weight (c_out, c_in/groups, *k); differentiable."""
        kernel = weight.reshape(groups, -1, *weight.shape[1:])
        rows, columns = [1], [2]
        for axis, (q, r) in enumerate(zip(self.quotients, self.phases, strict=True)):
            place = len(rows) + len(columns) + 1
            if axis not in self.rows:
                columns.append(place)
                continue
            extent, phases = 1 + max(q), 1 + max(r)
            slots = torch.tensor([a * phases + b for a, b in zip(q, r, strict=True)], device=kernel.device)
            shape = [*kernel.shape[:place], extent * phases, *kernel.shape[place + 1 :]]
            # Every slot takes one tap at most: nothing is summed.
            kernel = kernel.new_zeros(shape).index_add(place, slots, kernel)
            kernel = kernel.unflatten(place, (extent, phases))
            rows.append(place)
            columns.append(place + 1)
        folded = kernel.permute(0, *rows, *columns)
        return folded.reshape(groups, math.prod(folded.shape[1 : 1 + len(rows)]), -1)


def folds(
    kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], *, mixed: bool = False
) -> list[Fold]:
    """All 2^D ways to fold a kernel, or only the mixed ones (R and S; every fold where D = 1).

    Args:
        kernel: k per axis.
        stride: s per axis.
        dilation: d per axis.
        mixed: leave out those with all axes, or none, in the rows.
    """
    quotients, phases = [], []
    for k, s, d in zip(kernel, stride, dilation, strict=True):
        quotients.append(_numbered([d * t // s for t in range(k)]))
        phases.append(_numbered([d * t % s for t in range(k)]))
    axes = range(len(kernel))
    sizes = range(1, len(kernel)) if mixed and len(kernel) > 1 else range(len(kernel) + 1)
    chosen = (frozenset(c) for size in sizes for c in itertools.combinations(axes, size))
    return [Fold(rows, tuple(quotients), tuple(phases)) for rows in chosen]


def _numbered(values: list[int]) -> tuple[int, ...]:
    order = sorted(set(values))
    return tuple(order.index(v) for v in values)


def _folds(conv: Conv, *, mixed: bool) -> list[Fold]:
    return folds(conv.kernel, conv.stride, conv.dilation, mixed=mixed)


def _compute(plain: Plain, effort: Effort, *, mixed: bool) -> float:
    if not isinstance(plain, Conv):
        raise NotCovered("not a convolution")
    padded = repetition(plain)
    best = math.inf
    for fold in _folds(plain, mixed=mixed):
        matrices = fold.matrices(plain.weight, plain.groups)
        if not _is_small(matrices, effort):
            continue
        factor = mul_up(padded, sqrt_up(fold.factor))
        best = min(best, mul_up(factor, largest_norm([matrices], limit=div_up(best, factor))))
    if best == math.inf:
        raise NotCovered(f"{plain!r}: the folded kernels are too large for {effort.memory} bytes")
    return best


def _is_small(matrices: Tensor, effort: Effort) -> bool:
    return BYTES_PER_ENTRY * len(matrices) * min(matrices.shape[1:]) ** 2 <= effort.memory


def _confirm(plain: Plain, tau: float, effort: Effort, *, mixed: bool) -> bool:
    """One fold is enough."""
    if not isinstance(plain, Conv):
        raise NotCovered("not a convolution")
    padded = repetition(plain)
    for fold in _folds(plain, mixed=mixed):
        matrices = fold.matrices(plain.weight, plain.groups)
        claim = div_down(tau, mul_up(padded, sqrt_up(fold.factor)))
        if _is_small(matrices, effort) and bool(proves(matrices, claim).all()):
            return True
    return False


def _cost(plain: Plain, *, mixed: bool) -> float:
    if not isinstance(plain, Conv):
        return math.inf
    total, entries = 0.0, plain.weight.numel() / plain.groups
    for fold in _folds(plain, mixed=mixed):
        rows = plain.weight.shape[0] / plain.groups
        rows *= math.prod(1 + max(fold.quotients[axis]) for axis in fold.rows)
        side = min(rows, entries / rows)
        total += plain.groups * (2.0 * side * entries + 4.0 * side**3)
    return total


TWO_WAY = Method(
    "two-way",
    "√∏k · the smaller norm of the two mixed reshapes",
    lambda plain: _cost(plain, mixed=True),
    lambda plain, _start, effort: _compute(plain, effort, mixed=True),
    lambda plain, tau, effort: _confirm(plain, tau, effort, mixed=True),
    outdone_by="four-way",
)
FOUR_WAY = Method(
    "four-way",
    "√∏k · the smallest norm of the four reshapes of the kernel",
    lambda plain: _cost(plain, mixed=False),
    lambda plain, _start, effort: _compute(plain, effort, mixed=False),
    lambda plain, tau, effort: _confirm(plain, tau, effort, mixed=False),
    outdone_by="supremum",
)
