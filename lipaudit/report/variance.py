"""How a batch of samples spreads from layer to layer: results → record, findings, lines of the screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lipaudit.report.model import BatchVariance, Block, Evidence, Finding
from lipaudit.report.number import plain_down, round_down
from lipaudit.report.wording import printable, shown_down

if TYPE_CHECKING:
    from lipaudit.certify.falsify import Outcome
    from lipaudit.certify.variance import Spread

__all__ = ["variance_findings", "variance_lines", "variance_record"]


def variance_record(outcome: Outcome) -> BatchVariance | None:
    """How the batch spreads; None without one."""
    if not outcome.spreads:
        return None
    most = _most_grown(outcome.spreads)
    start = outcome.spreads[0].variance
    return BatchVariance(
        samples=outcome.batch,
        input=None if start is None else round_down(start),
        growth=None if most is None else most.name,
        constant=None if most is None or most.growth is None else plain_down(most.growth.value),
    )


def _most_grown(spreads: Sequence[Spread]) -> Spread | None:
    grown = [s for s in spreads if s.growth is not None and s.growth.value > 1]
    return max(grown, key=lambda s: 0.0 if s.growth is None else s.growth.value, default=None)


def variance_findings(outcome: Outcome, blocks: Sequence[Block]) -> tuple[Finding, ...]:
    """Maps behind which a batch of samples is spread wider than before.

    Inside of a block it may grow: what counts is the block, from its source to its end.
    """
    inside = {name for block in blocks for name in block.layers}
    whole = {(block.source, block.end) for block in blocks}
    return tuple(
        Finding(
            rule="LIP202",
            level="warning",
            message=f"the variance of {outcome.batch} samples grows from {printable(spread.source)} to here: "
            f"the map between is not 1-Lipschitz, its constant is at least {shown_down(spread.growth.value)}",
            layer=spread.name,
        )
        for spread in outcome.spreads
        if spread.growth is not None
        and spread.growth.value > 1
        and (spread.name not in inside or (spread.source, spread.name) in whole)
    )


def variance_lines(evidence: Evidence) -> Iterator[str]:
    """Where the batch is spread wider than before, and what that proves."""
    found = evidence.batch_variance
    if found is not None and found.growth is not None and isinstance(found.constant, float):
        where = f"{found.samples} samples spread most at {printable(found.growth)}"
        yield f"{where}: this step alone stretches by at least {shown_down(found.constant)}"
