"""Formats of a comparison: golden screens, JSON that reads back, one picture that needs no colour."""

import csv
import json
import re
from io import StringIO
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import cmarkgfm
import jsonschema
import pytest
import sample_comparison as sample
from pydantic import ValidationError
from rich.cells import cell_len
from sample_comparison import COMPARISONS

from lipaudit.errors import ExitCode, InputRefused
from lipaudit.report.comparison import FORMATS, to_text
from lipaudit.report.comparison.columns import bytes_text, measured_columns, proved_columns, seconds_text
from lipaudit.report.comparison.document import from_json, model_schema, shipped_schema, to_json
from lipaudit.report.comparison.markdown import to_markdown
from lipaudit.report.comparison.picture import _COLOURS, _DASHES, _SHAPES, to_svg
from lipaudit.report.comparison.record import Proved, Spread
from lipaudit.report.comparison.table import to_csv
from lipaudit.report.html.steps import proved_steps

GOLDEN = Path(__file__).parent / "golden"
WIDTHS = (60, 96, 160)
NAMES = tuple(COMPARISONS)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_golden(name, width):
    golden = GOLDEN / f"{name}.{width}.txt"
    assert to_text(COMPARISONS[name], width=width) == golden.read_text(encoding="utf-8")


def test_every_golden_file_is_compared():
    assert {p.name for p in GOLDEN.glob("*.txt")} == {
        f"{name}.{width}.txt" for name in NAMES for width in WIDTHS
    }


@pytest.mark.parametrize("width", [60, 72, 80, 96, 130, 200])
@pytest.mark.parametrize("name", NAMES)
def test_lines_fit_and_no_number_is_left_out(name, width):
    comparison = COMPARISONS[name]
    text = to_text(comparison, width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    columns = [*proved_columns(comparison), *measured_columns(comparison)]
    for row in comparison.models:
        assert all(column.cell(row) in text for column in columns)


def test_a_hostile_name_stays_a_name():
    comparison = sample.comparison(sample.row(sample.HOSTILE, robustness=sample.robustness()))
    text = to_text(comparison)
    assert "\x1b" not in text
    assert "\n::error" not in text
    (cells,) = list(csv.reader(StringIO(to_csv(comparison))))[1:]
    assert cells[0] == sample.HOSTILE.replace("\x1b", "\\x1b").replace("\n", "\\n")
    html = cmarkgfm.github_flavored_markdown_to_html(to_markdown(comparison))
    assert "<b>" not in html
    assert html.count("<table>") == 2
    ET.fromstring(to_svg(comparison))


@pytest.mark.parametrize("sign", "=+-@")
def test_no_cell_is_a_formula(sign):
    comparison = sample.comparison(sample.row(f"{sign}1+1"))
    assert f"\n'{sign}1+1," in to_csv(comparison)


def test_the_words_are_a_comparisons_own():
    """No budget passes where there is none, and no median is told of where nothing was repeated."""
    plain = sample.comparison(sample.row("a"), sample.row("b"))
    text = to_text(plain)
    assert text.endswith("\nCOMPARED (exit 0: every analysis is complete)\n")
    assert "median" not in text
    assert "of a single run" in text
    assert "median" in to_text(COMPARISONS["two"])
    incomplete = to_text(COMPARISONS["incomplete"])
    findings = [
        f for row in COMPARISONS["incomplete"].models if row.proved for f in row.proved.findings if f.layer
    ]
    assert findings
    for finding in findings:
        assert f"{finding.rule} {finding.layer}: " in incomplete


def test_the_last_line():
    assert to_text(COMPARISONS["two"]).splitlines()[-1].startswith("COMPARED (exit 0: ")
    assert to_text(COMPARISONS["refused"]).splitlines()[-1] == "1 OF 2 COMPARED (exit 4: input refused)"
    failed = to_text(COMPARISONS["two"], failed=ExitCode.USAGE)
    assert failed.splitlines()[-1].startswith("NOT WRITTEN (exit 2: ")


@pytest.mark.parametrize("name", NAMES)
def test_json_reads_back_and_fits_its_schema(name):
    text = to_json(COMPARISONS[name])
    jsonschema.validate(json.loads(text), json.loads(shipped_schema()))
    back = from_json(text)
    assert to_json(back) == text
    assert to_text(back) == to_text(COMPARISONS[name])


def test_the_schema_is_the_models():
    assert shipped_schema() == model_schema()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"models": []}', "NaN"])
def test_what_is_no_comparison_is_refused(text):
    with pytest.raises(InputRefused, match="not a lipaudit comparison"):
        from_json(text)


