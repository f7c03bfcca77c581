"""Outward rounding, judged by exact rational arithmetic and by decimals of 60 digits."""

from __future__ import annotations

import math
import sys
from decimal import Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lipaudit import rounding as r

LARGEST = sys.float_info.max
TINIEST = 5e-324
LIMIT = Fraction(2) ** 1024
"""From here on nothing rounds down to a finite float."""

amounts = st.floats(min_value=0.0, allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=TINIEST, allow_nan=False, allow_infinity=False)
rationals = st.fractions() | st.builds(
    lambda n, d, e: Fraction(n, d) * Fraction(2) ** e,
    st.integers(-(2**70), 2**70),
    st.integers(1, 2**70),
    st.integers(-1140, 1100),
)
several = st.lists(amounts, min_size=1, max_size=6)


def is_smallest_above(value, holds):
    """`value` satisfies the predicate `≥ exact`, and the float just below it does not."""
    if value == math.inf:
        return not holds(Fraction(LARGEST))
    below = math.nextafter(value, -math.inf)
    return holds(Fraction(value)) and (below == -math.inf or not holds(Fraction(below)))


def is_largest_below(value, holds):
    """`value` satisfies the predicate `≤ exact`, and the float just above it does not."""
    above = math.nextafter(value, math.inf)
    return holds(Fraction(value)) and (above == math.inf or not holds(Fraction(above)))


def product(factors):
    return math.prod(map(Fraction, factors), start=Fraction(1))


@given(exact=rationals)
@example(exact=Fraction(LARGEST))
@example(exact=Fraction(LARGEST) + Fraction(1, 10**40))
@example(exact=-Fraction(LARGEST) - 1)
@example(exact=Fraction(TINIEST) / 2)
@example(exact=-Fraction(TINIEST) / 3)
@example(exact=Fraction(0))
def test_up_and_down_are_the_neighbours_of_a_rational(exact):
    assert is_smallest_above(r.up(exact), lambda x: x >= exact)
    assert r.down(exact) == -r.up(-exact)


