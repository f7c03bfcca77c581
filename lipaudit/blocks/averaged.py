"""Chains of dense layers whose activations are averages of the identity and something 1-Lipschitz.

    x ↦ W_m φ_{m−1}(… φ_1(W_1 x + b_1) …)

**Statement.**  With slopes of every φ_j in [0, 1] and N(k, j) ≥ ‖W_k ⋯ W_{j+1}‖, the value behind W_k is
Lipschitz with

    a_k = Σ_{0<j<k} d_j (c_{j+1} ⋯ c_{k−1}) N(k, j) a_j + (c_1 ⋯ c_{k−1}) N(k, 0),      c_j = d_j = ½,

and with c_j = 1, d_j = 0 where no activation stands between W_j and W_{j+1}.

Proof.  φ_j = (Id + Q_j)/2 with Q_j = 2φ_j − Id, which has slopes in [−1, 1] and so is 1-Lipschitz.  Written
out behind W_k, the last place at which Q is chosen is some j < k: what follows is linear, W_k ⋯ W_{j+1} with
the factors c_{j+1} ⋯ c_{k−1}, Q_j adds d_j, and what goes into Q_j is the value behind W_j, with all its own
choices.  Where none is chosen, everything is linear. ∎

For one activation this is (‖W₂W₁‖ + ‖W₂‖‖W₁‖)/2.  Products are computed in float64; with |M̂ − M|_F ≤ e,

    |fl(ŴM̂) − WM|_F ≤ (γ_n + γ_ulps(1 + γ_n))·|Ŵ|_F|M̂|_F + |W|_F e,

and ‖W_k ⋯ W_{j+1}‖ ≤ ‖M̂‖ + e.  A zero-padded convolution of a zero-padded convolution is none, so this rule
speaks of matrices alone.

Stored: N, row by row, and the digest of the weights; spectral norms prove it again.

Combettes, Pesquet (2020), "Lipschitz certificates for layered network structures driven by averaged
activation operators", SIAM J. Math. Data Sci. 2(2), theorem 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from lipaudit.blocks.claim import Part, Proved, Rule, Stored, digest, weights_of
from lipaudit.blocks.wiring import Term, Wiring
from lipaudit.graph.node import BoundMap
from lipaudit.rounding import UNDERFLOW, add_up, coarse_up, gamma, mul_up, up
from lipaudit.spectral.maps import Dense

__all__ = ["RULE"]

COST = 20.0
"""Float operations of a norm, in products of matrices of that shape."""
SMALLEST = 2.0**-1074
"""What a product that underflows may lose."""


def prove(part: Part) -> Proved | None:
    """a_m."""
    chain = None if part.wires is None else _chain(part.wires)
    if part.wires is None or chain is None or _cost(chain) > part.budget:
        return None
    norms = _norms(chain, part.spectral)
    if not all(math.isfinite(norm) for row in norms for norm in row):
        return None
    bent = [not hidden.linear for hidden in part.wires.hidden]
    stored: dict[str, Stored] = {
        "norms": tuple(tuple(row) for row in norms),
        "weights_sha256": digest(weights_of(part.wires)),
    }
    return Proved(composed(norms, bent), stored)


def composed(norms: list[list[float]], bent: list[bool]) -> float:
    """a_m from N(k, j) = norms[k − 1][j] and whether there is an activation behind W_j, bent[j − 1]."""
    reached: list[Fraction] = []
    for row in norms:
        total, straight = Fraction(0), Fraction(1)
        for j in range(len(row) - 1, 0, -1):
            half = Fraction(1, 2) if bent[j - 1] else Fraction(0)
            total += half * straight * Fraction(row[j]) * reached[j - 1]
            straight *= 1 - half
        reached.append(Fraction(up(total + straight * Fraction(row[0]))))
    return up(reached[-1])


@dataclass(frozen=True, slots=True, eq=False)
class _Merged:
    """M̂, and e ≥ |M̂ − M|_F."""

    matrix: Tensor
    off: float


def _chain(wires: Wiring) -> list[Term] | None:
    """W_1 … W_m of a region of dense layers in a row; None for any other, or without an activation."""
    if wires.axes or wires.output is None or all(hidden.linear for hidden in wires.hidden):
        return None
    terms = []
    for atom, value in enumerate([*(hidden.pre for hidden in wires.hidden), wires.output]):
        if len(value.terms) != 1 or value.terms[0].atom != atom or not value.terms[0].is_tame:
            return None
        terms.append(value.terms[0])
    return terms


def _cost(chain: list[Term]) -> float:
    """Float operations of all norms."""
    shapes = [term.matrices().shape[1:] for term in chain]
    sizes = [(rows, columns) for k, (rows, _) in enumerate(shapes) for _, columns in shapes[: k + 1]]
    return COST * sum(rows * columns * min(rows, columns) for rows, columns in sizes)


def _norms(chain: list[Term], spectral: BoundMap) -> list[list[float]]:
    """N(k, j) for 0 ≤ j < k: of the merged matrix, or of its parts where they say less."""
    found: list[list[float]] = []
    merged: list[_Merged] = []
    for term in chain:
        own = term.matrices()[0]
        off = mul_up(gamma(term.roundings), _size(own))
        merged = [*(_times(own, off, before) for before in merged), _Merged(own, off)]
        row = [_norm(m, spectral) for m in merged]
        found.append([*(min(n, mul_up(row[-1], found[-1][j])) for j, n in enumerate(row[:-1])), row[-1]])
    return found


def _norm(merged: _Merged, spectral: BoundMap) -> float:
    """‖M‖; inf where the product overflowed."""
    finite = bool(torch.isfinite(merged.matrix).all())
    return coarse_up(add_up(spectral(Dense(merged.matrix)).value, merged.off)) if finite else math.inf


def _times(own: Tensor, off: float, before: _Merged) -> _Merged:
    """W·M with its error."""
    terms, size, other = own.shape[1], _size(own), _size(before.matrix)
    lost = mul_up(gamma(terms), size, other)
    lost = add_up(lost, mul_up(off, other, 1 + gamma(terms)), mul_up(add_up(size, off), before.off))
    tiny = mul_up(SMALLEST, terms, own.shape[0], before.matrix.shape[1])
    return _Merged(own @ before.matrix, add_up(lost, tiny))


def _size(matrix: Tensor) -> float:
    """|M|_F, rounded up: squares below 1e-308 are lost."""
    found = float(torch.linalg.vector_norm(matrix.abs().nan_to_num(nan=math.inf)))
    return add_up(mul_up(found, 1 + gamma(matrix.numel() + 2)), UNDERFLOW)


def confirm(part: Part, stored: Mapping[str, Stored]) -> Proved | None:
    """Nothing was chosen; the norms are those of the products, computed anew."""
    del stored
    return prove(part)


RULE = Rule("averaged", "(‖W₂W₁‖ + ‖W₂‖‖W₁‖)/2, over chains of dense layers", prove, confirm)
