"""Records of how a report was judged: budgets and their outcomes, the policy they come from, waivers."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lipaudit.report.inputs import Digest, Text
from lipaudit.report.number import Count, Plain, Record

__all__ = [
    "BaselineRecord",
    "BudgetOutcome",
    "Day",
    "LayerOutcome",
    "Metric",
    "Outcome",
    "PolicyRecord",
    "Waiver",
]

Outcome = Literal["pass", "fail", "inconclusive"]
"""pass: what was proved meets the budget · fail: a witness exceeds it, whatever the method · inconclusive:
it lies between the two.  Only pass is green."""

Metric = Literal["lipschitz", "slack", "certified_accuracy", "clean_accuracy", "require"]
"""What a budget limits.  `lipschitz` and `slack` speak of the network, or of single layers where the budget
names some; `require` is a condition on the audit itself (how many samples, which data, how it was loaded)."""


def _of_the_calendar(text: str) -> str:
    date.fromisoformat(text)  # 2026-02-31 is none
    return text


Day = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), AfterValidator(_of_the_calendar)]
"""A day that there is, as ISO 8601 writes it."""


class LayerOutcome(Record):
    """What became of a budget on single layers at one of them."""

    layer: Text
    outcome: Outcome
    upper: Plain | None = Field(description="what was compared: the proved value, or the slack; null: none")
    lower: float | None = Field(default=None, description="the witnessed value")
    waived: bool = Field(default=False, description="it does not pass, and a waiver in force covers it")


class BaselineRecord(Record):
    """The earlier report that a budget compares with."""

    name: Text = Field(description="base name of its file")
    evidence_sha256: Digest
    value: Plain | None = Field(description="what it said about the metric: the limit is relative to it")


class BudgetOutcome(Record):
    """One budget and what became of it."""

    id: Text
    metric: Metric
    limit: str
    eps: str | None = None
    outcome: Outcome
    message: Text
    evidence: dict[str, int | Plain | None] = Field(description="the numbers that were compared")
    layers: tuple[LayerOutcome, ...] = Field(
        default=(), description="of a budget on single layers: each of them, in graph order"
    )
    waived: bool = Field(
        default=False, description="it does not pass, and waivers cover all that keeps it from doing so"
    )
    baseline: BaselineRecord | None = None
    line: Count | None = Field(default=None, description="where it stands in the policy file, from 1")

    @property
    def is_met(self) -> bool:
        """Whether it passes, or is waived: then it does not keep the verdict from being green."""
        return self.outcome == "pass" or self.waived


class Waiver(Record):
    """An exception that somebody answers for; always shown."""

    budget: Text
    layers: tuple[Text, ...] = Field(default=(), description="names or patterns; none: the budget as a whole")
    reason: Text
    owner: Text
    expires: Day = Field(description="the last day it holds")
    state: Literal["used", "unused", "expired"]
    line: Count | None = None


class PolicyRecord(Record):
    """The file that the budgets come from."""

    name: Text = Field(description="base name, e.g. lipaudit.toml")
    sha256: Digest
    judged_on: Day = Field(description="the day by which waivers were judged")
