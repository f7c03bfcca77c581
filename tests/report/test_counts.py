"""Certified samples at a radius, from the curve or from the stored radii."""

from fractions import Fraction

import sample_report as sample

from lipaudit.report.counts import counted, is_certified
from lipaudit.report.model import SampleRecord, Tally
from lipaudit.report.number import Unbounded


def row(index, radius, *, correct=True):
    return SampleRecord(index=index, label=1, predicted=1, margin=1.0, radius=radius, correct=correct)


def test_a_wrong_answer_is_certified_nowhere():
    assert not is_certified(row(0, 9.0, correct=False), Fraction(1))
    assert not is_certified(row(0, Unbounded(), correct=False), Fraction(1))
    assert is_certified(row(0, Unbounded()), Fraction(10**9))


def test_the_curve_comes_first_and_its_radius_may_be_spelt_otherwise():
    radii = sample.robustness(
        clean_accuracy=Tally(count=2, n=2),
        curve=(sample.point("36/255", 1, n=2),),
        samples=(row(0, 9.0), row(1, 9.0)),
    )
    assert counted(radii, Fraction(12, 85)).certified == 1
    assert counted(radii, Fraction(1)).certified == 2


def test_what_is_certified_is_possible():
    """A count that contradicts a witness is a defect elsewhere; here neither end may cross the other."""
    radii = sample.robustness(
        clean_accuracy=Tally(count=2, n=2),
        curve=(sample.point("1/10", 0, 0, n=2),),
        samples=(row(0, 9.0), row(1, 9.0)),
    )
    found = counted(radii, Fraction(1))
    assert found.certified <= found.possible <= found.n
