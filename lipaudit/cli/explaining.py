"""`lipaudit explain WORD`: what a finding, verdict, method or number means, offline and at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from textwrap import wrap

from lipaudit.cli.streams import write_data
from lipaudit.errors import ExitCode, UsageError
from lipaudit.report.explain import ENTRIES, Entry, find, near

__all__ = ["run"]

_WIDTH = 80
_TITLES = {
    "finding": "Findings",
    "verdict": "Verdicts, and outcomes of a budget",
    "exit code": "Exit codes",
    "method": "Methods: upper bounds on the norm of a linear map",
    "rule": "Rules: parts of a network as a whole",
    "gain": "Other reasons of a layer's bound",
    "operation": "Operations: what a layer does",
    "term": "Words of the screen and of the report",
}


def run(words: Sequence[str]) -> ExitCode:
    """Print one entry, or the list of all.

    Args:
        words: of which a name consists (`exit 3`); none for the list.

    Raises:
        UsageError: for a word nobody explains.
    """
    wanted = " ".join(words)
    if not wanted.strip():
        write_data(_list())
        return ExitCode.PASS
    entry = find(wanted)
    if entry is None:
        close = near(wanted)
        suggested = f"did you mean {' or '.join(close)}? " if close else ""
        raise UsageError(
            f"nothing called {wanted!r} is explained", hint=f"{suggested}`lipaudit explain` lists everything"
        )
    write_data(_text(entry))
    return ExitCode.PASS


def _text(entry: Entry) -> str:
    title = entry.name if entry.name.startswith(entry.kind.split()[0]) else f"{entry.name} ({entry.kind})"
    parts = (
        ("", entry.short),
        ("Also: ", ", ".join(entry.also)),
        ("Why it matters: ", entry.why),
        ("What to do: ", entry.todo),
        ("Reference: ", entry.reference),
    )
    paragraphs = [title, *("\n".join(_wrapped(head + text)) for head, text in parts if text)]
    return "\n\n".join(paragraphs) + "\n"


def _list() -> str:
    parts = ["lipaudit explain WORD tells more about each of these.\n"]
    for kind, entries in groupby(ENTRIES, key=lambda entry: entry.kind):
        rows = list(entries)
        left = max(len(entry.name) for entry in rows) + 4
        lines = [f"{_TITLES[kind]}:"]
        for entry in rows:
            first, *rest = wrap(entry.short, _WIDTH - left, break_on_hyphens=False)
            lines += [f"  {entry.name}".ljust(left) + first, *(" " * left + line for line in rest)]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _wrapped(text: str) -> list[str]:
    return wrap(text, _WIDTH, break_on_hyphens=False, break_long_words=False)
