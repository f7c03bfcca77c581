"""Parts of a terminal screen: blocks of lines with a label in the left margin, folded to a width."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import StringIO

from rich.cells import cell_len, chop_cells
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["LABEL", "folded", "part", "screen_lines"]

LABEL = 11
"""Columns of the left margin in which each part is named."""
_PROSE = 120  # sentences on longer lines are hard to read; tables may be wider


def part(label: str, lines: Iterable[RenderableType]) -> Table:
    """Lines with their label in the left margin; nothing if there is no line."""
    grid = Table.grid(padding=(0, 0), expand=True)
    grid.add_column(width=LABEL, no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    for number, line in enumerate(lines):
        grid.add_row(Text(label, style="bold") if number == 0 else Text(), line)
    return grid


def screen_lines(blocks: Iterable[RenderableType], *, width: int, colour: bool = False) -> list[str]:
    """The lines of these blocks, without spaces at their ends.

    Args:
        blocks: in order.
        width: columns; prose is folded to it.
        colour: whether to add ANSI styles.
    """
    console = Console(
        file=StringIO(),
        width=min(width, _PROSE),
        color_system="standard" if colour else None,
        force_terminal=colour,
        no_color=not colour,
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
        _environ={},
    )
    with console.capture() as capture:
        for block in blocks:
            console.print(block, crop=False)
    return [line.rstrip() for line in capture.get().splitlines()]


def folded(text: str, width: int, indent: str = "") -> Iterator[str]:
    """One sentence as lines of at most so many columns, folded at blanks; only longer words are cut.

    Args:
        text: without line ends.
        width: columns; sentences use no more than can be read.
        indent: of the first line; the others have two columns more.
    """
    line, room = indent, min(width, _PROSE)
    deeper = indent + "  "
    for word in text.split():
        fits = cell_len(line) + 1 + cell_len(word) <= room
        if line.strip() and not fits:
            yield line
            line = deeper
        pieces = chop_cells(word, room - cell_len(deeper))
        for piece in pieces[:-1]:
            yield line + piece
            line = deeper
        line += f" {pieces[-1]}" if line.strip() else pieces[-1]
    yield line
