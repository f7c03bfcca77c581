"""What a person reads errs on the safe side, and foreign names print harmlessly."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.report import wording
from lipaudit.report.number import Number, Unbounded

FINITE = st.floats(min_value=0, max_value=1e300)


@given(FINITE, st.integers(min_value=1, max_value=9))
def test_shown_numbers_err_on_the_safe_side(value, digits):
    exact = Decimal(value)
    assert Decimal(wording.shown_down(value, digits)) <= exact <= Decimal(wording.shown_up(value, digits))


@pytest.mark.parametrize(
    ("value", "up", "down"),
    [
        (1.0, "1", "1"),
        (1.23456789, "1.2346", "1.2345"),
        (2.0**-11, "4.8829e-4", "4.8828e-4"),
        (12345678.9, "1.2346e+7", "1.2345e+7"),
        (100.0, "100", "100"),
        (0.0, "0", "0"),
    ],
)
def test_shown_numbers_are_short(value, up, down):
    assert wording.shown_up(value) == up
    assert wording.shown_down(value) == down


@given(st.integers(1, 10**7), st.data())
def test_percentages_err_on_the_safe_side(n, data):
    count = data.draw(st.integers(0, n))
    down, up = wording.percent_down(count, n), wording.percent_up(count, n)
    share = Fraction(100 * count, n)
    assert Fraction(down.removesuffix(" %")) <= share <= Fraction(up.removesuffix(" %"))
    assert (down == "100.00 %") == (count == n)
    assert (up == "0.00 %") == (count == 0)


def test_not_analysed_is_no_number():
    assert wording.bound_text(Number.not_analysed()) == "—"
    assert wording.estimate_text(Number.not_analysed()) == "—"
    assert wording.slack_text(None) == wording.radius_text(None) == wording.percent_down(0, 0) == "—"
    assert wording.bound_text(Number.unbounded()) == wording.radius_text(Unbounded()) == "unbounded"
    assert wording.estimate_text(Number.from_estimate(0.0)) == "0"


@pytest.mark.parametrize(
    ("asked", "shown"), [("36/255", "36/255 ≈ 0.1412"), ("1/4", "1/4 = 0.25"), ("1", "1"), ("0.10", "0.10")]
)
def test_a_radius_is_shown_as_it_was_asked(asked, shown):
    assert wording.eps_text(asked) == shown


def test_foreign_names_print_harmlessly():
    assert wording.printable("layer[0]/Größe 卷积") == "layer[0]/Größe 卷积"
    assert wording.printable("a\x1b[2J\nPASS\u202e\udc80") == "a\\x1b[2J\\nPASS\\u202e\\udc80"


def test_plural():
    assert wording.plural(1, "class", "classes") == "1 class"
    assert wording.plural(0, "layer") == "0 layers"


def test_shapes():
    assert wording.shape_text((1, 28, 28)) == "1×28×28"
    assert wording.shape_text((784,)) == "(784)"
