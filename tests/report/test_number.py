"""Rounding outward keeps the direction: of the printed decimal and of the double it is read back as."""

import json
import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from lipaudit.bound import Bound, Estimate
from lipaudit.report.number import Number, Unbounded, plain_down, plain_up, round_down, round_up

FINITE = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
TINY = 5e-324
HUGE = 1.7976931348623157e308


@given(FINITE)
@example(TINY)
@example(HUGE)
@example(0.1)
@example(-0.0)
@example(1.0000000000000002)
def test_rounding_is_outward(value):
    above, below = round_up(value), round_down(value)
    assert 0 <= below <= value <= above < math.inf


@given(st.floats(min_value=1e-300, max_value=1e300))
@example(0.1)
def test_the_printed_decimals_are_outward_too(value):
    assert Fraction(repr(round_down(value))) <= Fraction(value) <= Fraction(repr(round_up(value)))


@given(FINITE.filter(lambda x: 1e-300 < x < 1e300))
def test_rounding_is_tight_and_short(value):
    assert round_up(value) <= value * (1 + 1.01e-8)
    assert round_down(value) >= value * (1 - 1.01e-8)
    for rounded in (round_up(value), round_down(value)):
        mantissa = repr(rounded).split("e")[0].replace(".", "").strip("0")
        assert len(mantissa) <= 9


@given(FINITE)
def test_rounding_twice_changes_nothing_more(value):
    once = round_up(value)
    if value < 1e308:
        assert round_up(once) >= once
        assert round_up(once) <= once * (1 + 1e-8) + TINY


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_no_number_is_refused(value):
    for round_it in (round_up, round_down):
        with pytest.raises(ValueError, match="finite non-negative"):
            round_it(value)


@given(FINITE)
def test_hex_is_the_value(value):
    for number in (Number.from_bound(value), Number.from_estimate(value)):
        assert float.fromhex(number.hex) == number.value
        assert Number.model_validate_json(number.model_dump_json()) == number


def test_statuses():
    assert Number.from_bound(Bound(2.0, "m")).status == "proved"
    assert Number.from_bound(math.inf).status == "unbounded"
    assert Number.from_estimate(Estimate(2.0, "m")).status == "witnessed"
    assert Number.from_estimate(0.0).value == 0
    assert Number.from_estimate(None).status == "not_analysed"
    with pytest.raises(ValueError, match="finite"):
        Number.from_estimate(math.inf)


def test_infinity_is_spelt_out():
    assert json.loads(Number.unbounded().model_dump_json()) == {
        "value": None,
        "hex": None,
        "status": "unbounded",
    }
    assert plain_up(math.inf) == plain_down(math.inf) == Unbounded()
    assert plain_up(1.0) == plain_down(1.0) == 1.0


@pytest.mark.parametrize(
    "fields",
    [
        {"value": 1.0, "hex": (1.0).hex(), "status": "unbounded"},
        {"value": None, "hex": None, "status": "proved"},
        {"value": 1.0, "hex": (2.0).hex(), "status": "proved"},
        {"value": -1.0, "hex": (-1.0).hex(), "status": "proved"},
        {"value": math.inf, "hex": "inf", "status": "proved"},
        {"value": math.nan, "hex": "nan", "status": "proved"},
        {"value": 1.0, "hex": (1.0).hex(), "status": "proved", "more": 1},
    ],
)
def test_incoherent_numbers_are_refused(fields):
    with pytest.raises(ValidationError):
        Number(**fields)
