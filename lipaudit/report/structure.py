"""What was proved about parts of the network as a whole: claims → records, records → lines of the screen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lipaudit.bound import Bound
from lipaudit.report.certificate import certificate_records
from lipaudit.report.model import Block, Evidence
from lipaudit.report.number import Number
from lipaudit.report.wording import bound_text, plural, printable

if TYPE_CHECKING:
    from lipaudit.compose import NetworkBound

__all__ = ["block_records", "structure_lines"]

MOST = 12
"""Lines of the screen; further blocks are counted."""


def block_records(bound: NetworkBound) -> tuple[Block, ...]:
    """The claims that the network's bound rests on."""
    records = []
    for claim in bound.claims:
        finite = math.isfinite(claim.plain)
        plain = Bound(claim.plain, "layers") if finite else Bound.unbounded("a layer has no bound")
        records.append(
            Block(
                source=claim.source,
                end=claim.end,
                layers=claim.names,
                rule=claim.bound.method,
                upper=Number.from_bound(claim.bound),
                plain=Number.from_bound(plain),
                proof=dict(claim.stored),
                certificates=certificate_records(claim.certificates, stored=False),
            )
        )
    return tuple(records)


def structure_lines(evidence: Evidence) -> Iterator[str]:
    """One line per block: between which values, by which rule, and what it bought."""
    for block in evidence.blocks[:MOST]:
        where = f"{printable(block.source)} → {printable(block.end)}"
        bought = f"≤ {bound_text(block.upper)}, by its layers {bound_text(block.plain)}"
        yield f"{where}: {bought} ({printable(block.rule)})"
    hidden = len(evidence.blocks) - MOST
    if hidden > 0:
        yield f"… and {plural(hidden, 'more block')}"
