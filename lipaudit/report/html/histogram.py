"""How the certified radii are distributed: bars over ranges of radii, and a table of the same counts."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

from lipaudit.report.html.axis import linear_ticks, tick_text
from lipaudit.report.html.curve import FONT, HALO, Drawn
from lipaudit.report.html.markup import Markup, tag
from lipaudit.report.html.steps import radii_of
from lipaudit.report.model import Robustness
from lipaudit.report.wording import radius_text

__all__ = ["Bins", "bins_of", "histogram_picture"]

_MOST = 30
_LEFT, _RIGHT, _TOP, _BOTTOM = 66.0, 18.0, 34.0, 50.0
_NONE = 52.0  # width of the bar of samples without a certificate, and the gap behind it
_START = _LEFT + _NONE


@dataclass(frozen=True, slots=True)
class Bins:
    """Samples by radius.

    `counts[k]` of them have a radius from `edges[k]` (above 0 for the first) to below `edges[k + 1]`; `none`
    have none, and `without_end` can never change.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    none: int
    without_end: int


def bins_of(robustness: Robustness) -> Bins | None:
    """Ranges of round width; None where the report does not tell the radii."""
    radii = radii_of(robustness)
    if not radii:
        return None
    finite = [r for r in radii if 0 < r < math.inf]
    none, without_end = sum(r <= 0 for r in radii), sum(r == math.inf for r in radii)
    if not finite:
        return Bins((), (), none, without_end)
    edges = linear_ticks(finite[-1], _MOST)
    step = edges[1]
    while edges[-1] <= finite[-1]:
        edges.append(float(f"{len(edges) * step:.12g}"))
    counts = [0] * (len(edges) - 1)
    for radius in finite:
        counts[bisect_right(edges, radius) - 1] += 1
    return Bins(tuple(edges), tuple(counts), none, without_end)


@dataclass(frozen=True, slots=True)
class _Frame:
    """From radii and counts to coordinates."""

    width: float
    height: float
    end: float
    top: float

    @property
    def base(self) -> float:
        return self.height - _BOTTOM

    @property
    def right(self) -> float:
        return self.width - _RIGHT

    def x(self, radius: float) -> float:
        return _START + (self.right - _START) * min(radius / self.end, 1.0)

    def y(self, count: float) -> float:
        return self.base - (self.base - _TOP) * count / self.top


def histogram_picture(
    bins: Bins, robustness: Robustness, size: tuple[int, int], anchor: str, class_: str | None = None
) -> Markup:
    """The bars; samples without a certificate stand apart, on the left and dashed.

    Args:
        bins: with at least one range.
        robustness: for the median.
        size: width and height.
        anchor: start of the identifiers within.
        class_: for the style sheet.
    """
    frame = _Frame(*size, bins.edges[-1], 1.08 * max(*bins.counts, bins.none, 1))
    base, right = frame.base, frame.right
    unit = tag("text", "certified l2 radius", x=(_START + right) / 2, y=base + 40, text_anchor="middle")
    return tag(
        "svg",
        tag("title", "How many samples have which certified radius", id=f"{anchor}-title"),
        tag("desc", _description(bins, robustness), id=f"{anchor}-desc"),
        *_ticks(frame),
        *_bars(frame, bins),
        *_without(frame, bins.none),
        *_median(frame, robustness),
        tag("line", x1=_LEFT, x2=right, y1=base, y2=base, class_="axis", stroke="#000"),
        unit,
        tag("text", "samples", x=10, y=14),
        viewBox=f"0 0 {size[0]} {size[1]}",
        width=size[0],
        height=size[1],
        role="img",
        aria_labelledby=f"{anchor}-title {anchor}-desc",
        class_=class_,
        font_family=FONT,
        font_size=12,
    )


def _ticks(frame: _Frame) -> list[Markup]:
    parts: list[Markup] = []
    for tick in linear_ticks(frame.top, 5):
        y = frame.y(tick)
        parts += [
            tag("line", x1=_LEFT, x2=frame.right, y1=y, y2=y, class_="grid", stroke="#ccc"),
            tag("text", tick_text(tick), x=_LEFT - 8, y=y + 4, text_anchor="end"),
        ]
    for tick in linear_ticks(frame.end, 8 if frame.width > 500 else 4):
        parts.append(tag("text", tick_text(tick), x=frame.x(tick), y=frame.base + 18, text_anchor="middle"))
    return parts


def _bars(frame: _Frame, bins: Bins) -> list[Markup]:
    parts = []
    for low, high, count in zip(bins.edges, bins.edges[1:], bins.counts, strict=False):
        left, top = frame.x(low) + 0.5, frame.y(count)
        width, height = frame.x(high) - left - 0.5, frame.base - top
        if count:
            parts.append(tag("rect", class_="bar", x=left, width=width, y=top, height=height))
    return parts


def _without(frame: _Frame, count: int) -> list[Markup]:
    """The bar of samples that have no certificate."""
    left, width, top = _LEFT + 6, _NONE - 24, frame.y(count)
    middle = left + width / 2
    parts = [
        tag("text", "none", x=middle, y=frame.base + 18, text_anchor="middle"),
        tag("text", f"{count:,}", x=middle, y=top - 5, text_anchor="middle", class_="value", **HALO),
    ]
    box: Drawn = {"x": left, "width": width, "y": top, "height": frame.base - top, "stroke_dasharray": "3 2"}
    return [tag("rect", class_="none", **box), *parts] if count else parts


def _median(frame: _Frame, robustness: Robustness) -> list[Markup]:
    median = robustness.median_radius
    if not isinstance(median, float) or median == 0:
        return []
    place = frame.x(median)
    label = (place - 6, "end") if place + 110 > frame.right else (place + 6, "start")
    text = f"median {radius_text(median)}"
    line: Drawn = {"x1": place, "x2": place, "y1": _TOP - 8, "y2": frame.base, "stroke_dasharray": "5 3"}
    return [
        tag("line", class_="median", **line),
        tag("text", text, x=label[0], y=_TOP - 10, text_anchor=label[1], class_="value", **HALO),
    ]


def _description(bins: Bins, robustness: Robustness) -> str:
    told = [f"{bins.none:,} of {robustness.clean_accuracy.n:,} samples have no certificate."]
    if bins.without_end:
        told.append(f"{bins.without_end:,} keep their answer at every distance.")
    told.append(f"The median radius is {radius_text(robustness.median_radius)}.")
    return " ".join(told)
