"""CSV: one row per group of equal singular values, numbers as they stand in the JSON, as RFC 4180 says.

`rank` is the place of the group's first value, from 1; `kind` is `top` (each a lower bound) or `all` (of a
whole spectrum, computed in float64).  A layer without values has one row without them.  Infinity is `inf`.
A text that a spreadsheet would take for a formula gets an apostrophe.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO

from lipaudit.report.spectrum.record import LayerSpectrum, Spectrum, Values
from lipaudit.report.wording import printable

__all__ = ["to_csv"]

_HEAD = ("layer", "op", "bound", "method", "kind", "rank", "count", "value")
_Cell = str | int | float | None


def to_csv(spectrum: Spectrum) -> str:
    """The header, and the values of each layer; lines end with CR LF."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_HEAD)
    for layer in spectrum.layers:
        writer.writerows(_rows(layer))
    return text.getvalue()


def _rows(layer: LayerSpectrum) -> Iterator[tuple[_Cell, ...]]:
    bound = "inf" if layer.bound.status == "unbounded" else layer.bound.value
    left = (_harmless(layer.name), _harmless(layer.op), bound, _harmless(layer.method))
    if not layer.top:
        yield (*left, "", None, None, None)
    for kind, groups in (("top", layer.top), ("all", layer.everything or ())):
        for rank, group in _ranked(groups):
            yield (*left, kind, rank, group.count, group.value)


def _ranked(groups: tuple[Values, ...]) -> Iterator[tuple[int, Values]]:
    rank = 1
    for group in groups:
        yield rank, group
        rank += group.count


def _harmless(text: str) -> str:
    shown = printable(text)
    return f"'{shown}" if shown[:1] in "=+-@" and shown else shown
