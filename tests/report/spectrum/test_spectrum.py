"""The formats of a spectrum: nothing above the truth, nothing cut, hostile names harmless."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET

import pytest
from rich.cells import cell_len
from sample_spectrum import EMPTY, SPECTRUM

from lipaudit.errors import ExitCode, InputRefused
from lipaudit.report.spectrum import FORMATS, to_text
from lipaudit.report.spectrum.document import from_json, model_schema, shipped_schema, to_json
from lipaudit.report.spectrum.record import grouped
from lipaudit.report.spectrum.sparkline import heights, sparkline


def test_json_is_read_back():
    text = to_json(SPECTRUM)
    assert from_json(text) == SPECTRUM
    assert to_json(from_json(text)) == text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": "1.0"}'])
def test_other_documents_are_refused(text):
    with pytest.raises(InputRefused):
        from_json(text)


def test_the_shipped_schema_is_the_records_own():
    assert shipped_schema() == model_schema()
    assert json.loads(shipped_schema())["title"] == "Spectrum"


@pytest.mark.parametrize("width", [60, 100, 200])
def test_the_screen_cuts_nothing(width):
    lines = to_text(SPECTRUM, width=width).splitlines()
    assert max(map(cell_len, lines[:-1])) <= width
    text = "\n".join(lines)
    for shown in ("1.5 ×2, 1.25, 0.125", "unbounded", "×5", "SPECTRA OF 4 OF 5 LINEAR LAYERS (exit 3"):
        assert shown in " ".join(text.split())
    assert "\x1b" not in text
    assert "\\x1b" in "".join(text.split())


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_takes_a_model_without_linear_layers(name):
    assert FORMATS[name].render(EMPTY).endswith("\n")


def test_a_file_that_could_not_be_written_ends_the_screen():
    assert to_text(SPECTRUM, failed=ExitCode.USAGE).splitlines()[-1].startswith("NOT WRITTEN (exit 2")


def test_csv_has_a_row_per_value_and_no_formula():
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"].render(SPECTRUM))))
    first = [row for row in rows if row["layer"] == "features.0.conv"]
    assert [(row["rank"], row["count"], row["value"]) for row in first] == [
        ("1", "2", "1.5"),
        ("3", "1", "1.25"),
        ("4", "1", "0.125"),
    ]
    assert [row["kind"] for row in rows if row["layer"].startswith("'=cmd")] == ["top", "all", "all", "all"]
    assert not any(cell[:1] in "=+@" and cell for row in rows for cell in row.values())
    assert any(row["bound"] == "inf" for row in rows)


def test_markdown_keeps_its_columns():
    table = [line for line in FORMATS["md"].render(SPECTRUM).splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(SPECTRUM.layers)
    assert {line.replace("\\|", "").count("|") for line in table} == {6}


def test_svg_is_xml_and_tells_what_it_shows():
    root = ET.fromstring(FORMATS["svg"].render(SPECTRUM))
    text = " ".join(root.itertext())
    assert "features.0.conv: largest value at least 1.5, certified bound 2." in text
    assert "the largest 4 of 192" in text


def test_bars_never_stand_above_their_value():
    layer = SPECTRUM.layers[0]
    assert heights(layer, 16) == [0.75, 0.75, 0.625, 0.0625]
    assert sparkline(layer) == "▇▇▆▁"
    assert sparkline(SPECTRUM.layers[1]) == "▅▃▃▁▁▁▁▁"
    assert sparkline(SPECTRUM.layers[2]) == ""
    assert sparkline(SPECTRUM.layers[3]) == "▁▁▁"
    assert len(sparkline(layer, 3)) == 3


def test_equal_values_are_grouped_and_rounded_down():
    groups = grouped([(2.0, 1), (2.0 * (1 - 1e-7), 3), (1.0, 1), (0.0, 2), (0.0, 1)], 1e-6)
    assert [(g.count, g.value <= 2.0 * (1 - 1e-7)) for g in groups] == [(4, True), (1, True), (3, True)]
    assert grouped([], 1e-6) == ()
