"""Singular values of a network's linear layers, and one pure function per format: `Spectrum` → `str`."""

from __future__ import annotations

from lipaudit.report import Format, by_name, by_suffix
from lipaudit.report.spectrum.document import to_json
from lipaudit.report.spectrum.markdown import to_markdown
from lipaudit.report.spectrum.picture import to_svg
from lipaudit.report.spectrum.record import Spectrum
from lipaudit.report.spectrum.table import to_csv
from lipaudit.report.spectrum.text import to_text

__all__ = ["FORMATS", "SUFFIXES", "Spectrum", "to_text"]

FORMATS: dict[str, Format[Spectrum]] = by_name(
    (
        Format("text", (".txt",), to_text),
        Format("json", (".json",), to_json),
        Format("md", (".md",), to_markdown),
        Format("csv", (".csv",), to_csv),
        Format("svg", (".svg",), to_svg),
    )
)
"""Every format, by the name that `-o FORMAT=PATH` takes."""

SUFFIXES = by_suffix(FORMATS.values())
"""Which format a file name asks for."""
