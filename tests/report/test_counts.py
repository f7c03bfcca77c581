"""Certified samples at a radius, from the curve or from the stored radii."""

from fractions import Fraction

import sample_report as sample

from lipaudit.report import to_html
from lipaudit.report.counts import counted, headline_point, is_certified
from lipaudit.report.markdown import to_markdown
from lipaudit.report.model import SampleRecord, Tally
from lipaudit.report.number import Unbounded
from lipaudit.report.wording import eps_text


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


def test_sentences_speak_of_a_budgets_radius_else_of_the_first():
    def spoken(*eps):
        budgets = [sample.budget().model_copy(update={"id": str(k), "eps": e}) for k, e in enumerate(eps)]
        return headline_point(sample.evidence(budgets=tuple(budgets))).eps_exact

    first, second, *_ = (point.eps_exact for point in sample.robustness().curve)
    assert spoken() == spoken(None) == spoken("nonsense") == spoken("77") == first
    assert spoken("77", second, first) == second
    assert spoken("144/510") == second, "spelt otherwise"
    assert headline_point(sample.evidence(robustness=None)) is None


def test_html_and_markdown_speak_of_one_radius():
    second = sample.robustness().curve[1]
    budget = sample.budget().model_copy(update={"eps": second.eps_exact})
    report = sample.report(budgets=(budget,))
    size = eps_text(second.eps_exact)
    assert f"under every change of l2 size at most {size}" in to_markdown(report)
    assert f"by at most {size} in l2 distance" in to_html(report)
