"""AuditReport and one pure function per format: `AuditReport` → `str`.

`FORMATS` is the whole list.  A format is a file with one function and one row here; nothing in this
package prints or writes, that is `cli`'s work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lipaudit.report.canonical import from_json, to_json
from lipaudit.report.html import to_html, to_svg
from lipaudit.report.junit import to_junit
from lipaudit.report.markdown import to_markdown
from lipaudit.report.model import AuditReport
from lipaudit.report.samples import missing_samples, to_csv
from lipaudit.report.sarif import to_sarif
from lipaudit.report.text import to_text

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "AuditReport",
    "Format",
    "from_json",
    "to_html",
    "to_json",
    "to_svg",
    "to_text",
]


def _nothing(report: AuditReport) -> str:
    del report
    return ""


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write a report down, and the file names that ask for it.

    `lacking` says what the text cannot show because the report does not hold it; empty if nothing.
    """

    name: str
    suffixes: tuple[str, ...]
    render: Callable[[AuditReport], str]
    lacking: Callable[[AuditReport], str] = _nothing


def _by_name(formats: Iterable[Format]) -> dict[str, Format]:
    table: dict[str, Format] = {}
    for row in formats:
        if row.name in table:
            raise ValueError(f"two report formats are called {row.name!r}")
        table[row.name] = row
    return table


def _by_suffix(formats: Iterable[Format]) -> dict[str, Format]:
    table: dict[str, Format] = {}
    for row in formats:
        for suffix in row.suffixes:
            if suffix in table:
                raise ValueError(f"{table[suffix].name} and {row.name} both claim {suffix}")
            table[suffix] = row
    return table


FORMATS = _by_name(
    (
        Format("text", (".txt",), to_text),
        Format("json", (".json",), to_json),
        Format("html", (".html", ".htm"), to_html),
        Format("md", (".md",), to_markdown),
        Format("sarif", (".sarif",), to_sarif),
        Format("junit", (".xml",), to_junit),
        Format("csv", (".csv",), to_csv, missing_samples),
        Format("svg", (".svg",), to_svg),
    )
)
"""Every format, by the name that `-o FORMAT=PATH` takes."""

SUFFIXES = _by_suffix(FORMATS.values())
"""Which format a file name asks for."""
