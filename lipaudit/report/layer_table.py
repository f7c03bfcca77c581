"""The table of layers on the terminal screen.

Up to `MOST` rows are shown in the network's order; of a longer network those that cost most, still in
order, with a line that counts what was left out.
"""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from lipaudit.report.advice import costliest
from lipaudit.report.model import Evidence, Layer
from lipaudit.report.wording import bound_text, estimate_text, plural, printable, slack_text

__all__ = ["MOST", "layer_table", "omission"]

MOST = 60
"""Rows of the table before it is cut to the costliest layers."""


def layer_table(evidence: Evidence) -> Table:
    """One row per layer: name, op, the bracket of its gain, the bound from the input up to it, method."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False, expand=True)
    table.add_column("layer", overflow="fold", ratio=3)
    table.add_column("op", overflow="fold", ratio=2, min_width=10)
    for title in ("lower", "upper", "slack", "running"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("method", overflow="fold", ratio=3)
    for layer in _shown(evidence):
        table.add_row(*_cells(layer))
    return table


def omission(evidence: Evidence) -> str:
    """What the table leaves out; empty if nothing."""
    hidden = len(evidence.layers) - MOST
    if hidden <= 0:
        return ""
    return f"… {plural(hidden, 'more layer')}, none with a larger gain than those shown"


def _shown(evidence: Evidence) -> tuple[Layer, ...]:
    if len(evidence.layers) <= MOST:
        return evidence.layers
    kept = {id(layer) for layer in costliest(evidence)[:MOST]}
    return tuple(layer for layer in evidence.layers if id(layer) in kept)


def _cells(layer: Layer) -> list[Text]:
    plain = [
        printable(layer.name),
        printable(layer.op),
        estimate_text(layer.lower),
        bound_text(layer.upper),
        slack_text(layer.slack),
        bound_text(layer.running),
        printable(layer.method),
    ]
    style = "bold red" if layer.upper.value is None else ""
    return [Text(cell, style=style) for cell in plain]
