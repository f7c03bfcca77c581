"""The screen of a repair: what was asked, why layers are left alone, what it cost, how it ended."""

import pytest
from rich.cells import cell_len

from lipaudit.report.model import NetworkBracket
from lipaudit.report.number import Number
from lipaudit.report.repair import ChangedLayer, Repair, Side
from lipaudit.report.repair_text import ending, to_text
from lipaudit.report.text import WIDTH


def layer(name, action="unchanged", before=1.0, after=None, why=""):
    numbers = [Number.from_bound(value) for value in (before, before if after is None else after)]
    return ChangedLayer(name=name, action=action, before=numbers[0], after=numbers[1], why=why)


def repair(*layers, target="layer norm", **other):
    bracket = {"upper": Number.from_bound(2.0), "lower": Number.not_analysed(), "slack": None}
    side = Side.model_construct(bracket=NetworkBracket.model_construct(**bracket), robustness=None)
    return Repair.model_construct(
        **{"model": "m.onnx", "method": "fastclip", "target": target, "limit": 0.5, "layers": layers,
        "before": side, "after": side, "change": None, "files": (), "notes": (), **other},
    )  # fmt: skip


def test_the_headline_says_how_many_layers_it_is_about():
    some = repair(layer("a", "clipped", 1, 0.5), layer("b", "not asked for", 3))
    assert to_text(some).startswith("m.onnx: the norm of 1 of 2 linear layers at most 0.5")
    every = repair(layer("a", "clipped", 1, 0.5), layer("b", before=0.2))
    assert ending(every) == (
        "CLIPPED (exit 0: every norm of 2 linear layers, each by itself, is certified to be at most 0.5, in "
        "the file as written)"
    )
    assert ending(repair(layer("a", before=0.1), verdict="unchanged")).startswith("UNCHANGED (exit 0")


def test_the_limit_is_shown_as_it_was_written():
    told = repair(layer("a", "clipped", 1, 0.3), asked="0.1234567", limit=0.1234567)
    assert "at most 0.1234567," in ending(told)
    assert "at most 0.1234567," in to_text(told)


def test_what_is_unbounded_is_not_said_to_be_below_that():
    text = to_text(repair(layer("a", before=float("inf"), after=0.5)))
    assert "unbounded" in text
    assert "≤ unbounded" not in text


@pytest.mark.parametrize("width", [60, 80, 96, 200])
def test_no_line_is_wider_than_the_screen(width):
    layers = [layer("features." * 30 + "weight", "clipped", 2, 0.5), layer("名前" * 40), layer("head")]
    long = repair(*layers, notes=("word " * 60, "x" * 500), model="m" * 120 + ".onnx")
    lines = to_text(long, width=width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "".join("".join(lines).split()).count("features.") >= 28
    words = {word for line in lines for word in line.split() if len(word) < 20}
    assert {"linear", "certified", "written)", "word"} <= words


def test_a_reason_is_told_once_and_lines_end():
    alone = [layer(f"block{i}", "left alone", 0.1, why="in a block") for i in range(40)]
    long = layer("x" * 300, "clipped", 100, 0.5)
    text = to_text(repair(*alone, long))
    said = " ".join(text.split())
    assert said.count("in a block") == 1
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "(200 times)" in said
    assert "nothing was evaluated" in said


@pytest.mark.parametrize("times", [2, 9.9])
def test_a_little_smaller_is_no_news(times):
    assert "much smaller" not in to_text(repair(layer("a", "clipped", times * 0.5, 0.5)))


def test_a_layer_of_which_nothing_is_left_is_told():
    assert "much smaller than before: a (nothing is left)" in to_text(repair(layer("a", "clipped", 2, 0.0)))
