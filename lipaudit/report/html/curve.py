"""The picture of certified accuracy against radius: a step curve, in the page and by itself.

Everything is drawn in black by attributes, which any style sheet overrides: the same picture is a figure of
a paper and part of a page that has a dark side.  Heights are rounded down, so that no pixel claims more than
is proved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lipaudit.report.html.axis import linear_ticks, tick_text
from lipaudit.report.html.markup import Markup, tag
from lipaudit.report.html.steps import Step, possible_steps, proved_steps, radii_of
from lipaudit.report.model import CurvePoint, Evidence, Robustness
from lipaudit.report.wording import eps_text, percent_down

__all__ = ["FONT", "HALO", "Drawn", "axis_end", "beyond_axis", "curve_picture"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 66.0, 18.0, 40.0, 50.0
Drawn = dict[str, str | float | None]
"""Attributes of a line or a text."""
_FAR = 6.0  # asked radii so many times as far as the largest certified one would squeeze the curve to a line
_ROOM = 60.0  # that a label takes
HALO: Drawn = {"paint_order": "stroke", "stroke": "#fff", "stroke_width": 4.0}
"""Keeps a number legible over lines."""
FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class _Frame:
    """From radii and counts to coordinates."""

    width: float
    height: float
    end: float
    n: int

    def x(self, radius: float) -> float:
        inside = self.width - _LEFT - _RIGHT
        return math.floor(100 * (_LEFT + inside * min(radius / self.end, 1.0))) / 100

    def y(self, count: float) -> float:
        inside = self.height - _TOP - _BOTTOM
        return math.ceil(100 * (_TOP + inside * (1 - count / self.n))) / 100


def axis_end(robustness: Robustness) -> float:
    """The largest radius that is shown."""
    radii = [r for r in radii_of(robustness) or () if 0 < r < math.inf]
    asked = [p.eps for p in robustness.curve]
    if not radii:
        return 1.1 * max(asked, default=1.0)
    near = [eps for eps in asked if eps <= _FAR * radii[-1]]
    return 1.04 * max(radii[-1], *near, 0.0)


def beyond_axis(robustness: Robustness) -> tuple[CurvePoint, ...]:
    """Asked radii that are too far away to be shown."""
    end = axis_end(robustness)
    return tuple(point for point in robustness.curve if point.eps > end)


def curve_picture(
    evidence: Evidence, robustness: Robustness, size: tuple[int, int], anchor: str, class_: str | None = None
) -> Markup:
    """The curve, of `robustness` with at least one sample.

    Args:
        evidence: tells the unit of radii.
        robustness: what to draw.
        size: width and height.
        anchor: start of the identifiers within, unique in the page.
        class_: for the style sheet.
    """
    end = axis_end(robustness)
    frame = _Frame(*size, end, robustness.clean_accuracy.n)
    proved = [s if s.end <= end else Step(end, s.count) for s in proved_steps(robustness)]
    proved = proved[: next((k + 1 for k, s in enumerate(proved) if s.end >= end), len(proved))]
    outline = _path(frame, proved)
    base = frame.y(0)
    return tag(
        "svg",
        tag("title", "Certified accuracy against l2 radius", id=f"{anchor}-title"),
        tag("desc", description(robustness), id=f"{anchor}-desc"),
        *_axes(frame, evidence.preprocessing.threat_space),
        tag("path", d=f"{outline}V{base:g}H{_LEFT:g}Z", class_="area", fill="none") if proved else None,
        tag("path", d=_path(frame, possible_steps(robustness, end)), class_="possible", **_DASHED),
        tag("path", d=outline, class_="proved", fill="none", stroke="#000", stroke_width=2.0)
        if proved
        else None,
        *_marks(frame, robustness.curve),
        *_legend(frame),
        viewBox=f"0 0 {size[0]} {size[1]}",
        width=size[0],
        height=size[1],
        role="img",
        aria_labelledby=f"{anchor}-title {anchor}-desc",
        class_=class_,
        font_family=FONT,
        font_size=12,
    )


_DASHED: Drawn = {"fill": "none", "stroke": "#000", "stroke_width": 1.3, "stroke_dasharray": "6 4"}


def description(robustness: Robustness) -> str:
    """What the picture shows, in words."""
    n = robustness.clean_accuracy.n
    parts = [
        f"{robustness.clean_accuracy.count:,} of {n:,} samples are answered correctly.",
        *(
            f"{p.certified_count:,} of {n:,} are certified at {eps_text(p.eps_exact)}."
            for p in robustness.curve
        ),
    ]
    return " ".join([*parts, "The curve falls in steps; nothing is interpolated."])


def _path(frame: _Frame, steps: Sequence[Step]) -> str:
    """Horizontal at each count, vertical at each end."""
    pieces: list[str] = []
    for step in steps:
        height = f"{frame.y(step.count):g}"
        pieces.append(f"V{height}" if pieces else f"M{_LEFT:g} {height}")
        pieces.append(f"H{frame.x(step.end):g}")
    if steps and steps[-1].end < frame.end:
        pieces.append(f"V{frame.y(0):g}H{frame.x(frame.end):g}")
    return "".join(pieces)


def _axes(frame: _Frame, space: str) -> list[Markup]:
    left, right, base = _LEFT, frame.width - _RIGHT, frame.y(0)
    parts: list[Markup] = []
    for percent in (0, 20, 40, 60, 80, 100):
        y = frame.y(frame.n * percent / 100)
        parts += [
            tag("line", x1=left, x2=right, y1=y, y2=y, class_="grid", stroke="#ccc", stroke_width=0.6),
            _text(f"{percent} %", left - 8, y + 4, "end"),
        ]
    for tick in linear_ticks(frame.end, 8 if frame.width > 500 else 4):
        x = frame.x(tick)
        parts += [
            tag("line", x1=x, x2=x, y1=base, y2=base + 5, class_="axis", stroke="#000"),
            _text(tick_text(tick), x, base + 18, "middle"),
        ]
    middle = (_TOP + base) / 2
    share = tag(
        "text",
        f"share of {frame.n:,} samples",
        transform=f"translate(13 {middle:g}) rotate(-90)",
        text_anchor="middle",
        class_="name",
    )
    line = tag("path", d=f"M{left:g} {_TOP:g}V{base:g}H{right:g}", class_="axis", fill="none", stroke="#000")
    unit = _text(f"l2 radius in {_cut(space, 40)}", (left + right) / 2, base + 40, "middle", "name")
    return [*parts, line, share, unit]


def _marks(frame: _Frame, curve: Sequence[CurvePoint]) -> list[Markup]:
    """A line and a dot at every asked radius, its share beside it where there is room."""
    parts: list[Markup] = []
    shown = [point for point in sorted(curve, key=lambda p: p.eps) if point.eps <= frame.end]
    places = [frame.x(point.eps) for point in shown]
    taken = float(_LEFT)  # up to here a mark or a label stands
    for index, point in enumerate(shown):
        x, y = places[index], frame.y(point.certified_count)
        after = places[index + 1] if index + 1 < len(places) else frame.width
        parts += [
            tag("line", x1=x, x2=x, y1=y, y2=frame.y(0), class_="asked", stroke="#000", **_DOTTED),
            tag("circle", cx=x, cy=y, r=4, class_="dot", fill="#fff", stroke="#000", stroke_width=2),
        ]
        # A label may stand above no other mark: it would be read as that one's.
        place = (x + 8, "start") if after - x >= _ROOM else (x - 8, "end") if x - taken >= _ROOM else None
        if place is not None:
            label = percent_down(point.certified_count, point.n)
            parts.append(_text(label, place[0], max(y - 8, _TOP + 4), place[1], "value"))
        taken = x + (_ROOM if place is not None and place[1] == "start" else 0.0)
    return parts


_DOTTED: Drawn = {"stroke_width": 1.0, "stroke_dasharray": "1.5 3"}


def _legend(frame: _Frame) -> list[Markup]:
    wide = frame.width > 500
    x1, x2, x3 = (_LEFT, _LEFT + 160, _LEFT + 430) if wide else (_LEFT, _LEFT + 132, _LEFT)
    low = 14.0 if wide else 30.0
    return [
        tag("line", x1=x1, x2=x1 + 26, y1=14, y2=14, class_="proved", stroke="#000", stroke_width=2.0),
        _text("certified (proved)", x1 + 32, 18, "start"),
        tag("line", x1=x2 + 10, x2=x2 + 36, y1=14, y2=14, class_="possible", **_DASHED),
        _text("at most (no method can exceed)" if wide else "at most, any method", x2 + 42, 18, "start"),
        tag("circle", cx=x3 + 13, cy=low, r=4, class_="dot", fill="#fff", stroke="#000", stroke_width=2),
        _text("asked radius", x3 + 32 if not wide else x3 + 24, low + 4, "start"),
    ]


def _text(text: str, x: float, y: float, anchor: str, class_: str | None = None) -> Markup:
    return tag(
        "text", text, x=x, y=y, text_anchor=anchor, class_=class_, **(HALO if class_ == "value" else {})
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
