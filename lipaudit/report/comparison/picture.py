"""All curves of certified accuracy in one picture: step curves, told apart without colour.

Each has its own dashes and its own mark at the asked radii; colours only repeat that.  Every curve has a
frame of the same size over its own number of samples, so that heights are shares, rounded down as always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lipaudit.report.comparison.record import Comparison, Row
from lipaudit.report.html.curve import axis_end, outline
from lipaudit.report.html.frame import FONT, LEFT, Drawn, Frame, words
from lipaudit.report.html.markup import Markup, svg_document, tag
from lipaudit.report.model import Robustness
from lipaudit.report.wording import eps_text, percent_down

__all__ = ["to_svg"]

_WIDTH, _HEIGHT = 760.0, 400.0
_LINE = 18.0
"""Between two lines of the legend."""
_TOP = 14.0
_SIGNS = 40  # of a name in the legend
_SAMPLE = 44.0  # the length of a line in the legend
_NOTHING = "No sample was evaluated: there is no certified accuracy to draw."

_COLOURS = ("#000000", "#0072b2", "#b34700", "#00795c", "#8f4a7d", "#7a6a00", "#1f6f8b", "#5a5a5a")
_DASHES = (None, "7 3", "2 2.5", "10 3 2 3", "14 4", "6 2 1.5 2 1.5 2", "4 4")
"""Eight colours and seven dashes: the first 56 curves differ in both together."""


def to_svg(comparison: Comparison) -> str:
    """A standalone SVG document; one that says so where there is nothing to draw."""
    drawn = [
        (row, proved.robustness)
        for row, proved in comparison.audited
        if proved.robustness is not None and proved.robustness.clean_accuracy.n
    ]
    if not drawn:
        note = tag("text", _NOTHING, x=20, y=40, font_family=FONT, font_size=14)
        ground = tag("rect", width="100%", height="100%", fill="#fff")
        return svg_document(
            tag("svg", tag("title", _NOTHING), ground, note, viewBox="0 0 640 80", width=640, height=80)
        )
    columns = 2 if len(drawn) > 1 else 1
    roof = _TOP + _LINE * -(-len(drawn) // columns) + 8
    end = max(axis_end(robustness) for _, robustness in drawn)
    spaces = dict.fromkeys(proved.preprocessing.threat_space for _, proved in comparison.audited)
    frame = Frame(_WIDTH, _HEIGHT + roof, end, 100, roof)
    curves = [
        part
        for number, (_, robustness) in enumerate(drawn)
        for part in _curve(
            Frame(_WIDTH, _HEIGHT + roof, end, robustness.clean_accuracy.n, roof), robustness, number
        )
    ]
    parts = (
        tag("rect", width="100%", height="100%", fill="#fff"),
        *frame.heights([(percent, f"{percent} %") for percent in range(0, 101, 20)]),
        tag("path", d=f"M{LEFT:g} {roof:g}V{frame.y(0):g}", class_="axis", fill="none", stroke="#000"),
        tag(
            "text",
            "certified share of samples",
            transform=f"translate(13 {(roof + frame.y(0)) / 2:g}) rotate(-90)",
            text_anchor="middle",
        ),
        *frame.radii(f"l2 radius in {' / '.join(spaces)}"[:70]),
        *curves,
        *_legend([row for row, _ in drawn], columns),
    )
    title = "Certified accuracy against l2 radius"
    return svg_document(frame.picture(parts, title, _told(drawn), "curves", None))


def _told(drawn: Sequence[tuple[Row, Robustness]]) -> str:
    """What the picture shows, in words."""
    sentences = []
    for row, robustness in drawn:
        clean = robustness.clean_accuracy
        shares = [f"{percent_down(clean.count, clean.n)} correct"]
        shares += [
            f"{percent_down(p.certified_count, p.n)} at {eps_text(p.eps_exact)}" for p in robustness.curve
        ]
        sentences.append(f"{row.name}: {', '.join(shares)}.")
    return " ".join([*sentences, "The curves fall in steps; nothing is interpolated."])


def _curve(frame: Frame, robustness: Robustness, number: int) -> list[Markup]:
    """The steps, and a mark at each asked radius."""
    line = outline(frame, robustness)
    parts = [tag("path", d=line, **_stroke(number))] if line else []
    shown = [point for point in robustness.curve if point.eps <= frame.end]
    return [*parts, *(_mark(number, frame.x(p.eps), frame.y(p.certified_count)) for p in shown)]


def _stroke(number: int) -> Drawn:
    return {
        "fill": "none",
        "stroke": _COLOURS[number % len(_COLOURS)],
        "stroke_width": 1.8,
        "stroke_dasharray": _DASHES[number % len(_DASHES)],
    }


def _mark(number: int, x: float, y: float) -> Markup:
    shape = _SHAPES[number % len(_SHAPES)]
    colour = _COLOURS[number % len(_COLOURS)]
    return tag("path", d=shape(x, y), fill="#fff", stroke=colour, stroke_width=1.6)


def _polygon(*corners: tuple[float, float]) -> Callable[[float, float], str]:
    def at(x: float, y: float) -> str:
        return "M" + "L".join(f"{x + dx:.2f} {y + dy:.2f}" for dx, dy in corners) + "Z"

    return at


def _circle(x: float, y: float) -> str:
    return f"M{x - 4:.2f} {y:.2f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z"


_SHAPES = (
    _circle,
    _polygon((-3.6, -3.6), (3.6, -3.6), (3.6, 3.6), (-3.6, 3.6)),
    _polygon((0, -5), (4.6, 3.4), (-4.6, 3.4)),
    _polygon((0, -5), (5, 0), (0, 5), (-5, 0)),
    _polygon((0, 5), (4.6, -3.4), (-4.6, -3.4)),
    _polygon((-5, 0), (3.4, -4.6), (3.4, 4.6)),
    _polygon((5, 0), (-3.4, -4.6), (-3.4, 4.6)),
    _polygon((-4, -4), (4, 4), (4, -4), (-4, 4)),
    _polygon((-4, -4), (4, -4), (-4, 4), (4, 4)),
)
"""Circle, square, triangles and diamonds: nine marks, so that with seven dashes 63 curves differ."""


def _legend(rows: Sequence[Row], columns: int) -> list[Markup]:
    """One sample of line and mark for each model, row by row."""
    parts: list[Markup] = []
    wide = (_WIDTH - LEFT) / columns
    for number, row in enumerate(rows):
        x, y = LEFT + wide * (number % columns), _TOP + _LINE * (number // columns)
        parts += [
            tag("line", x1=x, x2=x + _SAMPLE, y1=y, y2=y, **_stroke(number)),
            _mark(number, x + _SAMPLE / 2, y),
            words(_cut(row.name), x + _SAMPLE + 8, y + 4, "start"),
        ]
    return parts


def _cut(name: str) -> str:
    """The end of a long name tells more than its beginning."""
    return name if len(name) <= _SIGNS else f"…{name[1 - _SIGNS :]}"
