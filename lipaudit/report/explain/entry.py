"""One word of the program's language, explained."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Entry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a word means.

    Args:
        name: as the program prints it.
        kind: which table it stands in: finding, verdict, exit code, method, rule, gain, operation or term.
        short: one sentence: what it means.
        why: why it matters.
        todo: what to do about it, if anything.
        reference: the paper or book it comes from, if any.
        also: other words for it.
    """

    name: str
    kind: str
    short: str
    why: str
    todo: str = ""
    reference: str = ""
    also: tuple[str, ...] = ()
