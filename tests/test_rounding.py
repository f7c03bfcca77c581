"""Outward rounding, judged by exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit import rounding as r

positive = st.floats(min_value=0.0, allow_nan=False, allow_infinity=False)
UP = {
    r.mul_up: lambda a, b: Fraction(a) * Fraction(b),
    r.add_up: lambda a, b: Fraction(a) + Fraction(b),
}


@pytest.mark.parametrize("function", UP)
@given(a=positive, b=positive)
def test_results_are_the_smallest_float_above(function, a, b):
    exact, value = UP[function](a, b), function(a, b)
    if value == math.inf:
        assert exact > Fraction(math.nextafter(math.inf, 0.0))
        return
    assert Fraction(value) >= exact
    assert value == 0 or Fraction(math.nextafter(value, 0.0)) < exact


@given(x=positive)
def test_roots_bracket_the_exact_root(x):
    assert Fraction(r.sqrt_down(x)) ** 2 <= Fraction(x) <= Fraction(r.sqrt_up(x)) ** 2


@given(a=positive, b=positive)
def test_the_hypotenuse_is_rounded_up(a, b):
    value = r.hypot_up(a, b)
    assert value == math.inf or Fraction(value) ** 2 >= Fraction(a) ** 2 + Fraction(b) ** 2


@given(a=positive, b=st.floats(min_value=5e-324, allow_nan=False, allow_infinity=False))
def test_quotients_are_rounded_both_ways(a, b):
    exact = Fraction(a) / Fraction(b)
    up = r.div_up(a, b)
    assert up == math.inf or Fraction(up) >= exact
    assert Fraction(r.div_down(a, b)) <= exact


def test_infinity_absorbs_even_zero():
    assert r.mul_up(0.0, math.inf) == math.inf


@pytest.mark.parametrize("bad", [math.nan, -1.0])
def test_nan_and_negatives_are_refused(bad):
    with pytest.raises(ValueError, match="non-negative"):
        r.add_up(1.0, bad)
