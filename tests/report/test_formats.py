"""The table of formats: one row each, no name or suffix twice, and every one takes every report."""

import csv
import json
from io import StringIO
from xml.etree import ElementTree as ET

import cmarkgfm
import pytest
import report_zoo as zoo
import sample_report as sample
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.report import FORMATS, SUFFIXES, by_name, by_suffix, from_json
from lipaudit.report.model import Finding


def rows_of(text):
    rows = list(csv.reader(StringIO(text, newline=""), strict=True))
    assert len({len(row) for row in rows}) == 1
    return rows


PARSED = {
    "json": from_json,
    "sarif": json.loads,
    "junit": ET.fromstring,
    "csv": rows_of,
    "md": cmarkgfm.github_flavored_markdown_to_html,
}
"""What reads a machine's format back."""


@pytest.mark.parametrize("kind", zoo.REPORTS)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_takes_every_report(name, kind):
    report = zoo.REPORTS[kind]
    text = FORMATS[name].render(report)
    assert text.endswith("\n")
    assert text.encode()
    assert FORMATS[name].render(report) == text
    if name in PARSED:
        assert PARSED[name](text) is not None


@given(name=st.text(st.characters(exclude_categories=()), max_size=30))
def test_every_machine_reads_any_name(name):
    finding = Finding(rule="LIP101", level="error", message=name, layer=name, advice=name)
    unmet = sample.budget("fail").model_validate(
        sample.budget("fail").model_dump() | {"id": name, "message": name}
    )
    report = sample.report("fail", findings=(finding,), budgets=(unmet,))
    for kind, read in PARSED.items():
        assert read(FORMATS[kind].render(report)) is not None


def test_json_is_the_report():
    for report in zoo.REPORTS.values():
        assert from_json(FORMATS["json"].render(report)) == report


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"json", "csv"}))
def test_nothing_unprintable_passes(name):
    text = FORMATS[name].render(zoo.REPORTS["hostile"])
    assert {c for c in text if not c.isprintable()} <= {"\n"}


def test_formats_are_called_what_they_are_called():
    assert all(name == row.name for name, row in FORMATS.items())
    suffixes = {
        ".txt": "text",
        ".json": "json",
        ".md": "md",
        ".sarif": "sarif",
        ".xml": "junit",
        ".csv": "csv",
        ".html": "html",
        ".htm": "html",
        ".svg": "svg",
    }
    assert {s: row.name for s, row in SUFFIXES.items()} == suffixes


def test_only_what_is_lacking_is_said():
    lacking = {
        (name, kind): row.lacking(report)
        for name, row in FORMATS.items()
        for kind, report in zoo.REPORTS.items()
        if row.lacking(report)
    }
    assert set(lacking) == {("csv", kind) for kind in ("no data", "no sample", "samples not kept")}
    assert lacking["csv", "no data"] == "no rows: no data set was evaluated"


def test_duplicates_are_impossible():
    row = FORMATS["json"]
    with pytest.raises(ValueError, match="two report formats"):
        by_name((row, row))
    with pytest.raises(ValueError, match="both claim"):
        by_suffix((row, row))
