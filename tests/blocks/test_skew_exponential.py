"""The largest modulus of a polynomial on a piece of the imaginary axis, against NumPy on a fine grid."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.blocks.skew_exponential import largest_modulus


def sampled(coefficients, a):
    points = 1j * np.linspace(0, float(a), 20_001)
    return float(np.abs(np.polyval([float(c) for c in reversed(coefficients)], points)).max()) ** 2


def series(terms):
    return [Fraction(1, math.factorial(i)) for i in range(terms)]


@pytest.mark.parametrize(("terms", "a", "wanted"), [(6, 2.1, 1.0047), (2, 1.0, math.sqrt(2)), (1, 3.0, 1.0)])
def test_truncated_exponentials(terms, a, wanted):
    assert math.sqrt(largest_modulus(series(terms), Fraction(a))) == pytest.approx(wanted, abs=5e-5)


@pytest.mark.parametrize("terms", range(1, 15))
@pytest.mark.parametrize("a", [1e-9, 0.3, 1.0, 2.1, 4.0, 30.0])
def test_series_against_a_fine_grid(terms, a):
    found = float(largest_modulus(series(terms), Fraction(a)))
    assert sampled(series(terms), a) * (1 - 1e-12) <= found <= sampled(series(terms), a) * (1 + 1e-6)


finite = st.floats(-10, 10).map(Fraction)


@given(st.lists(finite, min_size=1, max_size=9), st.floats(0.01, 20).map(Fraction))
def test_any_polynomial_is_bounded_and_not_by_much(coefficients, a):
    found = float(largest_modulus(coefficients, a))
    seen = sampled(coefficients, a)
    assert seen * (1 - 1e-9) - 1e-300 <= found <= seen * (1 + 1e-4) + 1e-300


def test_zero_and_one_coefficient():
    assert largest_modulus([Fraction(0)], Fraction(2)) == 0
    assert largest_modulus([Fraction(0), Fraction(3)], Fraction(2)) == pytest.approx(36, rel=1e-9)
