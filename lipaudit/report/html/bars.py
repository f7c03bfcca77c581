"""Brackets on a logarithmic axis, drawn into cells of a table: the numbers stand beside them.

Each cell has a picture of its own, as wide as the cell, with places in percent; so rows wrap and pages shrink
without a letter getting smaller.  The pictures repeat what the row says and are hidden from screen readers.
"""

from __future__ import annotations

from collections.abc import Iterable

from lipaudit.report.html.axis import LogAxis, tick_text
from lipaudit.report.html.markup import Markup, tag
from lipaudit.report.number import Number
from lipaudit.report.wording import bound_text, estimate_text

__all__ = ["at_least", "at_most", "chart", "grid", "move", "row", "saved", "span"]

_HEIGHT = 30
_MIDDLE = _HEIGHT / 2
_LONGEST = 120
_TIP = 4.0  # percent of the axis that an arrow needs for its head


def chart(caption: str, heads: tuple[str, str, str], axis: LogAxis, rows: Iterable[Markup]) -> Markup:
    """A table with a column of pictures.

    Args:
        caption: what it shows.
        heads: of the names, the axis and the numbers.
        axis: of the pictures.
        rows: from `row`.
    """
    first, label, last = heads
    head = tag(
        "tr",
        tag("th", first, scope="col", role="columnheader"),
        tag("th", _axis_head(axis, label), scope="col", role="columnheader", class_="picture-cell"),
        tag("th", last, scope="col", role="columnheader", class_="num"),
        role="row",
    )
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", head, role="rowgroup"),
        tag("tbody", *rows, role="rowgroup"),
        role="table",
        class_="bars",
    )


def row(
    name: tuple[str, str], parts: Iterable[Markup], numbers: tuple[str, str], class_: str | None = None
) -> Markup:
    """One row; roles are spelt out because small screens lay it out anew.

    Args:
        name: and a remark under it, perhaps empty.
        parts: of the picture.
        numbers: the upper, and the lower or a remark under it, perhaps empty.
        class_: for the style sheet.
    """
    picture = tag("svg", *parts, width="100%", height=_HEIGHT, aria_hidden="true")
    return tag(
        "tr",
        tag("th", _shortened(name[0]), _small(_shortened(name[1])), scope="row", role="rowheader"),
        tag("td", picture, role="cell", class_="picture-cell"),
        tag("td", numbers[0], _small(numbers[1]), role="cell", class_="num"),
        role="row",
        class_=class_,
    )


def _shortened(text: str) -> str:
    """Without its middle if it is very long; names differ at their ends, and tables hold them whole."""
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} … {text[-half:]}"


def _small(text: str) -> Markup | None:
    return tag("small", text) if text else None


def _axis_head(axis: LogAxis, label: str) -> Markup:
    texts = [
        tag("text", tick_text(tick), x=_percent(axis, tick), y=13, text_anchor=_anchor(axis, tick))
        for tick in axis.ticks
    ]
    picture = tag("svg", *texts, width="100%", height=18, aria_hidden="true", class_="ticks")
    return tag("div", tag("span", label), picture)


def grid(axis: LogAxis) -> list[Markup]:
    """The axis's ticks as faint lines, 1 (a change passes unchanged) as a stronger one."""
    return [
        tag("line", x1=place, x2=place, y1=0, y2=_HEIGHT, class_="one" if tick == 1 else "grid")
        for tick in dict.fromkeys((*axis.ticks, 1.0))
        for place in [_percent(axis, tick)]
    ]


def span(axis: LogAxis, lower: float | None, upper: float | None, class_: str = "range") -> list[Markup]:
    """From what was witnessed to what was proved, with a thin line from 1 to there.

    Without an upper end it runs off the axis, dashed, with an arrow; without a lower end only the upper one
    is marked, as a diamond.
    """
    if upper is None:
        start = "0" if not lower else _percent(axis, lower)
        return [
            tag("line", x1=start, x2="97%", y1=_MIDDLE, y2=_MIDDLE, class_="endless"),
            tag("text", "▶", x="100%", y=_MIDDLE + 5, text_anchor="end", class_="endless-tip"),
        ]
    right = _percent(axis, upper)
    if lower is None:
        return [tag("text", "◆", x=right, y=_MIDDLE + 5, text_anchor="middle", class_=f"{class_} only")]
    left = _percent(axis, lower)
    return [
        tag("line", x1=_percent(axis, 1.0), x2=left, y1=_MIDDLE, y2=_MIDDLE, class_="stem"),
        tag("line", x1=left, x2=right, y1=_MIDDLE, y2=_MIDDLE, class_=class_),
        *(
            tag("line", x1=x, x2=x, y1=_MIDDLE - 7, y2=_MIDDLE + 7, class_=f"{class_} cap")
            for x in dict.fromkeys((left, right))
        ),
    ]


def saved(axis: LogAxis, upper: float, plain: float | None) -> list[Markup]:
    """A dotted line to what the layers by themselves would have given."""
    end = "100%" if plain is None else _percent(axis, plain)
    return [tag("line", x1=_percent(axis, upper), x2=end, y1=_MIDDLE, y2=_MIDDLE, class_="saved")]


def move(axis: LogAxis, before: float, after: float | None) -> list[Markup]:
    """A step of a running bound: an arrow from one value to the next."""
    if after is None:
        return span(axis, before, None)
    left, right = _percent(axis, before), _percent(axis, after)
    if left == right:
        return [tag("line", x1=left, x2=left, y1=4, y2=_HEIGHT - 4, class_="stay")]
    grows = after > before
    kind = "up" if grows else "down"
    line = tag("line", x1=left, x2=right, y1=_MIDDLE, y2=_MIDDLE, class_=kind)
    if abs(axis.place(after) - axis.place(before)) < _TIP:
        return [line, tag("line", x1=right, x2=right, y1=_MIDDLE - 7, y2=_MIDDLE + 7, class_=kind)]
    tip, anchor = ("▶", "end") if grows else ("◀", "start")
    return [
        line,
        tag("text", tip, x=right, y=_MIDDLE + 5, text_anchor=anchor, class_=f"{kind}-tip"),
    ]


def at_most(number: Number) -> str:
    """An upper end beside its bar; no `≤` before what is no number."""
    return bound_text(number) if number.value is None else f"≤ {bound_text(number)}"


def at_least(number: Number) -> str:
    """A lower end beside its bar."""
    return estimate_text(number) if number.value is None else f"≥ {estimate_text(number)}"


def _percent(axis: LogAxis, value: float) -> str:
    return f"{axis.place(value):.5g}%"


def _anchor(axis: LogAxis, value: float) -> str:
    place = axis.place(value)
    return "start" if place < 6 else "end" if place > 94 else "middle"
