"""Elements of HTML and SVG, built as a tree: whatever is text stays text.

`tag("p", "a < b", class_="note")` is `<p class="note">a &lt; b</p>`.  Text and attribute values go through
`printable` here and are escaped by the serialiser, so that no name from a model file can become markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from lipaudit.report.wording import printable

__all__ = [
    "Child",
    "Markup",
    "heading",
    "html_document",
    "scrolling",
    "stacking",
    "svg_document",
    "table",
    "tag",
    "tagged",
]

Markup = ET.Element
Child = Markup | str | None
"""Text, an element, or nothing."""

_LINES = frozenset({"html", "head", "body", "main", "header", "footer", "nav", "section", "figure", "div"})
_LINES |= {"p", "ul", "ol", "li", "dl", "dt", "dd", "table", "caption", "thead", "tbody", "tr", "details"}
_LINES |= {"summary", "h1", "h2", "h3", "meta", "title", "style", "svg", "g", "link", "figcaption", "desc"}
"""Elements that end a line: a page of one line could be neither compared nor read."""


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """An element.

    Args:
        name: of the element.
        children: text and elements in order; None is left out.
        attributes: `class_` is `class`, other underscores are hyphens; None is left out, numbers have at most
            two decimals.
    """
    made = ET.Element(name)
    for key, value in attributes.items():
        if value is not None:
            made.set(key.rstrip("_").replace("_", "-"), _attribute(value))
    last: Markup | None = None
    for child in children:
        if isinstance(child, str):
            if last is None:
                made.text = (made.text or "") + printable(child)
            else:
                last.tail = (last.tail or "") + printable(child)
        elif child is not None:
            made.append(child)
            last = child
    if name in _LINES:
        made.tail = "\n"
    return made


def tagged(name: str, texts: Iterable[Child], **attributes: str | float | None) -> list[Markup]:
    """One element per text, all alike."""
    return [tag(name, text, **attributes) for text in texts]


def heading(level: int, text: str, anchor: str | None = None) -> Markup:
    """A heading, h1 to h3."""
    return tag(f"h{level}", text, id=anchor)


def table(
    caption: Child, columns: Iterable[str], rows: Iterable[Iterable[Child]], class_: str | None = None
) -> Markup:
    """A table whose first column names its rows.

    Args:
        caption: what it shows.
        columns: headings; one that starts with `#` is a column of numbers, set to the right.
        rows: cells, as many as there are columns.
        class_: for the style sheet.
    """
    heads = list(columns)
    kinds = ["num" if head.startswith("#") else None for head in heads]
    top = [
        tag("th", head.removeprefix("#"), scope="col", class_=kind)
        for head, kind in zip(heads, kinds, strict=True)
    ]
    body = []
    for row in rows:
        first, *rest = row
        cells = [tag("td", cell, class_=kind) for cell, kind in zip(rest, kinds[1:], strict=True)]
        body.append(tag("tr", tag("th", first, scope="row", class_=kinds[0]), *cells))
    return tag(
        "table",
        tag("caption", tag("span", caption)),
        tag("thead", tag("tr", *top)),
        tag("tbody", *body),
        class_=class_,
    )


def stacking(caption: Child, columns: Iterable[str], rows: Iterable[Iterable[Child]]) -> Markup:
    """A table of few rows that a small screen shows row by row, each cell behind its column's name.

    Roles are spelt out because there it is laid out as something else, which would take them away.

    Args:
        caption: as in `table`.
        columns: as in `table`.
        rows: as in `table`; a cell holds a text or one element.
    """
    heads = list(columns)
    made = table(caption, heads, rows, "stacks")
    made.set("role", "table")
    for part in made.iter():
        role = _ROLES.get(part.tag)
        if role:
            part.set("role", "rowheader" if part.get("scope") == "row" else role)
    for row in made.iter("tr"):
        for head, cell in zip(heads, row, strict=True):
            if cell.tag == "td":
                cell.set("data-head", _attribute(head.removeprefix("#")))
    return made


_ROLES = {"thead": "rowgroup", "tbody": "rowgroup", "tr": "row", "th": "columnheader", "td": "cell"}


def scrolling(content: Markup, label: str) -> Markup:
    """A wide table in a box of its own, which the keyboard can reach and scroll."""
    return tag("div", content, class_="scroll", role="region", aria_label=label, tabindex="0")


def html_document(root: Markup) -> str:
    """The text of a page."""
    return f"<!doctype html>\n{ET.tostring(root, encoding='unicode', method='html').rstrip()}\n"


def svg_document(root: Markup) -> str:
    """The text of a picture by itself."""
    root.set("xmlns", "http://www.w3.org/2000/svg")
    text = ET.tostring(root, encoding="unicode").rstrip()
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _attribute(value: str | float) -> str:
    if isinstance(value, str):
        return printable(value)
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
