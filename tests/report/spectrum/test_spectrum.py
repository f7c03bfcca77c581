"""The formats of a spectrum: nothing above the truth, nothing cut, hostile names harmless."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET

import pytest
from rich.cells import cell_len
from sample_spectrum import EMPTY, SPECTRUM, layer

from lipaudit.errors import ExitCode, InputRefused
from lipaudit.report.spectrum import FORMATS, to_text, words
from lipaudit.report.spectrum.document import from_json, model_schema, shipped_schema, to_json
from lipaudit.report.spectrum.record import Values, grouped
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
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    for shown in (
        "1.5 ×2, 1.25, 0.125",
        "unbounded",
        "×5",
        "SPECTRA OF 4 OF 6 LINEAR LAYERS (exit 3: 1 layer without",
    ):
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
    assert "rank: the largest 4 of 192" in text


def test_svg_has_a_heading_numbers_and_a_legend():
    both = ET.fromstring(FORMATS["svg"].render(SPECTRUM))
    shown = [element.text for element in both.iter() if element.tag.endswith("text")]
    assert shown[0] == f"Singular values of {SPECTRUM.model.name}"
    assert {"0", "1", "4", "8", "2"} <= set(shown)
    assert [text for text in shown if "proved" in text] == [
        "the largest singular values, by rank: proved lower bounds",
        "the whole spectrum, by rank: computed in float64, not proved",
        "certified bound: proved, no singular value is larger",
    ]
    few = SPECTRUM.model_copy(update={"layers": SPECTRUM.layers[:1]})
    assert "not proved" not in FORMATS["svg"].render(few)


def test_bars_never_stand_above_their_value():
    first = SPECTRUM.layers[0]
    assert heights(first, 16) == [0.75, 0.75, 0.625, 0.0625]
    assert sparkline(first) == "▇▇▆▁"
    assert sparkline(SPECTRUM.layers[1]) == "▅▃▃▁▁▁▁▁"
    assert sparkline(SPECTRUM.layers[2]) == ""
    assert sparkline(SPECTRUM.layers[3]) == "▁▁▁"
    assert len(sparkline(first, 3)) == 3


def test_equal_values_are_grouped_and_rounded_down():
    groups = grouped([(2.0, 1), (2.0 * (1 - 1e-7), 3), (1.0, 1), (0.0, 2), (0.0, 1)], 1e-6)
    assert [(g.count, g.value <= 2.0 * (1 - 1e-7)) for g in groups] == [(4, True), (1, True), (3, True)]
    assert grouped([], 1e-6) == ()


def test_a_group_that_was_cut_off_says_so():
    more = SPECTRUM.layers[0].model_copy(update={"top": (Values(value=1.0, count=10, more=True),)})
    assert words.values_texts(more) == ["1 ×10 or more"]


def test_values_that_differ_look_different():
    found = layer("a", [(20.740012, 1), (20.740009, 1), (1.25, 1)])
    assert words.values_texts(found) == ["20.74001", "20.74", "1.25"]


def test_a_short_whole_spectrum_is_listed_and_counts_as_the_line_above_it():
    values = tuple(Values(value=value, count=2) for value in (1.0, 1.0 - 1e-8, 0.5))
    found = layer("a", [(1.0, 4)], everything=values, everything_note="dense SVD")
    assert words.whole_line(found) == "all 6 values, 2 different ones: those, then 0.5 ×2 (dense SVD)"
    many = tuple(Values(value=1 - k / 32, count=1) for k in range(32))
    told = words.whole_line(layer("a", [(1.0, 1)], everything=many, everything_note="dense SVD"))
    assert told.startswith("all 32 values, all different: those, then 0.96875,")
    assert "…, 0.03125 (dense SVD; JSON and CSV list every one)" in told


@pytest.mark.parametrize(
    ("top", "every", "told"),
    [
        ([1.0, 0.5], [1.0, 0.5], "all 2 values, all different: those"),
        ([1.0], [1.0, 1.0], "all 2 values, which agree: 1 ×2"),
        ([1.0, 0.5], [1.0, 0.5, 0.5, 0.0], "all 4 values, 3 different ones: those, then 0.5 ×2, 0"),
        ([], [1.0, 0.5], "all 2 values, all different: 1, 0.5"),
        ([0.0], [0.0], "no other value"),
    ],
)
def test_no_value_is_told_twice(top, every, told):
    values = tuple(Values(value=value, count=1) for value in every)
    found = layer("a", [(value, 1) for value in top], everything=values, everything_note="dense SVD")
    assert words.whole_line(found) == f"{told} (dense SVD)"


def test_signs_are_explained_where_they_stand():
    plain = SPECTRUM.model_copy(update={"layers": (layer("a", [(1.0, 1)]),)})
    assert "×" not in words.meaning(plain)
    assert "×2: so many" in words.meaning(SPECTRUM)
    assert "or more" not in words.meaning(SPECTRUM)
    more = layer("a", []).model_copy(update={"top": (Values(value=1.0, count=10, more=True),)})
    assert "or more" in words.meaning(SPECTRUM.model_copy(update={"layers": (more,)}))


@pytest.mark.parametrize(("width", "bars"), [(60, 20), (100, 60), (200, 64)])
def test_bars_take_the_room_there_is(width, bars):
    wide = layer("a", [(2.0 - k / 100, 1) for k in range(80)])
    text = to_text(SPECTRUM.model_copy(update={"layers": (wide,)}), width=width)
    line = next(line for line in text.splitlines() if line.startswith("a "))
    assert len(line.split()[-1]) >= bars
    assert len(line) <= width


@pytest.mark.parametrize(
    ("changes", "last"),
    [
        (
            {"not_asked": 3},
            "SPECTRA OF 1 OF 4 LINEAR LAYERS (exit 0: values of every layer that was asked for)",
        ),
        ({"not_asked": 0}, "SPECTRA OF 1 OF 1 LINEAR LAYER (exit 0: values of every linear layer)"),
        (
            {"layers": (), "not_asked": 0},
            "SPECTRA OF 0 OF 0 LINEAR LAYERS (exit 0: no linear layer to look at)",
        ),
    ],
)
def test_the_last_line_has_words_of_its_own(changes, last):
    fields = {"layers": SPECTRUM.layers[:1], "exit_code": 0} | changes
    assert words.ending(SPECTRUM.model_copy(update=fields)) == last
