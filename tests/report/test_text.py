"""The terminal screen: golden at 96 columns (format only), verdict last, nothing by colour alone."""

import re
from pathlib import Path

import pytest
import sample_report as sample
from rich.cells import cell_len

from lipaudit.bound import Bound, Estimate
from lipaudit.report.model import NetworkBracket
from lipaudit.report.text import WIDTH, to_text, verdict_line

GOLDEN = Path(__file__).parent / "golden"
ANSI = re.compile(r"\x1b\[[0-9;]*m")

SCREENS = {
    "pass": sample.report(budgets=(sample.budget(),)),
    "lipschitz_only": sample.report(dataset=None, robustness=None, falsification=None),
    "incomplete": sample.report(
        "incomplete",
        layers=(sample.conv(1), sample.unknown("[bold]x[/bold] \x1b[2J Größe")),
        global_=NetworkBracket.of(Bound.unbounded("features.3: no rule for aten.foo.default"), None),
        findings=(sample.finding("error"), sample.finding("note")),
        robustness=sample.robustness(
            curve=(sample.point("36/255", 0),),
            median_radius=0.0,
        ),
        falsification=None,
    ),
    "useless": sample.report(
        "fail",
        global_=NetworkBracket.of(Bound(7.77e11, "product"), Estimate(32.0, "ascent")),
        robustness=sample.robustness(curve=(sample.point("36/255", 0),), median_radius=8.1e-4),
        budgets=(sample.budget("fail"), sample.budget("inconclusive").model_copy(update={"id": "other"})),
    ),
}


@pytest.mark.parametrize("name", SCREENS)
def test_golden(name):
    assert to_text(SCREENS[name]) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [72, 80, WIDTH])
@pytest.mark.parametrize("name", SCREENS)
def test_lines_fit(name, width):
    *lines, verdict = to_text(SCREENS[name], width=width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert cell_len(verdict) <= WIDTH
    assert not any(line != line.rstrip() for line in lines)


@pytest.mark.parametrize("name", SCREENS)
def test_the_verdict_is_last(name):
    report = SCREENS[name]
    text = to_text(report)
    assert text.endswith(f"\n{verdict_line(report)}\n")
    assert text.splitlines()[-1].startswith(f"{report.verdict.upper()} (exit {report.exit_code}: ")


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


def test_long_networks_show_what_costs_most():
    layers = tuple(map(sample.conv, range(100)))
    text = to_text(sample.report(layers=layers))
    shown = re.findall(r"^conv(\d+) ", text, flags=re.MULTILINE)
    assert [int(k) for k in shown] == list(range(40, 100))
    assert "… 40 more layers" in text


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
