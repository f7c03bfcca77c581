"""Several models side by side, and one pure function per format: `Comparison` → `str`."""

from __future__ import annotations

from lipaudit.report import Format, by_name, by_suffix
from lipaudit.report.comparison.document import to_json
from lipaudit.report.comparison.markdown import to_markdown
from lipaudit.report.comparison.picture import to_svg
from lipaudit.report.comparison.record import Comparison
from lipaudit.report.comparison.table import to_csv
from lipaudit.report.comparison.text import to_text

__all__ = ["FORMATS", "SUFFIXES", "Comparison", "to_text"]

FORMATS: dict[str, Format[Comparison]] = by_name(
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
