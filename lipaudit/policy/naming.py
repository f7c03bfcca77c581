"""Which layers a list of names and patterns means.

In a pattern `*` is any text and `?` any character.  Brackets are themselves: networks have layers called
`conv[1]`, and whoever means that one must not mean `conv1` once it is gone.

A module may make several layers: it is called twice, or computes in steps.  They are `fc`, `fc:relu`,
`fc:linear_1`, …; and it may hold modules, `fc.inner`, ….  Whoever limits `fc` limits them all.

The names are those of the file that is judged, so none may take anything out of a limit: what is limited is
all that a text means by any reading.  An exception is read narrowly: `fc` excuses the layer of that very
name; where none has it, those of its own steps; where it has none, those that match it as a pattern.
"""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

__all__ = ["excused", "matching", "meant"]

_STEP = ":"
_INSIDE = _STEP + "."


def meant(patterns: Collection[str], layers: Collection[str]) -> frozenset[str]:
    """The layers that at least one of the patterns means, where they are limited.

    Args:
        patterns: names of layers or modules, or patterns.
        layers: the names of all layers of the network.
    """
    return frozenset(name for pattern in patterns for name in _limited(pattern, layers))


def excused(patterns: Collection[str], layers: Collection[str]) -> frozenset[str]:
    """The layers that at least one of the patterns means, where they are excused from a limit.

    Args:
        patterns: names of layers or modules, or patterns where nothing is called so.
        layers: the names of all layers of the network.
    """
    return frozenset(name for pattern in patterns for name in _excused(pattern, layers))


def _limited(pattern: str, layers: Collection[str]) -> set[str]:
    """Those whose name matches, or the name of a module that they are part of."""
    ends = {name: [i for i, sign in enumerate(name) if sign in _INSIDE] for name in layers}
    return {name for name in layers if matching(pattern, {name, *(name[:end] for end in ends[name])})}


def _excused(pattern: str, layers: Collection[str]) -> set[str]:
    if pattern in layers:
        return {pattern}
    steps = {name for name in layers if name.startswith(pattern + _STEP)}
    return steps or matching(pattern, layers)


def matching(pattern: str, layers: Collection[str]) -> set[str]:
    """The layers whose names a pattern matches; brackets are themselves, so a name matches itself."""
    literal = pattern.replace("[", "[[]")
    return {name for name in layers if fnmatchcase(name, literal)}