@given(exact=st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_stays_itself(exact):
    assert r.up(Fraction(exact)) == r.down(Fraction(exact)) == exact


@given(terms=several)
@example(terms=[LARGEST, LARGEST])
@example(terms=[LARGEST, TINIEST])
@example(terms=[1.0, TINIEST])
@example(terms=[0.0, 0.0])
def test_sums_are_the_smallest_float_above(terms):
    exact = sum(map(Fraction, terms), Fraction(0))
    assert is_smallest_above(r.add_up(*terms), lambda x: x >= exact)


@given(factors=several)
@example(factors=[LARGEST, 2.0])
@example(factors=[TINIEST, TINIEST])
@example(factors=[TINIEST, 0.5])
@example(factors=[1e300, 1e300, 1e-300])
def test_products_are_the_neighbours_of_the_exact_one(factors):
    exact = product(factors)
    assert is_smallest_above(r.mul_up(*factors), lambda x: x >= exact)
    assert is_largest_below(r.mul_down(*factors), lambda x: x <= exact)


@given(a=amounts, b=amounts)
@example(a=1.0, b=TINIEST)
@example(a=0.0, b=LARGEST)
def test_differences_are_the_largest_float_below_and_never_negative(a, b):
    exact = max(Fraction(0), Fraction(a) - Fraction(b))
    assert is_largest_below(r.sub_down(a, b), lambda x: x <= exact)


@given(a=amounts, b=positive)
@example(a=LARGEST, b=TINIEST)
@example(a=TINIEST, b=LARGEST)
@example(a=1.0, b=3.0)
def test_quotients_are_the_neighbours_of_the_exact_one(a, b):
    exact = Fraction(a) / Fraction(b)
    assert is_smallest_above(r.div_up(a, b), lambda x: x >= exact)
    assert is_largest_below(r.div_down(a, b), lambda x: x <= exact)


@given(x=amounts)
@example(x=TINIEST)
@example(x=LARGEST)
@example(x=2.0)
@example(x=math.nextafter(4.0, 0.0))
@example(x=0.0)
def test_roots_are_the_neighbours_of_the_exact_one(x):
    assert is_smallest_above(r.sqrt_up(x), lambda y: y >= 0 and y * y >= Fraction(x))
    assert is_largest_below(r.sqrt_down(x), lambda y: y * y <= Fraction(x))


@given(x=positive)
def test_roots_agree_with_a_decimal_root(x):
    context = Context(prec=60)
    root = context.sqrt(Decimal(x))
    error = context.multiply(root, Decimal("1e-58"))
    assert Decimal(r.sqrt_up(x)) >= context.subtract(root, error)
    assert Decimal(r.sqrt_down(x)) <= context.add(root, error)


@given(terms=several)
@example(terms=[3.0, 4.0])
@example(terms=[TINIEST, TINIEST])
@example(terms=[LARGEST, LARGEST])
@example(terms=[1e300, 1e-300])
def test_the_hypotenuse_is_the_smallest_float_above(terms):
    exact = sum((Fraction(t) ** 2 for t in terms), Fraction(0))
    assert is_smallest_above(r.hypot_up(*terms), lambda y: y >= 0 and y * y >= exact)


@given(x=amounts, steps=st.integers(0, 6))
@example(x=TINIEST, steps=6)
@example(x=0.0, steps=3)
@example(x=LARGEST, steps=1)
def test_higher_roots_err_upwards_by_an_ulp_per_step(x, steps):
    value = r.nth_root_up(x, 2**steps)
    assert Fraction(value) ** 2**steps >= Fraction(x)
    below = Fraction(value)
    for _ in range(steps + 1):
        below = Fraction(math.nextafter(float(below), -1.0))
    assert below < 0 or below**2**steps < Fraction(x)


@given(x=amounts, exponent=st.integers(-2200, 2200))
@example(x=TINIEST, exponent=-1)
@example(x=LARGEST, exponent=1)
@example(x=TINIEST, exponent=2097)
def test_scaling_is_exact_or_rounded_up(x, exponent):
    exact = Fraction(x) * Fraction(2) ** exponent
    assert is_smallest_above(r.scale_up(x, exponent), lambda y: y >= exact)


@given(m=st.integers(0, 2**40))
def test_gamma_is_the_smallest_float_above(m):
    exact = Fraction(m, 2**53) / (1 - Fraction(m, 2**53))
    assert is_smallest_above(r.gamma(m), lambda x: x >= exact)
    assert r.UNIT == 2.0**-53


def test_gamma_refuses_more_roundings_than_it_can_bound():
    assert r.gamma(2.0**52) == 1.0
    assert r.gamma(3, unit=2.0**-24) > 3 * 2.0**-24
    with pytest.raises(ValueError, match="below 1"):
        r.gamma(2.0**53)
    with pytest.raises(ValueError, match="below 1"):
        r.gamma(2**24, unit=2.0**-24)


def test_exact_results_stay_exact():
    assert r.mul_up(1.0, 1.0) == 1.0 == r.mul_down(1.0, 1.0)
    assert r.hypot_up(3.0, 4.0) == 5.0
    assert r.sqrt_up(2.0**-1074) == 2.0**-537 == r.sqrt_down(2.0**-1074)
    assert r.add_up(0.5, 0.25) == 0.75
    assert r.div_up(1.0, 4.0) == 0.25 == r.div_down(1.0, 4.0)
    assert r.nth_root_up(256.0, 8) == 2.0
    assert r.add_up() == 0.0
    assert r.mul_up() == 1.0
    assert r.hypot_up() == 0.0


def test_what_overflows_is_infinite_above_and_finite_below():
    assert r.add_up(LARGEST, TINIEST) == math.inf
    assert r.mul_up(LARGEST, 1 + 2.0**-52) == math.inf
    assert r.mul_down(LARGEST, 2.0) == LARGEST
    assert r.div_up(1.0, TINIEST) == math.inf
    assert r.div_down(1.0, TINIEST) == LARGEST
    assert r.hypot_up(LARGEST, LARGEST) == math.inf
    assert r.scale_up(1.0, 1024) == math.inf


def test_what_underflows_is_positive_above_and_zero_below():
    assert r.mul_up(TINIEST, TINIEST) == TINIEST
    assert r.mul_down(TINIEST, TINIEST) == 0.0
    assert r.div_up(TINIEST, 3.0) == TINIEST
    assert r.div_down(TINIEST, 3.0) == 0.0
    assert r.scale_up(1.0, -2000) == TINIEST


def test_infinity_absorbs_upwards():
    for total in (r.add_up, r.mul_up, r.hypot_up):
        assert total(1.0, math.inf) == total(0.0, math.inf) == total(math.inf, math.inf) == math.inf
    assert r.sqrt_up(math.inf) == r.nth_root_up(math.inf, 4) == r.scale_up(math.inf, -5) == math.inf
    assert r.div_up(math.inf, 2.0) == r.div_up(1.0, 0.0) == r.div_up(0.0, 0.0) == math.inf
    assert r.div_up(math.inf, math.inf) == math.inf


def test_infinity_promises_nothing_downwards():
    assert r.sub_down(1.0, math.inf) == r.sub_down(math.inf, math.inf) == 0.0
    assert r.sub_down(math.inf, 1.0) == math.inf
    assert r.div_down(1.0, math.inf) == r.div_down(math.inf, math.inf) == 0.0
    assert r.div_down(0.0, 0.0) == 0.0
    assert r.div_down(1.0, 0.0) == r.div_down(math.inf, 1.0) == math.inf
    assert r.mul_down(0.0, math.inf) == 0.0
    assert r.mul_down(2.0, math.inf) == r.sqrt_down(math.inf) == math.inf


TAKES = {
    "add_up": 2,
    "mul_up": 2,
    "mul_down": 2,
    "sub_down": 2,
    "div_up": 2,
    "div_down": 2,
    "hypot_up": 2,
    "sqrt_up": 1,
    "sqrt_down": 1,
}


@pytest.mark.parametrize("name", TAKES)
@pytest.mark.parametrize("bad", [math.nan, -1.0, -TINIEST, -math.inf])
@pytest.mark.parametrize("other", [0.0, 1.0, math.inf])
def test_nan_and_negatives_are_refused_in_every_place(name, bad, other):
    for place in range(TAKES[name]):
        arguments = [other] * TAKES[name]
        arguments[place] = bad
        with pytest.raises(ValueError, match="non-negative"):
            getattr(r, name)(*arguments)


@pytest.mark.parametrize("bad", [math.nan, -1.0])
def test_nan_and_negatives_are_refused_by_roots_and_scalings(bad):
    with pytest.raises(ValueError, match="non-negative"):
        r.scale_up(bad, 3)
    for n in (1, 2, 8):
        with pytest.raises(ValueError, match="non-negative"):
            r.nth_root_up(bad, n)


@pytest.mark.parametrize("n", [0, -2, 3, 12])
def test_only_roots_of_powers_of_two_are_taken(n):
    with pytest.raises(ValueError, match="power of two"):
        r.nth_root_up(2.0, n)


def test_a_negative_zero_is_a_zero():
    assert math.copysign(1.0, r.add_up(-0.0)) == 1.0
    assert r.mul_up(-0.0, 3.0) == 0.0
    assert r.sqrt_up(-0.0) == r.sqrt_down(-0.0) == 0.0


def test_what_squares_lose_in_a_norm_is_paid_for():
    """Each of n entries below 2⁻⁵³⁸ may have a square that is rounded to 0; together at most √n·2⁻⁵¹¹."""
    entries = 2**60
    assert Fraction(r.UNDERFLOW) ** 2 > entries * (Fraction(2) ** -511) ** 2


def test_every_function_of_the_module_is_judged_here():
    judged = {
        *TAKES,
        "scale_up",
        "nth_root_up",
        "gamma",
        "up",
        "down",
        "UNIT",
        "UNDERFLOW",
        "coarse_up",
        "COARSE",
    }
    assert set(r.__all__) == judged


@given(x=amounts)
@example(x=LARGEST)
@example(x=TINIEST)
@example(x=1.0)
@example(x=1.0 + 2.0**-52)
def test_a_coarse_number_is_the_next_of_few_bits(x):
    coarse = r.coarse_up(x)
    assert coarse >= x
    assert coarse == LARGEST or coarse <= x * (1 + 2.0**-33) + TINIEST
    assert r.coarse_up(coarse) == coarse
    if 2.0**-900 < x < 2.0**900:
        assert math.frexp(coarse)[0] * 2.0**r.COARSE % 1 == 0
        assert r.coarse_up(x * 2.0**50) == coarse * 2.0**50


@given(x=positive, y=positive)
def test_coarse_numbers_keep_the_order(x, y):
    assert (r.coarse_up(x) <= r.coarse_up(y)) == (x <= y or r.coarse_up(x) == r.coarse_up(y))


def test_what_is_no_number_stays():
    assert r.coarse_up(0.0) == 0.0
    assert r.coarse_up(math.inf) == math.inf
