"""Radii by curvature are credited to it, on every format; what margins alone prove is counted beside them."""

import csv
from io import StringIO

import pytest
import sample_report as sample
from pydantic import ValidationError

from lipaudit.report.html import to_html
from lipaudit.report.markdown import to_markdown
from lipaudit.report.model import Curvature, SampleRecord, Tally
from lipaudit.report.number import Number
from lipaudit.report.samples import to_csv
from lipaudit.report.second_order import margin_counts, radii_text
from lipaudit.report.text import to_text


def curvature(**changes):
    fields = {
        "layer": "n10",
        "activation": "softplus",
        "units": 256,
        "norm": Number.from_bound(2.0),
        "largest": Number.from_bound(3.0),
        "indices": (0, 2),
        "by_margins": (0.125, 0.5),
    }
    return Curvature(**(fields | changes))


def robustness(**changes):
    radii = (0.5, 0.3, 0.75, 0.0, 0.0)
    rows = tuple(
        SampleRecord(index=k, label=1, predicted=1, margin=1.0, radius=radius, correct=k < 4)
        for k, radius in enumerate(radii)
    )
    fields = {
        "clean_accuracy": Tally(count=4, n=5),
        "curve": (sample.point("1/4", 3, n=5), sample.point("1/2", 1, n=5)),
        "samples": rows,
        "curvature": curvature(),
        "method": "w_y − w_j through the last dense layers",
    }
    return sample.robustness(**(fields | changes))


def test_radii_are_counted_by_what_proved_them():
    found = robustness()
    assert margin_counts(found) == (2, 0)  # 0.3 and 0.5; 0.5 is not above 1/2
    assert radii_text(found).startswith(
        "2 of 3 radii above 0 by curvature (softplus, 256 units), the other 1 by"
    )
    every = robustness(curvature=curvature(indices=(0, 1, 2), by_margins=(0.1, 0.1, 0.1)))
    assert "3 of 3 radii above 0 by curvature" in radii_text(every)
    assert "none by margins (w_y" in radii_text(every)


@pytest.mark.parametrize("found", [robustness(curvature=None), robustness(samples=None)])
def test_nothing_is_counted_where_it_cannot_be(found):
    assert margin_counts(found) is None


def test_an_older_report_has_no_counts():
    assert margin_counts(robustness(curvature=curvature(by_margins=None))) is None


def test_each_radius_by_margins_has_its_sample():
    with pytest.raises(ValidationError, match="radii by margins"):
        curvature(by_margins=(0.1,))


@pytest.mark.parametrize("render", [to_text, to_markdown, to_html])
def test_people_see_both(render):
    text = " ".join(render(sample.report(robustness=robustness())).split())
    for told in ("2 of 3 radii above 0 by curvature (softplus, 256 units)", "by margins"):
        assert told in text


def test_the_samples_tell_their_proof():
    rows = csv.DictReader(StringIO(to_csv(sample.report(robustness=robustness())), newline=""))
    assert [row["by"] for row in rows] == ["curvature", "margin", "curvature", "", ""]
