"""CSV: one row per sample, exact comparisons, nothing a spreadsheet would run."""

import csv
from fractions import Fraction
from io import StringIO

import pytest
import report_zoo as zoo
import sample_report as sample
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.report.model import SampleRecord
from lipaudit.report.number import Unbounded
from lipaudit.report.samples import COLUMNS, to_csv


def rows_of(report):
    return list(csv.DictReader(StringIO(to_csv(report), newline=""), strict=True))


def one(radius, eps, *, correct=True):
    row = SampleRecord(index=0, label=1, predicted=1, margin=0.5, radius=radius, correct=correct)
    (found,) = rows_of(
        sample.report(robustness=sample.robustness(samples=(row,), curve=(sample.point(eps, 0),)))
    )
    return found


def test_the_text():
    assert to_csv(zoo.REPORTS["pass"]) == (
        "index,label,predicted,margin,radius,correct,by,certified@36/255,certified@72/255,certified@1\r\n"
        "0,7,7,3.5,0.25,1,margin,1,0,0\r\n"
    )


def test_every_sample_is_there_and_the_columns_add_up():
    report = zoo.REPORTS["10,000 samples"]
    rows, stored = rows_of(report), report.evidence.robustness.samples
    assert [int(row["index"]) for row in rows] == [s.index for s in stored]
    assert sum(int(row["correct"]) for row in rows) == sum(s.correct for s in stored)
    for point in report.evidence.robustness.curve:
        exact = sum(s.correct and Fraction(s.radius) > Fraction(point.eps_exact) for s in stored)
        assert sum(int(row[f"certified@{point.eps_exact}"]) for row in rows) == exact
    assert [float(row["radius"]) for row in rows] == [s.radius for s in stored]


@given(radius=st.floats(0, 10), numerator=st.integers(1, 2000), divisor=st.sampled_from([255, 3, 1, 7]))
def test_certified_is_exact(radius, numerator, divisor):
    eps = f"{numerator}/{divisor}"
    assert one(radius, eps)[f"certified@{eps}"] == str(int(Fraction(radius) > Fraction(numerator, divisor)))


@pytest.mark.parametrize("radius", [0.5, Unbounded()])
def test_a_wrong_answer_is_never_certified(radius):
    assert one(radius, "1/4", correct=False)["certified@1/4"] == "0"
    assert one(radius, "1/4")["certified@1/4"] == "1"


def test_a_radius_equal_to_eps_is_not_enough():
    assert one(0.5, "0.5")["certified@0.5"] == "0"


def test_infinity_and_what_was_not_analysed():
    (row,) = rows_of(zoo.REPORTS["unbounded radii"])
    assert (row["radius"], row["certified@1"]) == ("inf", "1")
    unseen = rows_of(zoo.REPORTS["10,000 samples"])[50]
    assert (unseen["predicted"], unseen["margin"], unseen["radius"], unseen["correct"]) == (
        "",
        "",
        "0.0",
        "0",
    )


def test_without_samples_only_the_header_is_left():
    for kind in ("no data", "no sample", "samples not kept"):
        lines = to_csv(zoo.REPORTS[kind]).split("\r\n")
        assert lines[0].startswith(",".join(COLUMNS))
        assert lines[1:] == [""]


def test_no_cell_is_a_formula():
    for report in zoo.REPORTS.values():
        for row in csv.reader(StringIO(to_csv(report), newline="")):
            for cell in row:
                assert cell[:1] not in set("=+@\t\r\n")
                assert not cell.startswith("-") or float(cell) < 0


def test_asked_radii_cannot_break_lines():
    point = sample.point("1/2", 0).model_validate(
        {**sample.point("1/2", 0).model_dump(), "eps_exact": "\n1\t/ 2 "}
    )
    header = to_csv(sample.report(robustness=sample.robustness(curve=(point,), samples=None)))
    assert header.splitlines()[0].endswith(",certified@1\\t/ 2")
