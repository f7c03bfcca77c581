"""Pass needs a proof, fail needs a witness, all else is inconclusive."""

import math
from fractions import Fraction

import pytest
import sample_report as sample
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.bound import Bound, Estimate
from lipaudit.policy import CertifiedBudget, LipschitzBudget, judge, parse_budgets
from lipaudit.policy.budget import Evidence
from lipaudit.report.model import Tally

VALUES = st.floats(min_value=0, allow_nan=False, allow_infinity=False)


def lipschitz(limit, upper, lower):
    above = Bound(upper, "m", "why")
    below = None if lower is None else Estimate(lower, "w")
    (outcome,) = judge([LipschitzBudget(limit, str(limit))], above, below)
    return outcome


def certified(share, count, clean, n=100, possible=None):
    radii = sample.robustness(
        clean_accuracy=Tally(count=clean, n=n), curve=(sample.point("36/255", count, possible, n=n),)
    )
    budget = CertifiedBudget(Fraction(12, 85), Fraction(share), "12/85", share)
    (outcome,) = judge([budget], Bound(1.0, "m"), None, radii)
    return outcome


@given(VALUES, VALUES, VALUES)
def test_lipschitz_outcomes_follow_the_bracket(limit, a, b):
    lower, upper = min(a, b), max(a, b)
    outcome = lipschitz(limit, upper, lower).outcome
    assert outcome == ("pass" if upper <= limit else "fail" if lower > limit else "inconclusive")


@pytest.mark.parametrize(
    ("upper", "lower", "outcome"),
    [
        (20.0, 1.0, "pass"),
        (math.nextafter(20.0, 30), 1.0, "inconclusive"),
        (30.0, 20.0, "inconclusive"),
        (30.0, math.nextafter(20.0, 30), "fail"),
        (math.inf, 1.0, "inconclusive"),
        (math.inf, 21.0, "fail"),
        (30.0, None, "inconclusive"),
        (1.0, None, "pass"),
    ],
)
def test_lipschitz_compares_unrounded_doubles(upper, lower, outcome):
    judged = lipschitz(20.0, upper, lower)
    assert judged.outcome == outcome
    assert judged.limit == "20.0"
    assert judged.evidence["lower"] == lower
    assert judged.message


@pytest.mark.parametrize(
    ("share", "count", "clean", "possible", "outcome"),
    [
        ("3/5", 60, 90, None, "pass"),
        ("3/5", 59, 90, None, "inconclusive"),
        ("3/5", 59, 60, None, "inconclusive"),
        ("3/5", 10, 59, None, "fail"),
        ("3/5", 10, 90, 59, "fail"),
        ("3/5", 10, 90, 60, "inconclusive"),
        ("0", 0, 0, None, "pass"),
        ("1", 100, 100, None, "pass"),
        ("1", 99, 100, 100, "inconclusive"),
    ],
)
def test_certified_accuracy_compares_exact_counts(share, count, clean, possible, outcome):
    assert certified(share, count, clean, possible=possible).outcome == outcome


def test_thirds_are_exact():
    # 1/3 as a double is below 1/3: compared as doubles, 33333333 of 10**8 would pass for some shares.
    assert certified("1/3", 33, 99, n=99).outcome == "pass"
    assert certified("1/3", 33, 100, n=100).outcome == "inconclusive"


def test_no_sample_proves_nothing():
    assert certified("0", 0, 0, n=0).outcome == "inconclusive"


def test_no_radii_prove_nothing():
    budgets = parse_budgets(min_certified=["1:0.5"], dataset="mnist")
    (outcome,) = judge(budgets, Bound.unbounded("why"))
    assert outcome.outcome == "inconclusive"


def test_a_missing_curve_point_is_a_defect():
    budgets = parse_budgets(min_certified=["0.123:0.5"], dataset="mnist")
    with pytest.raises(ValueError, match=r"no point at 0\.123"):
        judge(budgets, Bound(1.0, "m"), None, sample.robustness())


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100), st.fractions(0, 1, max_denominator=50))
def test_certified_outcomes_follow_the_counts(a, b, c, share):
    count, possible, clean = sorted((a, b, c))
    judged = certified(str(share), count, clean, possible=possible).outcome
    if Fraction(count, 100) >= share:
        assert judged == "pass"
    elif Fraction(possible, 100) < share:
        assert judged == "fail"
    else:
        assert judged == "inconclusive"


def test_a_limit_is_not_rounded_to_a_double():
    """The double nearest to 0.1 lies above it."""
    budget = LipschitzBudget(Fraction(1, 10), "0.1")
    assert budget.judge(Evidence(Bound(0.1, "t"))).outcome == "inconclusive"
    below = budget.judge(Evidence(Bound(math.nextafter(0.1, 0.0), "t")))
    assert below.outcome == "pass"
    assert Fraction(below.message.split()[2]) <= Fraction(1, 10)
