"""float64 arithmetic that errs in one stated direction.

`x_up(…)` returns the smallest float64 ≥ the exact result, `x_down(…)` the largest ≤ it, so an exact
result stays exact (1·1 = 1).  Scalars go through `fractions.Fraction`: every float is a rational
number, so the comparison that decides the direction has no error of its own, whatever over- or
underflows.  Infinity stands for "no bound": it absorbs, and `mul_up(0, inf)` is inf, because a
factor nobody bounded may also be undefined.

Arguments are non-negative (they are norms, gains and distances); NaN and negatives raise ValueError.

Reference: Higham (2002), Accuracy and Stability of Numerical Algorithms, 2nd ed., ch. 2 and 3.
"""

from __future__ import annotations

import functools
import math
import sys
from fractions import Fraction

__all__ = [
    "COARSE",
    "UNDERFLOW",
    "UNIT",
    "add_up",
    "coarse_up",
    "div_down",
    "div_up",
    "down",
    "gamma",
    "hypot_up",
    "mul_down",
    "mul_up",
    "nth_root_up",
    "scale_up",
    "sqrt_down",
    "sqrt_up",
    "sub_down",
    "up",
]

COARSE = 34
"""Bits of numbers that stand in reports, where the last ones depend on the order of sums."""
UNIT = 2.0**-53
"""Unit roundoff u of float64 (round to nearest)."""
UNDERFLOW = 2.0**-480
"""More than an l2 norm of up to 2⁶⁰ entries loses where their squares underflow: √n·2⁻⁵¹¹."""

_MAX = Fraction(sys.float_info.max)


def up(exact: Fraction) -> float:
    """Smallest float64 ≥ `exact`; inf above the largest finite one."""
    if exact > _MAX:
        return math.inf
    nearest = float(exact) if exact >= -_MAX else -math.inf
    return nearest if nearest >= exact else math.nextafter(nearest, math.inf)


def down(exact: Fraction) -> float:
    """Largest float64 ≤ `exact`."""
    return -up(-exact)


def coarse_up(x: float) -> float:
    """The smallest number ≥ x with `COARSE` bits: at most 2⁻³³ larger, relatively.

    Sums round differently with another number of threads.  What is proved for x holds for every larger
    number, and on a coarse grid the last bits of x show only where it lies within them of a grid point.
    Powers of two scale both alike.
    """
    if not 0 < x < math.inf:
        return x
    mantissa, exponent = math.frexp(x)
    try:
        # Exact up to here; a subnormal result is rounded to nearest, which keeps ≥, as x is representable.
        return math.ldexp(math.ceil(math.ldexp(mantissa, COARSE)), exponent - COARSE)
    except OverflowError:
        return x


def add_up(*terms: float) -> float:
    """Σ terms, rounded up."""
    _check(*terms)
    return math.inf if math.inf in terms else up(sum(map(Fraction, terms), Fraction(0)))


def mul_up(*factors: float) -> float:
    """∏ factors, rounded up; infinite as soon as one factor is."""
    _check(*factors)
    return math.inf if math.inf in factors else up(_product(factors))


def mul_down(*factors: float) -> float:
    """∏ factors, rounded down; 0 as soon as one factor is."""
    _check(*factors)
    if 0.0 in factors:
        return 0.0
    return math.inf if math.inf in factors else down(_product(factors))


def sub_down(a: float, b: float) -> float:
    """max(0, a − b), rounded down; 0 when b is infinite."""
    _check(a, b)
    if b == math.inf:
        return 0.0
    return a if a == math.inf else max(0.0, down(Fraction(a) - Fraction(b)))


def div_up(a: float, b: float) -> float:
    """a / b, rounded up; inf when b is 0 or either is infinite (an infinite divisor promises nothing)."""
    _check(a, b)
    return math.inf if b == 0 or math.inf in (a, b) else up(Fraction(a) / Fraction(b))


def div_down(a: float, b: float) -> float:
    """a / b, rounded down; 0 when b is infinite, inf when b is 0 and a is not."""
    _check(a, b)
    if b == math.inf or a == 0:
        return 0.0
    if b == 0 or a == math.inf:
        return math.inf
    return down(Fraction(a) / Fraction(b))


def sqrt_up(x: float) -> float:
    """√x, rounded up."""
    _check(x)
    return math.inf if x == math.inf else _root_up(Fraction(x))


def sqrt_down(x: float) -> float:
    """√x, rounded down."""
    _check(x)
    if x == math.inf:
        return x
    root = _root_up(Fraction(x))
    return root if Fraction(root) ** 2 == Fraction(x) else math.nextafter(root, 0.0)


def hypot_up(*terms: float) -> float:
    """√Σ terms², rounded up."""
    _check(*terms)
    if math.inf in terms:
        return math.inf
    return _root_up(sum((Fraction(t) ** 2 for t in terms), Fraction(0)))


def nth_root_up(x: float, n: int) -> float:
    """x^(1/n) for n a power of two, rounded up (each of the log2 n square roots is)."""
    if n < 1 or n & (n - 1):
        msg = f"n must be a power of two, got {n}"
        raise ValueError(msg)
    _check(x)
    for _ in range(n.bit_length() - 1):
        x = sqrt_up(x)
    return x


def scale_up(x: float, exponent: int) -> float:
    """x · 2^exponent, rounded up (exact unless the result is subnormal or overflows)."""
    _check(x)
    return math.inf if x == math.inf else up(Fraction(x) * Fraction(2) ** exponent)


@functools.lru_cache(maxsize=4096)
def gamma(m: float, unit: float = UNIT) -> float:
    """γ_m = m·u / (1 − m·u), rounded up: the relative error of m roundings in sequence."""
    product = Fraction(m) * Fraction(unit)
    if product >= 1:
        msg = f"gamma({m}): m·u must stay below 1"
        raise ValueError(msg)
    return up(product / (1 - product))


def _root_up(q: Fraction) -> float:
    """Smallest float64 ≥ √q: a float guess on q·4^(−k) near 1, corrected against exact squares."""
    if q == 0:
        return 0.0
    k = (q.numerator.bit_length() - q.denominator.bit_length()) // 2
    near_one = q / Fraction(4) ** k
    root = math.sqrt(float(near_one))
    while Fraction(root) ** 2 < near_one:
        root = math.nextafter(root, math.inf)
    while root > 0 and Fraction(math.nextafter(root, 0.0)) ** 2 >= near_one:
        root = math.nextafter(root, 0.0)
    return up(Fraction(root) * Fraction(2) ** k)


def _product(factors: tuple[float, ...]) -> Fraction:
    result = Fraction(1)
    for factor in factors:
        result *= Fraction(factor)
    return result


def _check(*values: float) -> None:
    for value in values:
        if not value >= 0:
            msg = f"expected a non-negative number, got {value!r}"
            raise ValueError(msg)
