"""AuditReport and one pure function per format: `AuditReport` → `str`.

`FORMATS` is the whole list.  A format is a file with one function and one row here; nothing in this
package prints or writes, that is `cli`'s work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

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
    "by_name",
    "by_suffix",
    "from_json",
    "to_html",
    "to_json",
    "to_svg",
    "to_text",
]


Written = TypeVar("Written")


def _nothing(report: object) -> str:
    del report
    return ""


@dataclass(frozen=True, slots=True)
class Format(Generic[Written]):
    """A way to write a report (or something else) down, and the file names that ask for it.

    `lacking` says what the text cannot show because the report does not hold it; empty if nothing.
    """

    name: str
    suffixes: tuple[str, ...]
    render: Callable[[Written], str]
    lacking: Callable[[Written], str] = _nothing


def by_name(formats: Iterable[Format[Written]]) -> dict[str, Format[Written]]:
    """A table of formats.

    Raises:
        ValueError: two have one name.
    """
    table: dict[str, Format[Written]] = {}
    for row in formats:
        if row.name in table:
            raise ValueError(f"two report formats are called {row.name!r}")
        table[row.name] = row
    return table


def by_suffix(formats: Iterable[Format[Written]]) -> dict[str, Format[Written]]:
    """Which format a file name asks for.

    Raises:
        ValueError: two claim one suffix.
    """
    table: dict[str, Format[Written]] = {}
    for row in formats:
        for suffix in row.suffixes:
            if suffix in table:
                raise ValueError(f"{table[suffix].name} and {row.name} both claim {suffix}")
            table[suffix] = row
    return table


FORMATS: dict[str, Format[AuditReport]] = by_name(
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

SUFFIXES = by_suffix(FORMATS.values())
"""Which format a file name asks for."""
