"""The frame of a picture over l2 radii: where a radius and a count lie, both axes with their ticks.

Everything is drawn in black by attributes, which any style sheet overrides: the same picture is a figure of
a paper and part of a page that has a dark side.  Places are rounded to the left and downwards, so that no
pixel claims more than is proved.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from lipaudit.report.html.axis import linear_ticks, tick_text
from lipaudit.report.html.markup import Markup, tag

__all__ = ["DOT", "FONT", "LEFT", "Drawn", "Frame", "words"]

LEFT, _RIGHT, _BOTTOM = 66.0, 18.0, 50.0
_WIDE = 500.0  # from this width on there is room for twice as many ticks
Drawn = dict[str, str | float | None]
"""Attributes of a line or a text."""
_HALO: Drawn = {"paint_order": "stroke", "stroke": "#fff", "stroke_width": 4.0}
"""Keeps a number legible over lines."""
DOT: Drawn = {"r": 4, "class_": "dot", "fill": "#fff", "stroke": "#000", "stroke_width": 2}
"""A mark on a curve."""
FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Frame:
    """From radii and counts to coordinates.

    Args:
        width: of the picture.
        height: of the picture.
        end: the largest radius that is shown, > 0.
        most: the largest count that is shown, > 0.
        roof: where that count lies, from above; what stands over it is the picture's own.
        start: where radius 0 lies, from the left.
    """

    width: float
    height: float
    end: float
    most: float
    roof: float
    start: float = LEFT

    @property
    def is_wide(self) -> bool:
        """Whether it is drawn for a desk, in contrast to a phone."""
        return self.width > _WIDE

    @property
    def right(self) -> float:
        """Where the axis of radii ends."""
        return self.width - _RIGHT

    @property
    def base(self) -> float:
        """Where count 0 lies."""
        return self.height - _BOTTOM

    def x(self, radius: float) -> float:
        """From the left; radii beyond the end are put there."""
        inside = self.right - self.start
        return math.floor(100 * (self.start + inside * min(radius / self.end, 1.0))) / 100

    def y(self, count: float) -> float:
        """From above."""
        inside = self.base - self.roof
        return math.ceil(100 * (self.roof + inside * (1 - count / self.most))) / 100

    def heights(self, ticks: Iterable[tuple[float, str]]) -> list[Markup]:
        """The axis of counts: a faint line and a text at each."""
        parts: list[Markup] = []
        for count, text in ticks:
            y = self.y(count)
            line: Drawn = {"x1": LEFT, "x2": self.right, "y1": y, "y2": y}
            parts += [
                tag("line", class_="grid", stroke="#ccc", stroke_width=0.6, **line),
                words(text, LEFT - 8, y + 4, "end"),
            ]
        return parts

    def radii(self, label: str) -> list[Markup]:
        """The axis of radii, with what it is."""
        base = self.base
        parts = [tag("line", x1=LEFT, x2=self.right, y1=base, y2=base, class_="axis", stroke="#000")]
        for tick in linear_ticks(self.end, 8 if self.is_wide else 4):
            x = self.x(tick)
            parts += [
                tag("line", x1=x, x2=x, y1=base, y2=base + 5, class_="axis", stroke="#000"),
                words(tick_text(tick), x, base + 18, "middle"),
            ]
        return [*parts, words(label, (self.start + self.right) / 2, base + 40, "middle", "name")]

    def picture(
        self, parts: Iterable[Markup | None], title: str, told: str, anchor: str, class_: str | None
    ) -> Markup:
        """The whole picture.

        Args:
            parts: what is drawn, in order.
            title: what it is.
            told: what it shows, for those who do not see it.
            anchor: start of the identifiers within, unique in the page.
            class_: for the style sheet.
        """
        return tag(
            "svg",
            tag("title", title, id=f"{anchor}-title"),
            tag("desc", told, id=f"{anchor}-desc"),
            *parts,
            viewBox=f"0 0 {self.width:g} {self.height:g}",
            width=self.width,
            height=self.height,
            role="img",
            aria_labelledby=f"{anchor}-title {anchor}-desc",
            class_=class_,
            font_family=FONT,
            font_size=12,
        )


def words(text: str, x: float, y: float, anchor: str, class_: str | None = None) -> Markup:
    """A text; of class `value` it is a number that stays legible over lines."""
    halo = _HALO if class_ == "value" else {}
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_=class_, **halo)
