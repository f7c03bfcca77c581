"""Polynomials of a skew-symmetric map, such as the truncated exponential of SOC layers.

**Statement.**  Let A be real with Aᵀ = −A and p(A)x = Σ c_i Aⁱx.  A is normal with eigenvalues iλ, |λ| ≤
‖A‖, so

    ‖p(A)‖ ≤ max_{0 ≤ λ ≤ a} |p(iλ)|,   a ≥ ‖A‖,
    |p(iλ)|² = (Σ(−1)ᵏc_{2k}λ²ᵏ)² + λ²(Σ(−1)ᵏc_{2k+1}λ²ᵏ)².

|p(iλ)|² is a polynomial in s = λ² with rational coefficients; its maximum over [0, a²] is enclosed by its
Bernstein coefficients in exact arithmetic, on intervals halved until the enclosure is close.  The maximum
may lie inside: five terms at a = 2.1 give 0.980 at the end and 1.0047 before.  Coefficients are taken as
stored (the float32 nearest to 1/6 is not 1/6).

**What is not skew.**  A convolution of stride 1 is skew on a zero-padded or circular image if its taps
satisfy K_{−o} = −K_oᵀ, offsets −o included.  Let B be the skew part of the first map's taps.  Every map of
the region is qB + D with a number q and whatever D is left, ‖D‖ ≤ d (0 where the taps are the same to the
last bit; the rounding of folded factors otherwise; as much as it is where the weight is not skew).  A value
p(B) + R with ‖R‖ ≤ r goes over into

    (qB + D)(p(B) + R) = q·B·p(B) + R',     r' = (|q|a + d)·r + d·Σ|c_i|aⁱ,

and the bound of the end is max|p(iλ)| + r.

Stored: the coefficients, a, the digest of the weights.

Singla, Feizi (2021), "Skew orthogonal convolutions", ICML; Lorentz (1953), Bernstein Polynomials, ch. 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import torch
from torch import Tensor

from lipaudit.blocks.claim import Part, Proved, Rule, Stored, digest
from lipaudit.blocks.wiring import Map, map_of
from lipaudit.graph.node import BoundMap, Node
from lipaudit.ops.arithmetic import Affine, Sum
from lipaudit.ops.conv import Convolution
from lipaudit.ops.linear import Linear
from lipaudit.rounding import add_up, gamma, mul_up, sqrt_up, up
from lipaudit.spectral.schur import schur_bound

__all__ = ["RULE", "largest_modulus"]

CLOSE = Fraction(1, 10**9)
"""Relative width at which the enclosure of the maximum is close enough."""
DEEPEST = 60
BITS = 160
"""Of a Bernstein coefficient."""
LARGEST_DEGREE, LARGEST_NORM = 64, 2.0**20
NEGLIGIBLE = 1e-6
"""Part of the maps' size up to which what is not skew need not be bounded closely."""


