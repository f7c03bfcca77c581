"""Colours: text is legible (WCAG AA, 4.5:1) in the light, the dark and the printed page."""

import re
from importlib import resources

import pytest

STYLE = resources.files("lipaudit.report.html").joinpath("style.css").read_text(encoding="utf-8")
LIGHT, DARK, PRINT = (
    dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6});", block))
    for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
)
PAIRS = [
    *((ink, ground) for ink in ("ink", "soft", "blue") for ground in ("card", "page")),
    *((ink, "faint") for ink in ("ink", "soft")),
    *((tone, f"{tone}-bg") for tone in ("green", "red", "amber", "grey")),
    *(("ink", f"{tone}-bg") for tone in ("green", "red", "amber", "grey")),
    *(("soft", f"{tone}-bg") for tone in ("green", "red", "amber", "grey")),
]
MARKS = ["blue", "orange", "green", "red", "soft"]


def luminance(colour):
    digits = colour.removeprefix("#")
    pairs = [d * 2 for d in digits] if len(digits) == 3 else re.findall("..", digits)
    channels = [int(pair, 16) / 255 for pair in pairs]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, two):
    low, high = sorted(map(luminance, (one, two)))
    return (high + 0.05) / (low + 0.05)


def test_the_measure():
    assert contrast("#000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", [LIGHT, DARK, PRINT], ids=["light", "dark", "print"])
@pytest.mark.parametrize(("ink", "ground"), PAIRS)
def test_text_is_legible(theme, ink, ground):
    assert contrast(theme[ink], theme[ground]) >= 4.5


@pytest.mark.parametrize("theme", [LIGHT, DARK, PRINT], ids=["light", "dark", "print"])
@pytest.mark.parametrize("mark", MARKS)
def test_marks_are_seen(theme, mark):
    assert min(contrast(theme[mark], theme["card"]), contrast(theme[mark], theme["faint"])) >= 3


def test_every_colour_is_a_variable():
    rest = re.sub(r":root \{.*?\}", "", STYLE, flags=re.DOTALL)
    assert not re.findall(r"#[0-9a-f]{3,6}\b(?=[;\s])", rest)
