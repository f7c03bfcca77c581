"""The picture of certified accuracy against radius: a step curve, in the page and by itself.

Heights are rounded down (`frame`), so that no pixel claims more than is proved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lipaudit.report.html.frame import DOT, LEFT, Drawn, Frame, words
from lipaudit.report.html.markup import Markup, tag
from lipaudit.report.html.steps import Step, possible_steps, proved_steps, radii_of
from lipaudit.report.model import CurvePoint, Evidence, Robustness
from lipaudit.report.wording import eps_text, percent_down

__all__ = ["axis_end", "beyond_axis", "curve_picture", "outline"]

_ROOF = 40.0  # room for the legend in one line
_ROOF_NARROW = 56.0  # and in two
_FAR = 6.0  # asked radii so many times as far as the largest certified one would squeeze the curve to a line
_ROOM = 60.0  # that a label takes


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
    frame = _frame(size, end, robustness.clean_accuracy.n)
    line = outline(frame, robustness)
    parts = (
        *_axes(frame, evidence.preprocessing.threat_space, robustness.clean_accuracy.n),
        tag("path", d=f"{line}V{frame.y(0):g}H{LEFT:g}Z", class_="area", fill="none") if line else None,
        tag("path", d=_path(frame, possible_steps(robustness, end)), class_="possible", **_DASHED),
        tag("path", d=line, **_PROVED) if line else None,
        *_marks(frame, robustness, end),
        *_legend(frame),
    )
    title = "Certified accuracy against l2 radius"
    return frame.picture(parts, title, description(robustness), anchor, class_)


def outline(frame: Frame, robustness: Robustness) -> str:
    """The path of what is proved, up to the end of the axis; empty if nothing is."""
    end = frame.end
    proved = [s if s.end <= end else Step(end, s.count) for s in proved_steps(robustness)]
    return _path(frame, proved[: next((k + 1 for k, s in enumerate(proved) if s.end >= end), len(proved))])


def _frame(size: tuple[int, int], end: float, n: int) -> Frame:
    width, height = size
    wide = Frame(width, height, end, n, _ROOF)
    return wide if wide.is_wide else Frame(width, height, end, n, _ROOF_NARROW)


_PROVED: Drawn = {"class_": "proved", "fill": "none", "stroke": "#000", "stroke_width": 2.0}
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


def _path(frame: Frame, steps: Sequence[Step]) -> str:
    """Horizontal at each count, vertical at each end."""
    pieces: list[str] = []
    for step in steps:
        height = f"{frame.y(step.count):g}"
        pieces.append(f"V{height}" if pieces else f"M{LEFT:g} {height}")
        pieces.append(f"H{frame.x(step.end):g}")
    if steps and steps[-1].end < frame.end:
        pieces.append(f"V{frame.y(0):g}H{frame.x(frame.end):g}")
    return "".join(pieces)


def _axes(frame: Frame, space: str, n: int) -> list[Markup]:
    base = frame.y(0)
    share = tag(
        "text",
        f"share of {n:,} samples",
        transform=f"translate(13 {(frame.roof + base) / 2:g}) rotate(-90)",
        text_anchor="middle",
        class_="name",
    )
    side = tag("path", d=f"M{LEFT:g} {frame.roof:g}V{base:g}", class_="axis", fill="none", stroke="#000")
    ticks = [(n * percent / 100, f"{percent} %") for percent in (0, 20, 40, 60, 80, 100)]
    return [
        *frame.heights(ticks),
        side,
        share,
        *frame.radii(f"l2 radius in {_cut(space, 40 if frame.is_wide else 26)}"),
    ]


def _marks(frame: Frame, robustness: Robustness, end: float) -> list[Markup]:
    """A line and a dot at every asked radius, its share beside it where there is room."""
    parts: list[Markup] = []
    possible = possible_steps(robustness, end)
    shown = [point for point in sorted(robustness.curve, key=lambda p: p.eps) if point.eps <= frame.end]
    places = [frame.x(point.eps) for point in shown]
    taken = LEFT  # up to here a mark or a label stands
    for index, point in enumerate(shown):
        x, y = places[index], frame.y(point.certified_count)
        after = places[index + 1] if index + 1 < len(places) else frame.width
        parts += [
            tag("line", x1=x, x2=x, y1=y, y2=frame.y(0), class_="asked", stroke="#000", **_DOTTED),
            tag("circle", cx=x, cy=y, **DOT),
        ]
        # A label may stand above no other mark: it would be read as that one's.
        place = (x + 8, "start") if after - x >= _ROOM else (x - 8, "end") if x - taken >= _ROOM else None
        if place is not None:
            label = percent_down(point.certified_count, point.n)
            above = frame.y(_possible_beside(possible, point.eps, before=place[1] == "end"))
            parts.append(words(label, place[0], _label_height(frame, y, above), place[1], "value"))
        taken = x + (_ROOM if place is not None and place[1] == "start" else 0.0)
    return parts


def _possible_beside(steps: Sequence[Step], eps: float, *, before: bool) -> int:
    """What no method can exceed just before or just behind a radius."""
    return next((step.count for step in steps if (eps <= step.end if before else eps < step.end)), 0)


def _label_height(frame: Frame, dot: float, dashed: float) -> float:
    """Over the dot, and over the dashed line where that would run through the digits."""
    height = max(dot - 8, frame.roof + 4)
    return dashed - 6 if height - _DIGITS < dashed < height + 3 else height


_DIGITS = 12.0  # how high they are
_DOTTED: Drawn = {"stroke_width": 1.0, "stroke_dasharray": "1.5 3"}


def _legend(frame: Frame) -> list[Markup]:
    """One line where there is room, else what is proved and the asked radii above what is possible."""
    low = 14.0 if frame.is_wide else 34.0
    possible, asked = (LEFT + 170, LEFT + 430) if frame.is_wide else (LEFT, LEFT + 170)
    return [
        tag("line", x1=LEFT, x2=LEFT + 26, y1=14, y2=14, **_PROVED),
        words("certified (proved)", LEFT + 32, 18, "start"),
        tag("line", x1=possible, x2=possible + 26, y1=low, y2=low, class_="possible", **_DASHED),
        words("at most (no method can exceed)", possible + 32, low + 4, "start"),
        tag("circle", cx=asked + 13, cy=14, **DOT),
        words("asked radius", asked + 24, 18, "start"),
    ]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
