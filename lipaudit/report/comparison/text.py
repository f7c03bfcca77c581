"""The screen of a comparison: one table of what is proved, one of what was measured, the verdict last.

No number is cut and no column left out: what does not fit into one table goes into a further one, in which
the models' names stand again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len, chop_cells
from rich.console import RenderableType
from rich.text import Text

from lipaudit.errors import ExitCode
from lipaudit.report.comparison import words
from lipaudit.report.comparison.columns import Column, measured_columns, proved_columns
from lipaudit.report.comparison.record import Comparison
from lipaudit.report.screen import part, screen_lines
from lipaudit.report.text import WIDTH
from lipaudit.report.wording import printable

__all__ = ["to_text"]

_GAP = 2
_NAME = (40, 30, 24, 18)
"""Columns that a name may get."""


def to_text(comparison: Comparison, *, width: int = WIDTH, failed: ExitCode | None = None) -> str:
    """The whole screen as one string that ends with a newline.

    Args:
        comparison: what to show.
        width: columns, at least 60; lines are folded to it.
        failed: as in `words.ending`.
    """
    lines = screen_lines(_blocks(comparison, width), width=width)
    return "\n".join([*lines, words.ending(comparison, failed)]) + "\n"


def _blocks(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    yield part("compared", [_text(words.data_line(comparison))])
    yield part("machine", [_text(words.machine_line(comparison))])
    for title, columns in (
        ("proved", proved_columns(comparison)),
        ("measured", measured_columns(comparison)),
    ):
        yield from map(_unfolded, _tables(title, columns, comparison, width))
    yield Text()
    yield part("measured", map(_text, words.measured_lines(comparison)))
    yield part("notes", map(_text, words.notes(comparison)))
    yield part("incomplete", _problems(comparison))
    yield Text()


def _problems(comparison: Comparison) -> Iterator[Text]:
    for row, reason in words.problems(comparison):
        yield _text(f"{row.name} (exit {row.exit_code}): {reason}")
        if row.problem is not None and row.problem.hint:
            yield _text(f"  → {row.problem.hint}")


def _tables(title: str, columns: Sequence[Column], comparison: Comparison, width: int) -> Iterator[str]:
    """Lines of as many tables as it takes, an empty one before each."""
    left = [title, *(printable(row.name) for row in comparison.models)]
    cells = [[column.title, *map(column.cell, comparison.models)] for column in columns]
    wide = [max(map(cell_len, column)) for column in cells]
    natural = max(map(cell_len, left))
    # A name is folded where that saves a table, or where there is no room for it.
    name = min((min(natural, most) for most in _NAME), key=lambda n: len(_shared(wide, width - n)))
    for start, end in _shared(wide, width - name):
        yield ""
        for number, text in enumerate(left):
            entries = [column[number].rjust(wide[start + k]) for k, column in enumerate(cells[start:end])]
            yield from _row(text, entries, name)
            if number == 0:
                yield "─" * (name + sum(w + _GAP for w in wide[start:end]))


def _shared(wide: Sequence[int], room: int) -> list[tuple[int, int]]:
    """Which columns, from and to, share a table; each has at least one."""
    found, start, taken = [], 0, 0
    for number, width in enumerate(wide):
        if number > start and taken + width + _GAP > room:
            found.append((start, number))
            start, taken = number, 0
        taken += width + _GAP
    return [*found, (start, len(wide))]


def _row(text: str, entries: Iterable[str], name: int) -> Iterator[str]:
    """A row whose name may take several lines."""
    first, *rest = chop_cells(text, name) or [""]
    yield (" " * _GAP).join([first + " " * (name - cell_len(first)), *entries]).rstrip()
    yield from rest


def _unfolded(line: str) -> Text:
    return Text(line, no_wrap=True, overflow="ignore")


def _text(words_: str) -> Text:
    return Text(printable(words_))
