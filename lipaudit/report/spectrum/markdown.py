"""Markdown: a table of all layers, and below it what a reader must know."""

from __future__ import annotations

from lipaudit.report.markdown_escape import code, line
from lipaudit.report.spectrum import words
from lipaudit.report.spectrum.record import LayerSpectrum, Spectrum
from lipaudit.report.spectrum.sparkline import sparkline
from lipaudit.report.wording import bound_text, slack_text

__all__ = ["to_markdown"]


def to_markdown(spectrum: Spectrum) -> str:
    """The whole document; paragraphs and tables are separated by one empty line."""
    rows = "\n".join(_row(layer) for layer in spectrum.layers)
    head = "| layer | bound | slack | largest singular values | spectrum |\n|---|---:|---:|---|---|"
    notes = "\n".join(f"- {line(note)}" for note in words.notes(spectrum))
    parts = [
        "## lipaudit: singular values",
        f"**{words.ending(spectrum)}**",
        line(words.model_line(spectrum)),
        f"{head}\n{rows}" if rows else "",
        words.meaning(spectrum),
        f"### Notes\n\n{notes}" if notes else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _row(layer: LayerSpectrum) -> str:
    values = ", ".join(words.values_texts(layer)) or line(layer.missing)
    whole = words.whole_line(layer)
    if whole:
        values = f"{values}; {line(whole)}"
    cells = (code(layer.name), bound_text(layer.bound), slack_text(layer.slack), values, sparkline(layer))
    return f"| {' | '.join(cells)} |"
