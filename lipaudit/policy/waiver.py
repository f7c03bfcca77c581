"""Waivers: exceptions with a reason, an owner and a last day; always shown, never silent.

A waiver in force takes a budget out of the verdict, as a whole or for the layers it names.  It changes no
outcome: the budget stays failed or undecided in the report, and says that it is waived.  An analysis that is
incomplete stays so.  From the day after `expires` a waiver is only a finding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from lipaudit.policy.misspelt import layers_called
from lipaudit.policy.naming import excused
from lipaudit.report.judgement import BudgetOutcome, LayerOutcome
from lipaudit.report.judgement import Waiver as WaiverRecord
from lipaudit.report.model import Finding
from lipaudit.report.wording import printable

__all__ = ["Waiver", "apply_waivers", "covers", "restored", "waiver_findings"]


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

    def covered(self, outcome: BudgetOutcome, layers: Collection[str]) -> frozenset[str]:
        """The layers of a budget that it is about, of a network with these layers."""
        rows = [row.layer for row in outcome.layers]
        return frozenset(rows) & excused(self.layers, {*layers, *rows}) if self.layers else frozenset(rows)

    def excuses(self, outcome: BudgetOutcome, layers: Collection[str]) -> bool:
        """Whether anything that keeps the budget from passing is covered."""
        if outcome.id != self.budget or outcome.outcome == "pass":
            return False
        covered = self.covered(outcome, layers)
        return not self.layers or any(r.outcome != "pass" and r.layer in covered for r in outcome.layers)


def apply_waivers(
    outcomes: Sequence[BudgetOutcome], waivers: Sequence[Waiver], today: date, layers: Collection[str] = ()
) -> tuple[tuple[BudgetOutcome, ...], tuple[WaiverRecord, ...]]:
    """The same outcomes, marked where a waiver covers them, and what became of every waiver.

    Args:
        outcomes: of the budgets.
        waivers: of the policy.
        today: the day by which they hold.
        layers: the names of all layers of the network.
    """
    holding = [waiver for waiver in waivers if waiver.holds_on(today)]
    used = [any(waiver.excuses(outcome, layers) for outcome in outcomes) for waiver in waivers]
    records = tuple(
        _record(waiver, _state(waiver, today, used=hit)) for waiver, hit in zip(waivers, used, strict=True)
    )
    return tuple(_marked(outcome, holding, layers) for outcome in outcomes), records


def covers(waivers: Iterable[Waiver], outcome: BudgetOutcome, layers: Collection[str]) -> bool:
    """Whether these waivers cover all that keeps a budget from passing.

    Args:
        waivers: which are in force.
        outcome: of the budget; what it says of waivers does not count.
        layers: the names of all layers of the network.
    """
    rows = tuple(row.model_copy(update={"waived": False}) for row in outcome.layers)
    bare = outcome.model_copy(update={"waived": False, "layers": rows})
    return _marked(bare, waivers, layers).waived


def restored(records: Iterable[WaiverRecord]) -> tuple[Waiver, ...]:
    """The waivers that a report tells of, as its policy had them."""
    return tuple(
        Waiver(w.budget, w.reason, w.owner, date.fromisoformat(w.expires), w.layers, w.line) for w in records
    )


def waiver_findings(records: Iterable[WaiverRecord], layers: Sequence[str]) -> tuple[Finding, ...]:
    """One finding for each waiver, whatever became of it.

    Args:
        records: of the waivers.
        layers: the names of all layers, in the network's order.
    """
    return tuple(_finding(record, layers) for record in records)


def _state(waiver: Waiver, today: date, *, used: bool) -> Literal["used", "unused", "expired"]:
    if not waiver.holds_on(today):
        return "expired"
    return "used" if used else "unused"


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


def _marked(outcome: BudgetOutcome, holding: Iterable[Waiver], layers: Collection[str]) -> BudgetOutcome:
    mine = [waiver for waiver in holding if waiver.excuses(outcome, layers)]
    if not mine:
        return outcome
    covered = frozenset[str]().union(*(waiver.covered(outcome, layers) for waiver in mine))
    rows = tuple(_marked_layer(row, covered) for row in outcome.layers)
    whole = any(not waiver.layers for waiver in mine)
    waived = whole or all(row.waived or row.outcome == "pass" for row in rows)
    return outcome.model_copy(update={"layers": rows, "waived": waived})


def _marked_layer(row: LayerOutcome, covered: Collection[str]) -> LayerOutcome:
    if row.outcome == "pass" or row.layer not in covered:
        return row
    return row.model_copy(update={"waived": True})


def _finding(record: WaiverRecord, layers: Sequence[str]) -> Finding:
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
            advice=_misspelt(record, layers) or "remove it: what it would excuse next, nobody has looked at",
        )
    return Finding(
        rule="LIP403",
        level="note",
        message=f"{about} is waived until {record.expires} ({whose})",
        advice=_misspelt(record, layers),
    )


def _misspelt(record: WaiverRecord, layers: Sequence[str]) -> str:
    """The first name or pattern that means no layer, though something was to be excused; "" if each does."""
    wrong = next((pattern for pattern in record.layers if not excused([pattern], layers)), None)
    return "" if wrong is None else printable(f"no layer is called {wrong}: {layers_called(wrong, layers)}")
