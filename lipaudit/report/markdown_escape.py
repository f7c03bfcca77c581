"""Foreign text in Markdown: shown as it is, doing nothing.

A layer's name may hold a table's pipe, HTML, a link, somebody's @name or the number of an issue; where the
report is posted as a comment these would break the table, draw a picture, notify people.  What Markdown gives
meaning to is escaped with a backslash or becomes a character reference, which never is markup.  What a
renderer links by itself afterwards (names, numbers, addresses, emoji codes) is a matter of neighbouring
characters, so a zero-width space separates them.  Inside of code nothing is ever linked.

"GitHub Flavored Markdown Spec" 0.29, sections 6.2 (character references), 4.10 (tables) and 6.9 (autolinks).
"""

from __future__ import annotations

import re

from lipaudit.report.wording import printable

__all__ = ["LONGEST", "code", "line", "prose"]

LONGEST = 400
"""Characters of one foreign text; the JSON report holds the rest."""

_CODED = r"[\\`|<&]"  # a backslash before these ends a table's cell, or is none in code
_ESCAPED = r"[*{}\[\]>~$]|(?<![^\W_])_|_(?![^\W_])"  # an underscore within a word is none of emphasis
_LINKED = r"[@#]|:(?=//|[\w+-]+:)|\bwww(?=\.)|\bGH(?=-)"
_ACTIVE = re.compile(f"(?P<coded>{_CODED})|(?P<escaped>{_ESCAPED})|(?P<linked>{_LINKED})", re.IGNORECASE)
_NO_SPAN = re.compile(r"[`|\\]|^\s|\s$|##\[")
"""Backticks would not show these, a table would cut there, or a CI runner that is shown the text obey."""


def prose(text: str) -> str:
    """A sentence among ours; never the first word of a line."""
    return _ACTIVE.sub(_harmless, _shortened(text))


def line(text: str) -> str:
    """A sentence that begins a line: no list, heading or quotation, whatever its first signs."""
    return f"&#8203;{prose(text)}"


def code(text: str) -> str:
    """A name, in the type of code."""
    shown = _shortened(text)
    if not shown:
        return "(empty)"
    return f"<code>{prose(text)}</code>" if _NO_SPAN.search(shown) else f"`{shown}`"


def _harmless(found: re.Match[str]) -> str:
    if found["coded"]:
        return f"&#{ord(found[0])};"
    return f"\\{found[0]}" if found["escaped"] else f"{found[0]}&#8203;"


def _shortened(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"
