"""Every word of the program's language: findings, verdicts, exit codes, methods, rules, operations, terms.

Text alone: nothing here computes, and nothing here is imported by what computes.  A word that the program
prints and that has no entry is a failing test.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from lipaudit.report.explain.entry import Entry
from lipaudit.report.explain.findings import FINDINGS
from lipaudit.report.explain.methods import METHODS
from lipaudit.report.explain.operations import OPERATIONS
from lipaudit.report.explain.outcomes import OUTCOMES
from lipaudit.report.explain.policies import POLICIES
from lipaudit.report.explain.repairs import REPAIRS
from lipaudit.report.explain.structure import GAINS, RULES
from lipaudit.report.explain.terms import TERMS

__all__ = ["ENTRIES", "Entry", "find", "near", "short"]

ENTRIES: tuple[Entry, ...] = (
    *FINDINGS,
    *OUTCOMES,
    *METHODS,
    *RULES,
    *GAINS,
    *OPERATIONS,
    *TERMS,
    *REPAIRS,
    *POLICIES,
)
"""All of them, in the order in which they are listed."""


def _plain(word: str) -> str:
    """One spelling of `gram-zero`, `Gram_zero` and `gram zero`."""
    return " ".join(word.lower().replace("-", " ").replace("_", " ").split()) or word


def _words(entries: Iterable[Entry]) -> dict[str, Entry]:
    table: dict[str, Entry] = {}
    for entry in entries:
        for word in (entry.name, *entry.also):
            if _plain(word) in table:
                raise ValueError(f"{word!r} is explained twice")
            table[_plain(word)] = entry
    return table


_TABLE = _words(ENTRIES)
_ALIKE = 0.72
"""Of `difflib`: one letter of four may differ.  At 0.5 any word resembled something."""


def find(words: str) -> Entry | None:
    """The entry of a word or two, spelt in capitals or not; a number is an exit code.

    Operations of torch by their own names (`aten.exp.default`) have one entry for all.
    """
    plain = _plain(words)
    if plain.startswith("aten."):
        return _TABLE["aten"]
    return _TABLE.get(plain) or _TABLE.get(f"exit {plain.removeprefix('exit code ')}")


def near(words: str) -> tuple[str, ...]:
    """Names that are spelt alike, the closest first."""
    close = get_close_matches(_plain(words), _TABLE, n=3, cutoff=_ALIKE)
    return tuple(dict.fromkeys(_TABLE[word].name for word in close))


def short(rule: str) -> str:
    """One sentence on a finding (or another word); empty for an unknown one."""
    entry = find(rule)
    return "" if entry is None else entry.short
