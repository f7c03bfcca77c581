"""H(ω) = K̂(ω)K̂(ω)ᴴ at any frequency, with its error: from the autocorrelation of the taps, or directly.

H is a trigonometric polynomial of its own:

    H(ω) = Σ_m R[m]·e^{i⟨ω,m⟩},   R[m] = Σ_{a−b=m} K[a]K[b]ᵀ,   R[−m] = R[m]ᵀ,

so half of the lags are enough, and real and imaginary part are real products:

    Re H = R[0] + Σ_half cos⟨ω,m⟩·(R[m] + R[m]ᵀ),   Im H = Σ_half sin⟨ω,m⟩·(R[m] − R[m]ᵀ).

R costs T(T+1)/2 products of matrices once; afterwards a frequency costs 4M·p² operations for M lags, where
forming K̂ and K̂K̂ᴴ costs 4Tpq + 8p²q.  `gram_symbol` takes what is cheaper for the frequencies it is told to
expect.

**Error.**  Let W = Σ_a|K[a]| (p×q).  An entry of R[m] is a sum of at most Tq products, R ± Rᵀ one rounding
more, a cosine or sine errs by 16Du (see `symbol`), and M terms are added up.  As Σ_m|R[m]| ≤ WWᵀ entrywise,

    |fl H − H| ≤ √2·γ_{Tq+M+16D+8}·WWᵀ,   ‖fl H − H‖ ≤ 2γ_{Tq+M+16D+8}·‖W‖²,   ‖W‖² ≤ min(‖W‖_F², ‖W‖₁‖W‖_∞).

Directly: ‖K̂ − fl K̂‖ ≤ η (see `symbol`) makes ‖fl(fl K̂·fl K̂ᴴ) − H‖ ≤ 2γ_{2q+2}‖fl K̂‖_F² + 2η‖fl K̂‖_F + η².

Delattre et al. (2024), arXiv 2402.00240, use the same R as the first step of their iteration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lipaudit.rounding import UNIT, add_up, gamma, mul_up
from lipaudit.spectral.checker import Gram
from lipaudit.spectral.symbol import Symbol, twiddles

__all__ = ["GramSymbol", "gram_symbol", "lag_count"]

_TINY = 2.0**-1022
SMALL = 2e8
"""Operations that do not matter: some milliseconds."""


@dataclass(frozen=True, slots=True, eq=False)
class GramSymbol:
    """H(ω) of a symbol.

    Args:
        symbol: the taps.
        lags: (M, D) int64, the zero lag first.
        even, odd: R[m] ± R[m]ᵀ, (M, groups, p·p) float64; `even[0]` is R[0], `odd[0]` is 0.  None where
            direct evaluation is cheaper.
        error: bound on ‖fl H(ω) − H(ω)‖ for every ω and group; η of the symbol where H is formed directly.
        oscillation: ρ = Σ_{m≠0}‖R[m]‖ ≥ sup ‖H(ω) − R[0]‖, rounded up; infinite where R is not known.
    """

    symbol: Symbol
    lags: Tensor
    even: Tensor | None
    odd: Tensor | None
    error: float
    oscillation: float

    @property
    def side(self) -> int:
        """p."""
        return self.symbol.matrices.shape[2]

    def at(self, points: Tensor, grid: tuple[int, ...], group: Tensor) -> Gram:
        """H at ω = π·point/N, each for one group; all entries are filled, not only the lower triangle.

        Args:
            points: (b, D) int64.
            grid: N per axis.
            group: (b,) int64.
        """
        if self.even is None or self.odd is None:
            return self._direct(points, grid, group)
        p = self.side
        cos, sin = twiddles(self.lags, points, grid)
        real = _weighted(cos, self.even, group)
        # Without other lags than zero H is real.
        full = real if len(self.lags) == 1 else torch.complex(real, _weighted(sin, self.odd, group))
        error = torch.full((len(points),), self.error, dtype=torch.float64, device=full.device)
        return Gram(full.reshape(-1, p, p), error)

    def _direct(self, points: Tensor, grid: tuple[int, ...], group: Tensor) -> Gram:
        shape, matrices = self.symbol.matrices.shape, self.symbol.matrices.flatten(2)
        cos, sin = twiddles(self.symbol.taps, points, grid)
        G = torch.complex(_weighted(cos, matrices, group), _weighted(sin, matrices, group))
        G = G.reshape(-1, *shape[2:])
        p, q = shape[2:]
        size = torch.linalg.vector_norm(torch.view_as_real(G).flatten(1), dim=1)
        size = size * (1 + 4 * gamma(2 * p * q + 16))
        error = 2 * gamma(2 * q + 2) * size**2 + self.error * (2 * size + self.error) + 8 * p * q * _TINY
        return Gram(G @ G.mH, error * (1 + 16 * UNIT))

    def entries(self) -> int:
        """Complex numbers that a frequency takes, temporary ones included."""
        _, groups, p, q = self.symbol.matrices.shape
        own = p * q if self.even is None else p * p
        terms = self.symbol.taps if self.even is None else self.lags
        copied = 0 if groups == 1 else len(terms) * own
        return 3 * p * p + (2 * p * q if self.even is None else 0) + copied + 4 * len(self.lags)


def _weighted(factors: Tensor, coefficients: Tensor, group: Tensor) -> Tensor:
    """Σ_m factors[b, m]·coefficients[m, group_b]: (b, x) of (b, m) and (m, groups, x)."""
    factors = factors.to(coefficients.device)
    if coefficients.shape[1] == 1:
        return factors @ coefficients[:, 0]
    return torch.einsum("bm,mbx->bx", factors, coefficients[:, group])


def gram_symbol(symbol: Symbol, expected: float) -> GramSymbol:
    """H of a symbol, in the form that is cheaper for `expected` frequencies."""
    count, groups, p, q = symbol.matrices.shape
    lags = lag_count(symbol.taps)
    # Real operations; gathering pairs and lags costs about a microsecond each.
    once = 1.0 * count * (count + 1) * p * p * q * groups + 2e4 * (lags + count**2)
    with_lags = once + expected * 4.0 * lags * p * p
    directly = expected * (4.0 * count * p * q + 8.0 * p * p * q)
    # R also tells how flat the symbol is, which saves frequencies.
    if with_lags <= directly + SMALL:
        return _autocorrelation(symbol)
    return GramSymbol(symbol, symbol.taps[:1] * 0, None, None, symbol.error(), math.inf)


def lag_count(taps: Tensor) -> int:
    """How many lags stand in one half of the differences between taps (an upper bound for gaps)."""
    spans = [int(s) for s in taps.amax(dim=0) - taps.amin(dim=0)]
    return (math.prod(2 * s + 1 for s in spans) + 1) // 2


def _autocorrelation(symbol: Symbol) -> GramSymbol:
    taps, matrices = symbol.taps, symbol.matrices
    count, groups, p, q = matrices.shape
    pairs = _pairs([tuple(tap) for tap in taps.tolist()])
    even = matrices.new_empty(len(pairs), groups, p * p)
    odd = torch.zeros_like(even)
    for row, (lag, (left, right)) in enumerate(pairs.items()):
        # One product for all pairs of a lag: (p × pairs·q)(pairs·q × p).
        A = matrices[left].permute(1, 2, 0, 3).reshape(groups, p, -1)
        B = matrices[right].permute(1, 2, 0, 3).reshape(groups, p, -1)
        R = A @ B.mT
        if any(lag):
            even[row] = (R + R.mT).flatten(1)
            odd[row] = (R - R.mT).flatten(1)
        else:
            even[row] = R.flatten(1)
    terms = count * q + len(pairs) + 16 * taps.shape[1] + 8
    error = add_up(mul_up(2 * gamma(terms), _spread(matrices)), 8 * terms * p * _TINY)
    known = torch.tensor(list(pairs)).reshape(len(pairs), -1)
    return GramSymbol(
        symbol, known, even, odd, error, add_up(_oscillation(even, odd), _unsure(matrices, terms))
    )


def _pairs(taps: list[tuple[int, ...]]) -> dict[tuple[int, ...], tuple[list[int], list[int]]]:
    """For each lag of one half, which pairs (a, b) of taps differ by it; the zero lag first."""
    found: dict[tuple[int, ...], tuple[list[int], list[int]]] = {(0,) * len(taps[0]): ([], [])}
    for i, a in enumerate(taps):
        for j, b in enumerate(taps):
            lag = tuple(x - y for x, y in zip(a, b, strict=True))
            if lag >= (0,) * len(lag):
                left, right = found.setdefault(lag, ([], []))
                left.append(i)
                right.append(j)
    return found


def _oscillation(even: Tensor, odd: Tensor) -> float:
    """2Σ_half‖R[m]‖_F of the computed R, rounded up, for the largest group: ‖R ± Rᵀ‖_F² add up to 4‖R‖_F²."""
    if len(even) == 1:
        return 0.0
    norms = torch.linalg.vector_norm(torch.cat([even[1:], odd[1:]], dim=2), dim=2)
    return mul_up(float(norms.sum(dim=0).max()), 1 + 4 * gamma(2 * even[0, 0].numel() + len(even) + 16))


def _unsure(matrices: Tensor, terms: int) -> float:
    """Σ_m‖fl R[m] − R[m]‖_F ≤ 2γ_terms·Σ_{a,b}‖K[a]‖_F‖K[b]‖_F: the norms' sum, not the norm of a sum."""
    sizes = torch.linalg.vector_norm(matrices.flatten(2), dim=2).sum(dim=0)
    largest = mul_up(float(sizes.max()), 1 + 4 * gamma(matrices[0, 0].numel() + len(matrices) + 8))
    return add_up(mul_up(2 * gamma(terms), largest, largest), 8 * terms * matrices.numel() ** 2 * _TINY)


def _spread(matrices: Tensor) -> float:
    """‖W‖² rounded up, for the largest group."""
    W = matrices.abs().sum(dim=0)
    error = 1 + 4 * gamma(len(matrices) + W[0].numel() + 8)
    frobenius = float(torch.linalg.vector_norm(W, dim=(1, 2)).max())
    rows, columns = float(W.sum(dim=2).max()), float(W.sum(dim=1).max())
    return min(mul_up(frobenius, frobenius, error, error), mul_up(rows, columns, error, error))
