"""Which layers a list of names and patterns means.

`*`, `?` and `[...]` are as in file names, except that what is the very name of a layer means this layer and
no other: networks have layers called `conv[1]`, which as a pattern would mean `conv1`.
"""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

__all__ = ["meant"]


def meant(patterns: Collection[str], layers: Collection[str]) -> frozenset[str]:
    """The layers that at least one of the patterns means.

    Args:
        patterns: names, or patterns where no layer is called so.
        layers: the names of all layers of the network.
    """
    names = frozenset(layers)
    found = names & frozenset(patterns)
    open_ones = [pattern for pattern in patterns if pattern not in names]
    return found | {name for name in names for pattern in open_ones if fnmatchcase(name, pattern)}
