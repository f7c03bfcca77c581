"""The table of layers on the terminal screen: as many columns as fit, and no number ever cut.

Columns come in the order of what a reader needs first (`_ORDER`); the first one that does not fit ends the
table's row.  Names and other texts fold into further lines, numbers do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells
from rich.text import Text

from lipaudit.report.layer_rows import Row, rows
from lipaudit.report.model import Evidence
from lipaudit.report.number import Number
from lipaudit.report.wording import NOT_ANALYSED, bound_text, estimate_text, printable, shape_text, slack_text

__all__ = ["layer_table"]

GAP = 2
"""Columns between two cells."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of texts is `least` wide if they are longer, and `most` at best; one of numbers as it must be.

    Args:
        place: from left to right.
        since: the screen's width from which it is shown.
    """

    title: str
    place: int
    cell: Callable[[Row, Evidence], str]
    least: int = 0
    most: int = 0
    since: int = 0

    @property
    def is_text(self) -> bool:
        return self.most > 0

    def widths(self, cells: Sequence[str]) -> tuple[int, int]:
        """What it needs, and what it would like to have."""
        natural = max(map(cell_len, (self.title, *cells)))
        if not self.is_text:
            return natural, natural
        return min(natural, self.least), min(natural, self.most)


def layer_table(evidence: Evidence, *, width: int, all_layers: bool = False) -> Iterator[Text]:
    """Lines: one row per layer, part or path.

    Args:
        evidence: whose layers.
        width: of the screen.
        all_layers: whether a long network is shown in full.
    """
    shown = rows(evidence, all_layers=all_layers)
    cells = {c.title: [c.cell(row, evidence) for row in shown] for c in _ORDER}
    columns, widths = _fitted(cells, width)
    for line in _lines([c.title for c in columns], columns, widths, ("", "")):
        yield _unfolded(line)
    yield _unfolded("─" * (sum(widths) + GAP * (len(widths) - 1)))
    for number, row in enumerate(shown):
        entries = [cells[c.title][number] for c in columns]
        for line in _lines(entries, columns, widths, row.margin):
            yield _unfolded(line, _style(row))


def _fitted(cells: dict[str, list[str]], width: int) -> tuple[list[_Column], list[int]]:
    """The columns that fit, from left to right, and their widths."""
    taken: list[_Column] = []
    left = width + GAP
    for column in _ORDER:
        least, _ = column.widths(cells[column.title])
        if not any(cells[column.title]):  # where no layer tells its line of source, for example
            continue
        if column.since > width or (taken and left < least + GAP):
            break
        taken.append(column)
        left -= least + GAP
    wide = {}
    for column in taken:
        least, most = column.widths(cells[column.title])
        more = min(max(left, 0), most - least)
        wide[column.title] = least + more
        left -= more
    taken.sort(key=lambda c: c.place)
    return taken, [wide[c.title] for c in taken]


def _lines(
    entries: Sequence[str], columns: Sequence[_Column], widths: Sequence[int], margin: tuple[str, str]
) -> Iterator[str]:
    """One row's lines."""
    folded = []
    for number, (text, wide) in enumerate(zip(entries, widths, strict=True)):
        first, further = margin if number == 0 else ("", "")
        pieces = chop_cells(text.removeprefix(first), wide - cell_len(first)) or [""]
        folded.append([(further if k else first) + piece for k, piece in enumerate(pieces)])
    for k in range(max(map(len, folded))):
        line = []
        for pieces, column, wide in zip(folded, columns, widths, strict=True):
            piece = pieces[k] if k < len(pieces) else ""
            space = " " * (wide - cell_len(piece))
            line.append(piece + space if column.is_text else space + piece)
        yield (" " * GAP).join(line).rstrip()


def _unfolded(line: str, style: str = "") -> Text:
    """A line that is as long as it is meant to be, however wide the text around it is."""
    return Text(line, style=style, no_wrap=True, overflow="ignore")


def _style(row: Row) -> str:
    bounded = row.block or row.layer
    if bounded is None:
        return "dim"
    if bounded.upper.value is None:
        return "bold red"
    return "bold" if row.block is not None else ""


def _label(row: Row, _: Evidence) -> str:
    return row.margin[0] + row.label


def _upper(row: Row, _: Evidence) -> str:
    bounded = row.block or row.layer
    return "" if bounded is None else bound_text(bounded.upper)


def _lower(row: Row, _: Evidence) -> str:
    if row.block is not None:
        return NOT_ANALYSED
    return "" if row.layer is None else estimate_text(row.layer.lower)


def _slack(row: Row, _: Evidence) -> str:
    if row.block is not None:
        return NOT_ANALYSED
    return "" if row.layer is None else slack_text(row.layer.slack)


def _running(row: Row, evidence: Evidence) -> str:
    found: Number | None = None
    if row.layer is not None:
        found = row.layer.running
    elif row.block is not None:
        found = next((n.running for n in evidence.layers if n.name == row.block.end), None)
    return "" if found is None else bound_text(found)


def _method(row: Row, _: Evidence) -> str:
    if row.block is not None:
        return printable(row.block.rule)
    return "" if row.layer is None else printable(row.layer.method)


def _shape(row: Row, _: Evidence) -> str:
    return "" if row.layer is None or not row.layer.shape else shape_text(row.layer.shape[1:])


def _origin(row: Row, _: Evidence) -> str:
    return "" if row.layer is None or row.block is not None else printable(row.layer.origin)


_ORDER = (
    _Column("layer", 0, _label, least=18, most=48),
    _Column("upper", 3, _upper),
    _Column("running", 5, _running),
    _Column("lower", 2, _lower),
    _Column("op", 1, lambda row, _: row.op, least=10, most=16),
    _Column("slack", 4, _slack),
    _Column("method", 6, _method, least=12, most=20),
    _Column("shape", 7, _shape, least=8, most=16, since=120),
    _Column("origin", 8, _origin, least=8, most=32, since=120),
)
"""What is shown first where not everything fits."""
