"""Budgets are read exactly; what cannot be meant is exit code 2."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.errors import ExitCode, UsageError
from lipaudit.policy import DEFAULT_EPS, parse_budgets, parse_eps, parse_max_lipschitz, parse_min_certified

NO_NUMBERS = ["", "nan", "NaN", "inf", "-inf", "Infinity", "x", "1_0", "1e400", "1/0", "--", "1e9999999999"]


@pytest.mark.parametrize(
    ("given_", "limit"),
    [("20", 20.0), ("0", 0.0), (" 1.5 ", 1.5), (2, 2.0), (0.1, 0.1), ("0.1", Fraction(1, 10)), ("1/4", 0.25)],
)
def test_max_lipschitz(given_, limit):
    assert parse_max_lipschitz(given_) == limit


@pytest.mark.parametrize("text", [*NO_NUMBERS, "-1", math.nan, math.inf, -math.inf, -0.5])
def test_max_lipschitz_refuses(text):
    with pytest.raises(UsageError) as caught:
        parse_max_lipschitz(text)
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.hint


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False))
def test_the_limit_is_what_was_written(value):
    assert parse_max_lipschitz(repr(value)) == Fraction(repr(value))
    assert parse_max_lipschitz(value) == value


def test_eps_is_exact():
    assert parse_eps("36/255") == Fraction(36, 255)
    assert parse_eps("0.1") == Fraction(1, 10)
    assert all(parse_eps(text) > 0 for text in DEFAULT_EPS)


@pytest.mark.parametrize("text", [*NO_NUMBERS, "0", "-1", "0/5", "1e-400"])
def test_eps_refuses(text):
    with pytest.raises(UsageError):
        parse_eps(text)


@pytest.mark.parametrize(
    ("text", "eps", "share"),
    [
        ("36/255:0.6", Fraction(36, 255), Fraction(3, 5)),
        ("0.5:60%", Fraction(1, 2), Fraction(3, 5)),
        ("1: 3/5", Fraction(1), Fraction(3, 5)),
        ("1:0", Fraction(1), Fraction(0)),
        ("1:100%", Fraction(1), Fraction(1)),
    ],
)
def test_min_certified(text, eps, share):
    budget = parse_min_certified(text)
    assert (budget.eps, budget.limit.value) == (eps, share)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "1:",
        ":0.5",
        "0.5",
        "1:1.1",
        "1:-0.1",
        "1:101%",
        "1:60%%",
        "1:6%0",
        "1:nan",
        "nan:0.5",
        "0:0.5",
        "1:0.5:0.6",
    ],
)
def test_min_certified_refuses(text):
    with pytest.raises(UsageError):
        parse_min_certified(text)


def test_budgets_keep_their_order_and_differ_in_name():
    budgets = parse_budgets(max_lipschitz="20", min_certified=["1:0.5", "36/255:60%"], dataset="mnist")
    assert [b.id for b in budgets] == ["lipschitz", "certified_accuracy@1", "certified_accuracy@36/255"]
    assert [b.asked_eps for b in budgets] == [None, "1", "36/255"]


def test_no_budget_is_fine():
    assert parse_budgets() == ()


def test_a_share_needs_a_data_set():
    with pytest.raises(UsageError, match="needs a data set"):
        parse_budgets(min_certified=["1:0.5"], dataset="none")


def test_a_radius_has_one_budget():
    with pytest.raises(UsageError, match="twice"):
        parse_budgets(min_certified=["36/255:0.5", "12/85:0.6"], dataset="mnist")
