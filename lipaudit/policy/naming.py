"""Which layers a list of names and patterns means.

`*`, `?` and `[...]` are as in file names, except that what is the very name of a layer means this layer and
no other that the pattern would match: networks have layers called `conv[1]`, which as a pattern would mean
`conv1`.

A module may make several layers: it is called twice, or computes in steps.  They are `fc`, `fc:relu`,
`fc:linear_1`, …; and it may hold modules, `fc.inner`, ….  Whoever limits `fc` limits them all.  An exception
is read narrowly: `fc` excuses the layer of that very name, and where none has it those of its own steps.
"""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

__all__ = ["excused", "meant"]

_STEP, _INNER = ":", "."


def meant(patterns: Collection[str], layers: Collection[str]) -> frozenset[str]:
    """The layers that at least one of the patterns means, where they are limited.

    Args:
        patterns: names of layers or modules, or patterns where nothing is called so.
        layers: the names of all layers of the network.
    """
    return frozenset(name for pattern in patterns for name in _named(pattern, layers, narrow=False))


def excused(patterns: Collection[str], layers: Collection[str]) -> frozenset[str]:
    """The layers that at least one of the patterns means, where they are excused from a limit.

    Args:
        patterns: as in `meant`.
        layers: the names of all layers of the network.
    """
    return frozenset(name for pattern in patterns for name in _named(pattern, layers, narrow=True))


def _named(pattern: str, layers: Collection[str], *, narrow: bool) -> Collection[str]:
    own = {pattern} & set(layers)
    if own and narrow:
        return own
    ends = (pattern + _STEP,) if narrow else (pattern + _STEP, pattern + _INNER)
    own |= {name for name in layers if name.startswith(ends)}
    return own or {name for name in layers if fnmatchcase(name, pattern)}
