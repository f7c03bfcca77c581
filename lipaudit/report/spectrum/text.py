"""The screen of a spectrum: a row for each layer, its values below it, the verdict last.

No number is cut.  The little bars show the largest values (with `--all` the whole spectrum) from 0 to the
certified bound.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len, chop_cells
from rich.console import RenderableType
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
_HEAD = ("layer", "bound", "slack", "spectrum")


def to_text(spectrum: Spectrum, *, width: int = WIDTH, failed: ExitCode | None = None) -> str:
    """The whole screen as one string that ends with a newline.

    Args:
        spectrum: what to show.
        width: columns, at least 60; lines are folded to it.
        failed: as in `words.ending`.
    """
    lines = screen_lines(_blocks(spectrum, width), width=width)
    return "\n".join([*lines, words.ending(spectrum, failed)]) + "\n"


def _blocks(spectrum: Spectrum, width: int) -> Iterator[RenderableType]:
    yield part("model", [Text(printable(words.model_line(spectrum)))])
    yield Text()
    for line in _table(spectrum, width):
        yield Text(line, no_wrap=True, overflow="ignore")
    yield Text()
    yield part("values", [Text(words.MEANING)])
    yield part("notes", [Text(printable(note)) for note in words.notes(spectrum)])
    yield Text()


def _table(spectrum: Spectrum, width: int) -> Iterator[str]:
    layers = spectrum.layers
    bounds = [_HEAD[1], *(bound_text(layer.bound) for layer in layers)]
    slacks = [_HEAD[2], *(slack_text(layer.slack) for layer in layers)]
    bars = [_HEAD[3], *(sparkline(layer) or "—" for layer in layers)]
    names = [_HEAD[0], *(printable(layer.name) for layer in layers)]
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
