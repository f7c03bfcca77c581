"""The step curve: right at ties and at 0, thinned downwards only, never interpolated."""

import itertools
import math

import pytest
import sample_report as sample
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.report.html.steps import MOST, Step, at_least, possible_steps, proved_steps, thinned
from lipaudit.report.model import SampleRecord, Tally

RADII = st.lists(
    st.one_of(
        st.sampled_from([0.0, 0.25, 0.5, math.inf]),
        st.floats(0, 10, allow_subnormal=False).map(lambda r: round(r, 3)),
    ),
    max_size=60,
).map(sorted)


def count(radii, eps):
    """The definition: a radius certifies every ε below it."""
    return sum(radius > eps for radius in radii)


def told(radii, **changes):
    rows = tuple(
        SampleRecord(index=i, label=0, predicted=0, margin=1.0, radius=r, correct=True)
        for i, r in enumerate(radii)
    )
    fields = {"samples": rows, "clean_accuracy": Tally(count=len(radii), n=len(radii)), "curve": ()}
    return sample.robustness(**(fields | changes))


@given(RADII)
def test_few_radii_are_drawn_exactly(radii):
    steps = thinned(radii)
    for eps in {0.0, *(r for r in radii if r < math.inf), *(r / 2 for r in radii if r < math.inf), 11.0}:
        assert at_least(steps, eps) == count(radii, eps)


@given(RADII, st.lists(st.floats(0.001, 12), max_size=4), st.integers(1, 12), st.floats(0, 12))
def test_a_thinned_curve_is_nowhere_above(radii, asked, most, eps):
    steps = thinned(radii, asked, most)
    assert len(steps) <= most
    assert [s.end for s in steps] == sorted({s.end for s in steps})
    assert all(a.count >= b.count for a, b in itertools.pairwise(steps))
    for place in (eps, *asked, *(s.end for s in steps if s.end < math.inf)):
        assert at_least(steps, place) <= count(radii, place)


@given(RADII, st.lists(st.floats(0.001, 12), max_size=3))
def test_a_thinned_curve_is_exact_where_it_was_asked(radii, asked):
    steps = thinned(radii, asked, 5)
    for eps in asked:
        assert at_least(steps, eps) == count(radii, eps)


def test_a_radius_does_not_certify_itself():
    steps = thinned([0.0, 0.5, 0.5, 1.0])
    assert steps == (Step(0.5, 3), Step(1.0, 1))
    assert [at_least(steps, eps) for eps in (0, math.nextafter(0.5, 0), 0.5, 1.0)] == [3, 3, 1, 0]


def test_nothing_is_certified_without_radii():
    assert thinned([]) == thinned([0.0, 0.0]) == ()


def test_many_samples_make_few_steps():
    radii = [k / 7 for k in range(10_000)]
    steps = thinned(radii, (100.0,))
    assert len(steps) == MOST
    gaps = [count(radii, s.end - 1e-9) - at_least(steps, s.end) for s in steps]
    assert max(gaps) <= 10_000 / MOST + 2, "no step is much higher than the others"
    assert at_least(steps, 100.0) == count(radii, 100.0)


def test_a_report_with_radii():
    assert proved_steps(told([0.25, 0.5])) == (Step(0.25, 2), Step(0.5, 1))


@pytest.mark.parametrize("samples", [None, told([0.5]).samples])
def test_without_all_radii_only_asked_ones_are_known(samples):
    curve = (sample.point("1", 5, n=10), sample.point("1/2", 8, n=10), sample.point("2", 0, n=10))
    robustness = told([0.5], samples=samples, curve=curve, clean_accuracy=Tally(count=9, n=10))
    assert proved_steps(robustness) == (Step(0.5, 8), Step(1.0, 5))


def test_what_is_possible_falls_behind_an_attack_and_never_rises():
    curve = (sample.point("1", 0, 4, 10), sample.point("1/2", 3, 6, 10), sample.point("2", 0, 5, 10))
    robustness = told([], curve=curve, clean_accuracy=Tally(count=9, n=10))
    assert possible_steps(robustness, 3.0) == (Step(0.5, 9), Step(1.0, 6), Step(2.0, 4), Step(3.0, 4))
    assert possible_steps(robustness, 0.75) == (Step(0.5, 9), Step(0.75, 6))
