"""Where in a TOML text a table or a key stands; `tomllib` tells values, not places.

A line scanner, not a parser: it knows headers (`[a]`, `[[a.b]]`), keys before `=`, and skips what lies inside
of multi-line strings.  Tables written in another way (inline, or with dotted keys) have the place of what
they are written in.  It never fails; a wrong guess would misplace a message, nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Lines", "scan"]

Path = tuple[str | int, ...]

_NAME = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=\s*(.*)", re.DOTALL)
_NAMES = re.compile(_NAME)
_QUOTES = ('"""', "'''")


@dataclass(frozen=True, slots=True)
class Lines:
    """Line numbers, from 1, by path: `("budget", 0, "max")`."""

    places: dict[Path, int]

    def of(self, path: Sequence[str | int]) -> int:
        """Where that stands, or the closest thing around it; 1 if nothing does."""
        for length in range(len(path), 0, -1):
            found = self.places.get(tuple(path[:length]))
            if found is not None:
                return found
        return 1


def scan(text: str, prefix: Sequence[str] = ()) -> Lines:
    """Look through a document.

    Args:
        text: TOML.
        prefix: of the table that paths start in, such as ("tool", "lipaudit").
    """
    places: dict[Path, int] = {}
    counts: dict[tuple[str, ...], int] = {}
    table: Path = ()
    waiting = ""
    for number, line in enumerate(text.split("\n"), 1):
        if waiting:
            waiting = "" if waiting in line else waiting
            continue
        header, key = _HEADER.match(line), _KEY.match(line)
        if header is not None:
            names = _names(header[2])
            table = names
            if header[1] == "[[":
                counts[names] = counts.get(names, -1) + 1
                table = (*names, counts[names])
                places.setdefault(names, number)
            places.setdefault(table, number)
        elif key is not None:
            places.setdefault((*table, *_names(key[1])), number)
            waiting = _opened(key[2])
    return Lines(
        {path[len(prefix) :]: n for path, n in places.items() if path[: len(prefix)] == tuple(prefix)}
    )


def _names(dotted: str) -> tuple[str, ...]:
    return tuple(name.strip("\"'") for name in _NAMES.findall(dotted))


def _opened(value: str) -> str:
    """The quotes that a value opens and does not close on its line."""
    for quotes in _QUOTES:
        if value.startswith(quotes) and quotes not in value[3:]:
            return quotes
    return ""
