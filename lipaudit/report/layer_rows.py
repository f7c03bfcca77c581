"""What stands in the table of layers, and in which order: a tree, or the worst offenders first.

**A tree**, in the network's order: consecutive layers whose names share a path (`layer1.0.conv1` and
`layer1.0.bn1`) stand below it, so that it is printed once.  A bar on the left marks layers that were bounded
together; the part as a whole has a row of its own below the layer that ends it.

**Worst offenders first**, of networks with more than `MOST` layers: parts that were bounded as a whole, and
the layers outside of them.  What a layer inside costs by itself does not count, unless it has no bound.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from lipaudit.report.model import Block, Evidence, Layer
from lipaudit.report.wording import plural, printable

__all__ = ["COSTLIEST", "MOST", "Row", "omission", "rows"]

MOST = 60
"""Layers up to which all are shown."""
COSTLIEST = 30
"""Rows of a longer network's table."""
DEEPEST = 5
"""Levels of the tree: names are foreign, and may have a thousand dots."""

_PIECE = re.compile(r"[./]*[^./]*[./]*")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a layer, a part that was bounded as a whole, or (neither) the path that the next rows share.

    Args:
        margin: what stands left of the label on its first line, and on further ones.
        label: the name, or what is left of it below a path; printable.
    """

    label: str
    layer: Layer | None = None
    block: Block | None = None
    margin: tuple[str, str] = ("", "")

    @property
    def op(self) -> str:
        """The operation, or how many layers there are."""
        if self.block is not None:
            return plural(len(self.block.layers), "layer")
        return "" if self.layer is None else printable(self.layer.op)


def rows(evidence: Evidence, *, all_layers: bool) -> tuple[Row, ...]:
    """The table's rows.

    Args:
        evidence: whose layers and parts.
        all_layers: whether a long network is shown in full.
    """
    if all_layers or len(evidence.layers) <= MOST:
        return tuple(_marked(evidence, _tree(evidence.layers, 0, 0)))
    return _ranked(evidence)[:COSTLIEST]


def omission(evidence: Evidence, *, all_layers: bool) -> str:
    """What the table leaves out; empty if nothing."""
    if all_layers or len(evidence.layers) <= MOST:
        return ""
    left = _ranked(evidence)[COSTLIEST:]
    shown = {row.layer.name for row in _ranked(evidence)[:COSTLIEST] if row.layer is not None}
    parts = sum(row.block is not None for row in left)
    single = len(left) - parts
    inside = len(evidence.layers) - len(shown) - single
    counted = [
        *([plural(single, "layer")] if single else []),
        *([plural(parts, "part")] if parts else []),
    ]
    found = [f"{' and '.join(counted)} with no larger gain than those shown"] if counted else []
    if inside:
        found.append(f"{plural(inside, 'layer')} inside of parts that were bounded as a whole")
    return f"… {', '.join(found)}; --all-layers shows every one, in the network's order"


def _ranked(evidence: Evidence) -> tuple[Row, ...]:
    inside = {name for block in evidence.blocks for name in block.layers}
    single = [n for n in evidence.layers if n.name not in inside or n.upper.value is None]
    found = [Row(f"{printable(b.source)} → {printable(b.end)}", block=b) for b in evidence.blocks]
    found += [Row(printable(layer.name), layer=layer) for layer in single]
    return tuple(sorted(found, key=_cost, reverse=True))


def _cost(row: Row) -> float:
    bounded = row.layer or row.block
    value = None if bounded is None else bounded.upper.value
    return math.inf if value is None else value


def _tree(layers: Sequence[Layer], shared: int, depth: int) -> Iterator[Row]:
    """Rows of consecutive layers, of whose names the first `shared` signs were printed already."""
    indent = "  " * depth
    for _, run in groupby(layers, key=lambda layer: _head(layer.name, shared)):
        group = list(run)
        prefix = _prefix([layer.name for layer in group])
        if len(group) == 1 or depth >= DEEPEST or len(prefix) <= shared:
            for layer in group:
                rest = layer.name[shared:] or layer.name
                yield Row(printable(rest), layer=layer, margin=(indent, indent))
        else:
            path = prefix[shared:].rstrip("./") or prefix
            yield Row(printable(path), margin=(indent, indent))
            yield from _tree(group, len(prefix), depth + 1)


def _head(name: str, start: int) -> str:
    """The first piece of the path behind `start`."""
    found = _PIECE.match(name, start)
    return "" if found is None else found.group().rstrip("./")


def _prefix(names: Sequence[str]) -> str:
    """The pieces, separators included, that all names begin with; a name that ends there is one of them."""
    pieces = [_PIECE.findall(f"{name}.") for name in names]
    common = []
    for together in zip(*pieces, strict=False):
        if len(set(together)) > 1 or not together[0]:
            break
        common.append(together[0])
    return "".join(common)


def _marked(evidence: Evidence, tree: Iterator[Row]) -> Iterator[Row]:
    """The rows with bars beside the layers that were bounded together, and a row below each such part."""
    if not evidence.blocks:
        yield from tree
        return
    enclosing = Counter(name for block in evidence.blocks for name in block.layers)
    ending: dict[str, list[Block]] = {}
    for block in evidence.blocks:
        ending.setdefault(block.end, []).append(block)
    within = False  # the last layer was inside of a part, and ended none
    waiting: list[Row] = []  # paths: whether they stand inside is known with the next layer
    for row in tree:
        if row.layer is None:
            waiting.append(row)
            continue
        is_inside = row.layer.name in enclosing
        yield from (_barred(path, within and is_inside) for path in waiting)
        waiting.clear()
        yield _barred(row, is_inside)
        within = is_inside
        for block in ending.get(row.layer.name, []):
            within = goes_on = enclosing[block.end] > len(ending[block.end])
            mark = ("├ ", "│ ") if goes_on else ("└ ", "  ")
            yield Row(f"whole, from {printable(block.source)}", row.layer, block, mark)


def _barred(row: Row, inside: bool) -> Row:  # noqa: FBT001
    mark = "│ " if inside else "  "
    return Row(row.label, row.layer, row.block, (mark + row.margin[0], mark + row.margin[1]))
