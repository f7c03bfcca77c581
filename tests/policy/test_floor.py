"""Budgets on counts: certified accuracy between proof and witness, clean accuracy exactly."""

from fractions import Fraction

import pytest
import sample_report as sample
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.policy import FloorBudget, Limit
from lipaudit.report.model import SampleRecord, Tally
from lipaudit.report.number import Unbounded


def certified(share, count, clean, n=100, possible=None, eps="12/85", **changes):
    fields = {
        "clean_accuracy": Tally(count=clean, n=n),
        "curve": (sample.point("36/255", count, possible, n=n),),
    }
    radii = sample.robustness(**(fields | changes))
    budget = FloorBudget("id", Limit(Fraction(share), share), Fraction(eps), eps)
    return budget.judge(sample.evidence(robustness=radii), {})


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
def test_exact_counts(share, count, clean, possible, outcome):
    assert certified(share, count, clean, possible=possible).outcome == outcome


def test_thirds_are_exact():
    assert certified("1/3", 33, 99, n=99).outcome == "pass"
    assert certified("1/3", 33, 100, n=100).outcome == "inconclusive"


def test_nothing_proves_nothing():
    assert certified("0", 0, 0, n=0).outcome == "inconclusive"
    budget = FloorBudget("id", Limit(Fraction(0), "0"), Fraction(1), "1")
    assert budget.judge(sample.evidence(robustness=None), {}).outcome == "inconclusive"
    clean = FloorBudget("id", Limit(Fraction(0), "0"))
    assert clean.judge(sample.evidence(robustness=None), {}).outcome == "inconclusive"


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100), st.fractions(0, 1, max_denominator=50))
def test_outcomes_follow_the_counts(a, b, c, share):
    count, possible, clean = sorted((a, b, c))
    judged = certified(str(share), count, clean, possible=possible).outcome
    if Fraction(count, 100) >= share:
        assert judged == "pass"
    elif Fraction(possible, 100) < share:
        assert judged == "fail"
    else:
        assert judged == "inconclusive"


def samples(*radii):
    return tuple(
        SampleRecord(index=k, label=1, predicted=1, margin=1.0, radius=radius, correct=radius != 0)
        for k, radius in enumerate(radii)
    )


def test_elsewhere_the_stored_radii_are_counted():
    """Strictly above, as rational numbers: 1/4 certifies nothing at 1/4; the double 0.1 exceeds 1/10."""
    rows = samples(0.25, 0.5, 0.1, 0.0, Unbounded())
    for eps, count in [("1/4", 2), ("0.2", 3), ("0.1", 4), ("0.09", 4), ("7", 1)]:
        judged = certified("3/5", 0, 4, n=5, eps=eps, samples=rows, curve=())
        assert judged.evidence["certified_count"] == count
        assert judged.outcome == ("pass" if count >= 3 else "inconclusive")


@pytest.mark.parametrize("rows", [None, (), samples(1.0), (*samples(1.0), *samples(1.0))])
def test_without_all_samples_only_a_witness_decides(rows):
    kept = {"samples": rows, "curve": ()}
    judged = certified("1/2", 0, 1, n=2, eps="0.5", **kept)
    assert judged.outcome == "inconclusive"
    assert "stores no samples" in judged.message
    assert certified("1", 0, 1, n=2, eps="0.5", **kept).outcome == "fail"


def test_a_witness_at_a_smaller_radius_counts_at_larger_ones():
    kept = {"samples": None, "curve": (sample.point("1/10", 0, 3, n=10),)}
    assert certified("1/2", 0, 9, n=10, eps="0.5", **kept).outcome == "fail"
    assert certified("1/2", 0, 9, n=10, eps="0.05", **kept).outcome == "inconclusive"


@pytest.mark.parametrize(("share", "outcome"), [("0.9812", "pass"), ("0.98121", "fail"), ("1", "fail")])
def test_clean_accuracy_passes_or_fails(share, outcome):
    judged = FloorBudget("id", Limit(Fraction(share), share)).judge(sample.evidence(), {})
    assert judged.outcome == outcome
    assert judged.metric == "clean_accuracy"
    assert judged.evidence == {"correct_count": 9812, "n": 10_000}
