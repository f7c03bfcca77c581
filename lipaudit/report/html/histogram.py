"""How the certified radii are distributed: bars over ranges of radii, and a table of the same counts."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

from lipaudit.report.html.axis import linear_ticks, tick_text
from lipaudit.report.html.frame import LEFT, Drawn, Frame, words
from lipaudit.report.html.markup import Markup, tag
from lipaudit.report.html.steps import radii_of
from lipaudit.report.model import Robustness
from lipaudit.report.wording import radius_text

__all__ = ["Bins", "bins_of", "histogram_picture"]

_MOST = 30
_ROOF = 34.0  # room for the median's number
_NONE = 52.0  # width of the bar of samples without a certificate, and the gap behind it


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
    width, height = size
    most = 1.08 * max(*bins.counts, bins.none, 1)
    frame = Frame(width, height, bins.edges[-1], most, _ROOF, LEFT + _NONE)
    parts = (
        *frame.heights((tick, tick_text(tick)) for tick in linear_ticks(most, 5)),
        *_bars(frame, bins),
        *_without(frame, bins.none),
        *_median(frame, robustness),
        *frame.radii("certified l2 radius"),
        words("samples", 10, 14, "start"),
    )
    title = "How many samples have which certified radius"
    return frame.picture(parts, title, _description(bins, robustness), anchor, class_)


def _bars(frame: Frame, bins: Bins) -> list[Markup]:
    parts = []
    for low, high, count in zip(bins.edges, bins.edges[1:], bins.counts, strict=False):
        left, top = frame.x(low) + 0.5, frame.y(count)
        width, height = frame.x(high) - left - 0.5, frame.base - top
        if count:
            parts.append(tag("rect", class_="bar", x=left, width=width, y=top, height=height))
    return parts


def _without(frame: Frame, count: int) -> list[Markup]:
    """The bar of samples that have no certificate."""
    left, width, top = LEFT + 6, _NONE - 24, frame.y(count)
    middle = left + width / 2
    parts = [
        words("none", middle, frame.base + 18, "middle"),
        words(f"{count:,}", middle, top - 5, "middle", "value"),
    ]
    box: Drawn = {"x": left, "width": width, "y": top, "height": frame.base - top, "stroke_dasharray": "3 2"}
    return [tag("rect", class_="none", **box), *parts] if count else parts


def _median(frame: Frame, robustness: Robustness) -> list[Markup]:
    median = robustness.median_radius
    if not isinstance(median, float) or median == 0:
        return []
    place = frame.x(median)
    label = (place - 6, "end") if place + 110 > frame.right else (place + 6, "start")
    text = f"median {radius_text(median)}"
    line: Drawn = {"x1": place, "x2": place, "y1": _ROOF - 8, "y2": frame.base, "stroke_dasharray": "5 3"}
    return [
        tag("line", class_="median", **line),
        words(text, label[0], _ROOF - 10, label[1], "value"),
    ]


def _description(bins: Bins, robustness: Robustness) -> str:
    told = [f"{bins.none:,} of {robustness.clean_accuracy.n:,} samples have no certificate."]
    if bins.without_end:
        told.append(f"{bins.without_end:,} keep their answer at every distance.")
    told.append(f"The median radius is {radius_text(robustness.median_radius)}.")
    return " ".join(told)
