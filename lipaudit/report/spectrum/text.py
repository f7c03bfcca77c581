"""The screen of a spectrum: a row for each layer, its values below it, the verdict last.

No number is cut.  The little bars show the largest values (with `--all` the whole spectrum) from 0 to the
certified bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from rich.cells import cell_len, chop_cells
from rich.text import Text

from lipaudit.errors import ExitCode
from lipaudit.report.screen import part, screen_lines
from lipaudit.report.spectrum import words
from lipaudit.report.spectrum.record import LayerSpectrum, Spectrum
from lipaudit.report.spectrum.sparkline import sparkline
from lipaudit.report.text import WIDTH
from lipaudit.report.wording import bound_text, printable, shape_text, slack_text

__all__ = ["to_text"]

_GAP = "  "
_INDENT = "    "
_LEAST = 14
"""Columns of a layer's name at least."""
_BARS, _MOST_BARS = 16, 64
"""Bars of a spectrum at least and at most, as there is room."""
_HEAD = ("layer", "bound", "slack", "spectrum")


def to_text(spectrum: Spectrum, *, width: int = WIDTH, failed: ExitCode | None = None) -> str:
    """The whole screen as one string that ends with a newline.

    Args:
        spectrum: what to show.
        width: columns, at least 60; lines are folded to it.
        failed: as in `words.ending`.
    """
    above = (part("model", [Text(printable(words.model_line(spectrum)))]), Text())
    below = (
        Text(),
        part("values", [Text(words.meaning(spectrum))]),
        part("notes", [Text(printable(note)) for note in words.notes(spectrum)]),
        Text(),
    )
    # Sentences are folded to a width that can be read, the table to the whole screen.
    lines = [
        *screen_lines(above, width=width),
        *_table(spectrum, width),
        *screen_lines(below, width=width),
    ]
    last = wrap(words.ending(spectrum, failed), width, break_on_hyphens=False, break_long_words=False)
    return "\n".join([*lines, *last]) + "\n"


def _table(spectrum: Spectrum, width: int) -> Iterator[str]:
    layers = spectrum.layers
    bounds = [_HEAD[1], *(bound_text(layer.bound) for layer in layers)]
    slacks = [_HEAD[2], *(slack_text(layer.slack) for layer in layers)]
    names = [_HEAD[0], *(printable(layer.name) for layer in layers)]
    taken = sum(max(map(cell_len, column)) + len(_GAP) for column in (names, bounds, slacks))
    long = min(max(width - taken, _BARS), _MOST_BARS)
    bars = [_HEAD[3], *(sparkline(layer, long) or "—" for layer in layers)]
    widths = [max(map(cell_len, column)) for column in (bounds, slacks, bars)]
    room = max(_LEAST, width - sum(w + len(_GAP) for w in widths))
    name = min(room, max(map(cell_len, names)))
    for number, text in enumerate(names):
        cells = [column[number] for column in (bounds, slacks)]
        right = [cell.rjust(w) for cell, w in zip(cells, widths, strict=False)]
        first, *rest = chop_cells(text, name) or [""]
        yield _GAP.join([first + " " * (name - cell_len(first)), *right, bars[number]]).rstrip()
        yield from rest
        if number == 0:
            yield "─" * min(width, name + sum(w + len(_GAP) for w in widths))
        else:
            yield from _below(layers[number - 1], width)


def _below(layer: LayerSpectrum, width: int) -> Iterator[str]:
    """The values, and what is to be said about them."""
    kind = f"{printable(layer.op)} {shape_text(layer.in_shape[1:])} → {shape_text(layer.out_shape[1:])}"
    yield from _folded(f"{kind}, bound by {printable(layer.method)}".split(" "), " ", width)
    if layer.top:
        yield from _folded(words.values_texts(layer), ", ", width)
    if layer.missing:
        yield from _folded(f"no values: {printable(layer.missing)}".split(" "), " ", width)
    whole = words.whole_line(layer)
    if whole:
        yield from _folded(printable(whole).split(" "), " ", width)


def _folded(pieces: list[str], between: str, width: int) -> Iterator[str]:
    line = _INDENT
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        text = piece if last else piece + between.rstrip()
        if line != _INDENT and cell_len(line) + 1 + cell_len(text) > width:
            yield line
            line = _INDENT
        line += text if line == _INDENT else " " + text
    yield line