@dataclass(frozen=True, slots=True)
class Value:
    """p(B) + R by the coefficients of p, exact numbers, and a bound on ‖R‖."""

    coefficients: Mapping[int, Fraction]
    rest: Fraction = Fraction(0)

    def size(self, a: Fraction) -> Fraction:
        """Σ|c_i|aⁱ ≥ ‖p(B)‖."""
        return sum((abs(c) * a**i for i, c in self.coefficients.items()), Fraction(0))

    def times(self, factor: float, ulps: int, a: Fraction) -> Value:
        """Times a number known to so many roundings."""
        exact, unsure = Fraction(factor), Fraction(gamma(ulps)) if ulps else Fraction(0)
        rest = abs(exact) * ((1 + unsure) * self.rest + unsure * self.size(a))
        return Value({i: c * exact for i, c in self.coefficients.items()}, rest)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The skew map B, a ≥ ‖B‖, and how norms are asked for."""

    map: Map
    skew: Tensor
    a: Fraction
    spectral: BoundMap

    def mapped(self, node: Node, values: Sequence[Value]) -> Value | None:
        """(qB + D) of a value."""
        op, (value,) = node.op, values
        linear = map_of(op) if isinstance(op, Linear | Convolution) else None
        if linear is None or not isinstance(op, Linear | Convolution) or not self._fits(linear):
            return None
        q = float((linear.taps * self.skew).sum() / self.skew.square().sum())
        if not math.isfinite(q):
            return None
        d = self._distance(linear, q, op.ulps)
        if not math.isfinite(d):
            return None
        exact, off = Fraction(q), Fraction(d)
        rest = (abs(exact) * self.a + off) * value.rest + off * value.size(self.a)
        return Value({i + 1: exact * c for i, c in value.coefficients.items()}, rest)

    def _fits(self, linear: Map) -> bool:
        same = linear.taps.shape == self.map.taps.shape and torch.equal(linear.offsets, self.map.offsets)
        return same and (linear.circular, linear.writes) == (self.map.circular, self.map.writes)

    def _distance(self, linear: Map, q: float, ulps: int) -> float:
        """‖(stored map) − qB‖, the rounding behind stored taps included."""
        D = linear.taps - q * self.skew
        if q == 1 and not ulps and not bool(D.any()):
            return 0.0
        # The product and the difference err by a rounding each.
        size = schur_bound(linear.with_taps(linear.taps.abs() + abs(q) * self.skew.abs()))
        rough = schur_bound(linear.with_taps(D))
        if rough > NEGLIGIBLE * size:
            rough = min(rough, self.spectral(linear.with_taps(D)).value)
        return add_up(rough, mul_up(gamma(ulps + 4), size))

    def scaled(self, node: Node, values: Sequence[Value]) -> Value | None:
        """A common factor."""
        op, (value,) = node.op, values
        if not isinstance(op, Affine) or not bool((op.scale == op.scale.flatten()[0]).all()):
            return None
        return value.times(float(op.scale.flatten()[0]), op.ulps, self.a)

    def added(self, node: Node, values: Sequence[Value]) -> Value | None:
        """A sum."""
        if not isinstance(node.op, Sum):
            return None
        total: dict[int, Fraction] = {}
        rest = Fraction(0)
        for value, factor in zip(values, node.op.factors, strict=True):
            part = value.times(factor, 0, self.a)
            rest += part.rest
            for i, c in part.coefficients.items():
                total[i] = total.get(i, Fraction(0)) + c
        return Value(total, rest)


STEPS: dict[type, Callable[[Series, Node, Sequence[Value]], Value | None]] = {
    Linear: Series.mapped,
    Convolution: Series.mapped,
    Affine: Series.scaled,
    Sum: Series.added,
}


def prove(part: Part) -> Proved | None:
    """max |p(iλ)|, and what the maps lack of being skew."""
    nodes, shape = part.region.nodes, part.region.end.shape
    first = next((n.op for n in nodes if isinstance(n.op, Convolution | Linear)), None)
    alike = all(type(n.op) in STEPS and n.shape == shape for n in nodes)
    if first is None or not alike or part.graph.shape_of(part.region.source) != shape:
        return None
    linear = map_of(first)
    if linear is None or not linear.is_adjoint_of(linear):
        return None
    skew = (linear.taps - linear.laid_out_as(linear, linear.taps)) / 2
    if not 2 * float(torch.linalg.vector_norm(skew)) > float(torch.linalg.vector_norm(linear.taps)):
        return None  # nothing like skew, or too small to tell
    a = part.spectral(linear.with_taps(skew)).value
    if not 0 < a < LARGEST_NORM:
        return None
    series = Series(linear, skew, Fraction(a), part.spectral)
    values = {part.region.source: Value({0: Fraction(1)})}
    for node in nodes:
        found = STEPS[type(node.op)](series, node, [values[name] for name in node.inputs])
        if found is None or max(found.coefficients) > LARGEST_DEGREE:
            return None
        values[node.name] = found
    end = values[part.region.end.name]
    terms = [end.coefficients.get(i, Fraction(0)) for i in range(max(end.coefficients) + 1)]
    value = add_up(sqrt_up(up(largest_modulus(terms, Fraction(a)))), up(end.rest))
    stored: dict[str, Stored] = {
        "coefficients": tuple(float(c) for c in terms),
        "norm": a.hex(),
        "weights_sha256": digest(
            [
                n.op.map.weight if isinstance(n.op, Convolution) else n.op.weight
                for n in nodes
                if isinstance(n.op, Convolution | Linear)
            ]
        ),
    }
    return Proved(value, stored)


def largest_modulus(coefficients: list[Fraction], a: Fraction) -> Fraction:
    """max |p(iλ)|² over 0 ≤ λ ≤ a, from above and to a relative 10⁻⁹ (coefficients c_0, c_1, …)."""
    even = [c * (-1) ** k for k, c in enumerate(coefficients[0::2])]
    odd = [c * (-1) ** k for k, c in enumerate(coefficients[1::2])]
    total = _product(even, even)
    shifted = [Fraction(0), *_product(odd, odd)] if odd else []
    size = max(len(total), len(shifted))
    power = [
        (total[i] if i < len(total) else 0) + (shifted[i] if i < len(shifted) else 0) for i in range(size)
    ]
    end = a * a
    scaled = [Fraction(c) * end**i for i, c in enumerate(power)]
    degree = len(scaled) - 1
    # Bernstein coefficients on [0, 1]: b_j = Σ_i C(j, i)/C(n, i)·c_i.
    bernstein = [
        sum((Fraction(math.comb(j, i), math.comb(degree, i)) * scaled[i] for i in range(j + 1)), Fraction(0))
        for j in range(degree + 1)
    ]
    return _maximum(bernstein)


def _product(p: list[Fraction], q: list[Fraction]) -> list[Fraction]:
    result = [Fraction(0)] * max(len(p) + len(q) - 1, 0)
    for i, x in enumerate(p):
        for j, y in enumerate(q):
            result[i + j] += x * y
    return result


def _maximum(bernstein: list[Fraction]) -> Fraction:
    """Upper end of the maximum over [0, 1] of a polynomial given by its Bernstein coefficients.

    They are rounded up to a common unit, and so are means: on [0, 1] that can only raise a polynomial.
    """
    largest = max(map(abs, bernstein))
    unit = largest * Fraction(1, 2**BITS)
    if not unit:
        return largest
    start = [math.ceil(b / unit) for b in bernstein]
    below = max(start[0], start[-1])
    waiting, above = [(start, 0)], below
    while waiting:
        piece, depth = waiting.pop()
        top = max(piece)
        below = max(below, piece[0], piece[-1])
        if top <= below * (1 + CLOSE) or depth >= DEEPEST:
            above = max(above, top)
            continue
        left, right = [piece[0]], [piece[-1]]
        row = piece
        while len(row) > 1:
            row = [-(-(x + y) // 2) for x, y in pairwise(row)]
            left.append(row[0])
            right.append(row[-1])
        waiting += [(left, depth + 1), (right[::-1], depth + 1)]
    return Fraction(max(above, below)) * unit


def confirm(part: Part, stored: Mapping[str, Stored]) -> Proved | None:
    """Nothing was chosen."""
    del stored
    return prove(part)


RULE = Rule("skew polynomial", "max |p(iλ)| for p(A) with A skew-symmetric (SOC)", prove, confirm)
