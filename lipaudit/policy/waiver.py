"""Waivers: exceptions with a reason, an owner and a last day; always shown, never silent.

A waiver in force takes a budget out of the verdict, as a whole or for the layers it names.  It changes no
outcome: the budget stays failed or undecided in the report, and says that it is waived.  An analysis that is
incomplete stays so.  From the day after `expires` a waiver is only a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from typing import Literal

from lipaudit.report.judgement import BudgetOutcome, LayerOutcome
from lipaudit.report.judgement import Waiver as WaiverRecord
from lipaudit.report.model import Finding
from lipaudit.report.wording import printable

__all__ = ["Waiver", "apply_waivers", "waiver_findings"]


@dataclass(frozen=True, slots=True)
class Waiver:
    """An exception from one budget.

    Args:
        budget: its id.
        reason: why.
        owner: who answers for it.
        expires: the last day it holds.
        layers: patterns of the layers it is about; none: the budget as a whole.
        line: where it stands in the policy file.
    """

    budget: str
    reason: str
    owner: str
    expires: date
    layers: tuple[str, ...] = ()
    line: int | None = None

    def holds_on(self, day: date) -> bool:
        """Whether the day is not after the last one."""
        return day <= self.expires

    def covers(self, layer: str) -> bool:
        """Whether it is about this layer."""
        return not self.layers or any(fnmatchcase(layer, pattern) for pattern in self.layers)

    def excuses(self, outcome: BudgetOutcome) -> bool:
        """Whether anything that keeps the budget from passing is covered."""
        if outcome.id != self.budget or outcome.outcome == "pass":
            return False
        return not self.layers or any(r.outcome != "pass" and self.covers(r.layer) for r in outcome.layers)


def apply_waivers(
    outcomes: Sequence[BudgetOutcome], waivers: Sequence[Waiver], today: date
) -> tuple[tuple[BudgetOutcome, ...], tuple[WaiverRecord, ...]]:
    """The same outcomes, marked where a waiver covers them, and what became of every waiver."""
    holding = [waiver for waiver in waivers if waiver.holds_on(today)]
    records = tuple(_record(waiver, _state(waiver, outcomes, today)) for waiver in waivers)
    return tuple(_marked(outcome, holding) for outcome in outcomes), records


def waiver_findings(records: Iterable[WaiverRecord]) -> tuple[Finding, ...]:
    """One finding for each waiver, whatever became of it."""
    return tuple(_finding(record) for record in records)


def _state(
    waiver: Waiver, outcomes: Iterable[BudgetOutcome], today: date
) -> Literal["used", "unused", "expired"]:
    if not waiver.holds_on(today):
        return "expired"
    return "used" if any(waiver.excuses(outcome) for outcome in outcomes) else "unused"


def _record(waiver: Waiver, state: Literal["used", "unused", "expired"]) -> WaiverRecord:
    return WaiverRecord(
        budget=waiver.budget,
        layers=waiver.layers,
        reason=waiver.reason,
        owner=waiver.owner,
        expires=waiver.expires.isoformat(),
        state=state,
        line=waiver.line,
    )


def _marked(outcome: BudgetOutcome, holding: Iterable[Waiver]) -> BudgetOutcome:
    mine = [waiver for waiver in holding if waiver.excuses(outcome)]
    if not mine:
        return outcome
    rows = tuple(_marked_layer(row, mine) for row in outcome.layers)
    whole = any(not waiver.layers for waiver in mine)
    waived = whole or all(row.waived or row.outcome == "pass" for row in rows)
    return outcome.model_copy(update={"layers": rows, "waived": waived})


def _marked_layer(row: LayerOutcome, waivers: Iterable[Waiver]) -> LayerOutcome:
    if row.outcome == "pass" or not any(waiver.covers(row.layer) for waiver in waivers):
        return row
    return row.model_copy(update={"waived": True})


def _finding(record: WaiverRecord) -> Finding:
    about = f"budget {printable(record.budget)}" + (
        f" at {', '.join(map(printable, record.layers))}" if record.layers else ""
    )
    whose = f"{printable(record.owner)}: {printable(record.reason)}"
    if record.state == "expired":
        return Finding(
            rule="LIP401",
            level="warning",
            message=f"a waiver of {about} expired on {record.expires} and no longer counts ({whose})",
            advice="mend what it excused and remove it, or have its owner renew it",
        )
    if record.state == "unused":
        return Finding(
            rule="LIP402",
            level="warning",
            message=f"a waiver of {about} excuses nothing ({whose})",
            advice="remove it, or check its names of layers: what it would excuse next, nobody has looked at",
        )
    return Finding(
        rule="LIP403",
        level="note",
        message=f"{about} is waived until {record.expires} ({whose})",
    )
