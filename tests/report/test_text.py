"""The terminal screen: golden at three widths (format only), verdict last, nothing by colour alone."""

import re
from pathlib import Path

import pytest
import sample_report as sample
from rich.cells import cell_len
from sample_screens import SCREENS

from lipaudit.report.text import NARROWEST, WIDEST, WIDTH, to_text, verdict_line

GOLDEN = Path(__file__).parent / "golden"
ANSI = re.compile(r"\x1b\[[0-9;]*m")

WIDTHS = (60, 96, 160)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SCREENS)
def test_golden(name, width):
    golden = GOLDEN / f"{name}.{width}.txt"
    assert to_text(SCREENS[name], width=width) == golden.read_text(encoding="utf-8")


def test_every_golden_file_is_compared():
    names = {f"{name}.{width}.txt" for name in SCREENS for width in WIDTHS}
    assert {path.name for path in GOLDEN.glob("*.txt")} == names


@pytest.mark.parametrize("width", [NARROWEST, 72, 80, WIDTH, 130, WIDEST])
@pytest.mark.parametrize("name", SCREENS)
def test_lines_fit(name, width):
    *lines, verdict = to_text(SCREENS[name], width=width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert cell_len(verdict) <= 105  # never folded: whoever reads a log takes the last line
    assert not any(line != line.rstrip() for line in lines)


@pytest.mark.parametrize("name", SCREENS)
def test_the_verdict_is_last(name):
    report = SCREENS[name]
    text = to_text(report)
    assert text.endswith(f"\n{verdict_line(report)}\n")
    last = text.splitlines()[-1]
    assert last.split()[0] == report.verdict.upper()
    assert f"(exit {report.exit_code}: " in last


@pytest.mark.parametrize("name", SCREENS)
def test_colour_adds_nothing_but_colour(name):
    coloured = to_text(SCREENS[name], colour=True)
    assert "\x1b[" in coloured
    plain = "\n".join(line.rstrip() for line in ANSI.sub("", coloured).splitlines()) + "\n"
    assert plain == to_text(SCREENS[name])
    assert "\x1b" not in to_text(SCREENS[name])


def test_the_environment_changes_nothing(monkeypatch):
    plain = to_text(SCREENS["pass"])
    for name, value in (("COLUMNS", "40"), ("FORCE_COLOR", "1"), ("TERM", "dumb"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    assert to_text(SCREENS["pass"]) == plain


def test_names_are_verbatim_and_cannot_draw():
    text = to_text(SCREENS["incomplete"])
    assert "[bold]x[/bold]" in text
    assert "\\x1b[2J" in text


def test_not_analysed_is_a_dash():
    row = next(line for line in to_text(SCREENS["pass"]).splitlines() if line.startswith("conv0"))
    assert row.split()[2] == "—"
    assert "no attack was run" in to_text(SCREENS["lipschitz_only"])


def test_a_useless_certificate_is_called_so():
    text = " ".join(to_text(SCREENS["useless"]).split())
    assert "less than one grey level of one pixel" in text
    assert "times the largest ratio that was witnessed" in text
    assert "Train for small gains" in text


def test_sixty_layers_are_all_shown():
    text = to_text(sample.report(layers=tuple(map(sample.conv, range(60)))))
    assert len(re.findall(r"^conv\d+ ", text, flags=re.MULTILINE)) == 60
    assert "more layer" not in text


def test_no_sample_is_said():
    empty = sample.robustness(
        clean_accuracy={"count": 0, "n": 0}, curve=(sample.point("1", 0, n=0),), samples=()
    )
    text = to_text(sample.report("incomplete", robustness=empty))
    assert "No sample was evaluated" in text
    assert "0.00 %" not in text
