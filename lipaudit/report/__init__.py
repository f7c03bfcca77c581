"""AuditReport and one pure function per format: `AuditReport` → `str`.

`FORMATS` is the whole list.  A format is a file with one function and one row here; nothing in this
package prints or writes, that is `cli`'s work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lipaudit.report.canonical import from_json, to_json
from lipaudit.report.model import AuditReport
from lipaudit.report.text import to_text

__all__ = ["FORMATS", "SUFFIXES", "AuditReport", "Format", "from_json", "to_json", "to_text"]


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write a report down, and the file names that ask for it."""

    name: str
    suffixes: tuple[str, ...]
    render: Callable[[AuditReport], str]


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


FORMATS = _by_name((Format("text", (".txt",), to_text), Format("json", (".json",), to_json)))
"""Every format, by the name that `-o FORMAT=PATH` takes."""

SUFFIXES = _by_suffix(FORMATS.values())
"""Which format a file name asks for."""
