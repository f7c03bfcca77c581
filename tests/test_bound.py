"""What the three kinds of statement refuse, and that nothing can be computed with them by accident."""

from __future__ import annotations

import copy
import dataclasses
import math
import operator
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.bound import Bound, Bracket, Estimate
from lipaudit.errors import ExitCode, Falsified

ONE = Bound(1.0, "test")
SEEN = Estimate(1.0, "test")


@pytest.mark.parametrize("value", [math.nan, -1.0, -5e-324, -math.inf])
def test_a_bound_is_a_number_from_zero_up(value):
    with pytest.raises(ValueError, match="non-negative"):
        Bound(value, "test", "a note does not help")


def test_an_infinite_bound_says_why():
    with pytest.raises(ValueError, match="reason"):
        Bound(math.inf, "test")
    with pytest.raises(ValueError, match="reason"):
        Bound.unbounded("")
    unbounded = Bound.unbounded("no rule for aten.foo")
    assert unbounded.value == math.inf
    assert not unbounded.is_finite
    assert unbounded.note == "no rule for aten.foo"
    assert ONE.is_finite


@pytest.mark.parametrize("value", [math.nan, -1.0, math.inf, -math.inf])
def test_an_estimate_is_finite_and_from_zero_up(value):
    with pytest.raises(ValueError, match="finite and non-negative"):
        Estimate(value, "test", "a note does not help")


@pytest.mark.parametrize("statement", [ONE, SEEN, Bracket(ONE, SEEN)])
@pytest.mark.parametrize("other", [2, 2.0, ONE, SEEN])
@pytest.mark.parametrize(
    "operation",
    [operator.add, operator.mul, operator.sub, operator.truediv, operator.pow, operator.lt, operator.le, max],
)
def test_nothing_computes_with_a_statement(statement, other, operation):
    for arguments in ((statement, other), (other, statement)):
        with pytest.raises(TypeError):
            operation(*arguments)


@pytest.mark.parametrize("statement", [ONE, SEEN])
@pytest.mark.parametrize("conversion", [float, int, abs, math.sqrt, operator.neg, round])
def test_a_statement_is_not_a_number(statement, conversion):
    with pytest.raises(TypeError):
        conversion(statement)


@pytest.mark.parametrize("statement", [ONE, SEEN, Bracket(ONE, SEEN)])
def test_statements_do_not_change(statement):
    name = dataclasses.fields(statement)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(statement, name, 0.0)
    assert not hasattr(statement, "__dict__")
    assert copy.deepcopy(statement) == pickle.loads(pickle.dumps(statement)) == statement


def test_a_changed_copy_is_checked_again():
    with pytest.raises(ValueError, match="non-negative"):
        dataclasses.replace(ONE, value=-1.0)
    with pytest.raises(ValueError, match="finite"):
        dataclasses.replace(SEEN, value=math.inf)
    with pytest.raises(Falsified):
        dataclasses.replace(Bracket(ONE, SEEN), below=Estimate(2.0, "test"))


def test_a_bound_equals_no_estimate():
    assert ONE != SEEN
    assert Bound(1.0, "test") == ONE


@given(above=st.floats(min_value=0, allow_nan=False), below=st.floats(min_value=0, max_value=1e308))
def test_a_bracket_that_crosses_is_an_internal_error(above, below):
    bound, estimate = Bound(above, "upper", "why"), Estimate(below, "lower")
    if below > above:
        with pytest.raises(Falsified, match=r"upper.*lower") as caught:
            Bracket(bound, estimate)
        assert caught.value.exit_code is ExitCode.INTERNAL
        assert caught.value.hint
    else:
        assert Bracket(bound, estimate).slack >= 1


def test_crossing_by_one_ulp_is_crossing():
    with pytest.raises(Falsified):
        Bracket(ONE, Estimate(math.nextafter(1.0, 2.0), "test"))


@pytest.mark.parametrize(
    ("above", "below", "slack"),
    [
        (0.0, 0.0, 1.0),
        (1.0, 1.0, 1.0),
        (1.0, 0.0, math.inf),
        (math.inf, 1.0, math.inf),
        (1.0, 0.25, 4.0),
        (1.0, 5e-324, math.inf),
    ],
)
def test_slack(above, below, slack):
    assert Bracket(Bound(above, "test", "why"), Estimate(below, "test")).slack == slack


def test_slack_is_rounded_up():
    slack = Bracket(ONE, Estimate(1 / 3, "test")).slack
    assert slack > 3.0 - 1e-15
    assert slack * (1 / 3) >= 1.0