def test_proved_numbers_are_the_reports_own():
    (one, _) = sample.TWO
    document = json.loads(to_json(COMPARISONS["two"]))["models"][0]["proved"]
    report = json.loads(one.proved.model_dump_json(by_alias=True))
    assert document["global"] == report["global"]
    assert document["robustness"] == report["robustness"] | {"samples": None}


def test_two_rows_need_two_names():
    with pytest.raises(ValidationError, match="one name"):
        sample.comparison(sample.row("a"), sample.row("a"))


def test_csv_has_a_row_for_each_model_and_no_rounded_number():
    header, *rows = csv.reader(StringIO(to_csv(COMPARISONS["incomplete"])))
    assert len(rows) == 3
    assert {len(row) for row in rows} == {len(header)}
    first = dict(zip(header, rows[0], strict=True))
    row = sample.TWO[0]
    assert float(first["upper"]) == row.proved.global_.upper.value
    assert int(first["certified@36/255"]) == row.proved.robustness.curve[0].certified_count
    assert int(first["forward_peak_bytes"]) == 22_000_000
    assert float(first["train_median_seconds"]) == 0.2684
    refused = dict(zip(header, list(csv.reader(StringIO(to_csv(COMPARISONS["refused"]))))[2], strict=False))
    assert (refused["exit_code"], refused["upper"]) == ("4", "")


# The picture


def paths(svg):
    return [
        e
        for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}path")
        if e.get("stroke-width") == "1.8"
    ]


def test_curves_differ_without_colour():
    rows = [sample.row(f"m{k}", robustness=sample.robustness(0.002 + k / 1000)) for k in range(12)]
    svg = to_svg(sample.comparison(*rows))
    root = ET.fromstring(svg)
    lines = [e for e in root.iter() if e.tag.endswith("line") and e.get("stroke-width") == "1.8"]
    looks = [(e.get("stroke-dasharray"), k % len(_SHAPES)) for k, e in enumerate(lines)]
    assert len(lines) == 12
    assert len(set(looks)) == 12
    assert all(f">m{k}<" in svg for k in range(12))


def test_enough_looks():
    assert len({(k % len(_DASHES), k % len(_SHAPES)) for k in range(63)}) == 63
    shapes = {shape(0.0, 0.0) for shape in _SHAPES}
    assert len(shapes) == len(_SHAPES)
    assert len(set(_COLOURS)) == len(_COLOURS)


def test_curves_fall_in_steps_and_lie_where_they_should():
    rows = (
        sample.row("a", robustness=sample.robustness()),
        sample.row("b", robustness=sample.robustness(0.02, n=50)),
    )
    drawn = paths(to_svg(sample.comparison(*rows)))
    assert len(drawn) == 2
    for path, row in zip(drawn, rows, strict=True):
        assert set(re.findall("[A-Z]", path.get("d"))) == {"M", "V", "H"}
        heights = [float(y) for y in re.findall(r"V([\d.]+)", path.get("d"))]
        assert all(a <= b for a, b in pairwise(heights))
        steps = proved_steps(row.proved.robustness)
        assert path.get("d").count("V") in (len(steps), len(steps) - 1)
    # 98 of 100 and 48 of 50 begin at 98 % and 96 % of one height, not at their counts'.
    tops = [float(re.match(r"M[\d.]+ ([\d.]+)", path.get("d"))[1]) for path in drawn]
    full = 400 + 14 + 18 + 8 - 50 - (14 + 18 + 8)
    assert tops[1] - tops[0] == pytest.approx(0.02 * full, abs=0.02)


def test_without_samples_the_picture_says_so():
    svg = to_svg(COMPARISONS["lipschitz_only"])
    assert "No sample was evaluated" in svg
    ET.fromstring(svg)


# Numbers for people


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12.3"), (1.5, "1,500"), (0.0001234, "0.123"), (0, "0"), (0.99999, "1,000"), (1e-7, "0.0001")],
)
def test_times(seconds, text):
    assert seconds_text(seconds) == text


def test_bytes():
    assert bytes_text(3 << 20) == "3.00"


def test_quartiles():
    assert Spread.of([3.0]) == Spread(median=3, lower_quartile=3, upper_quartile=3, runs=1)
    found = Spread.of([5.0, 1, 2, 3, 4])
    assert (found.lower_quartile, found.median, found.upper_quartile, found.runs) == (2, 3, 4, 5)


def test_formats_are_named_in_the_help():
    from lipaudit.cli.commands import command_named  # noqa: PLC0415

    (told,) = (p.help for p in command_named("compare").params if p.name == "output")
    assert f"({', '.join(FORMATS)})" in told


def test_the_record_takes_the_errors_only():
    report = sample.sample.report(
        "incomplete", findings=(sample.sample.finding("error"), sample.sample.finding("note"))
    )
    assert [f.level for f in Proved.of(report).findings] == ["error"]
