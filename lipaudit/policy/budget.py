"""What every budget can do, and the three ways it can end.

pass: the proof meets the budget · fail: a witness exceeds it, so that no method can save it ·
inconclusive: it lies between proof and witness.  Only pass is green.

Budgets are compared with the evidence of a report, as rational numbers.  Its numbers were rounded outward to
nine digits (bounds up, witnesses down), so what passes or fails here does so for the unrounded ones as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from lipaudit.policy.space import Space
from lipaudit.report.judgement import BudgetOutcome, Metric, Outcome
from lipaudit.report.model import AuditReport, Evidence

__all__ = ["Baselines", "Budget", "worst"]

Baselines = Mapping[Path, AuditReport]
"""Earlier reports, by the path under which a ratchet asks for them."""

_FROM_WORST: tuple[Outcome, ...] = ("fail", "inconclusive", "pass")


class Budget(Protocol):
    """A limit and how to compare with it."""

    @property
    def id(self) -> str:
        """Its name in a report; no two budgets of a policy share one."""
        ...

    @property
    def metric(self) -> Metric:
        """What it limits."""
        ...

    @property
    def line(self) -> int | None:
        """Where it stands in the policy file; None if it came as a flag."""
        ...

    @property
    def asked_eps(self) -> str | None:
        """A radius that the certified curve should contain for this budget; None if it needs none."""
        ...

    @property
    def space(self) -> Space | None:
        """The unit that distances are meant in; None: the policy's."""
        ...

    @property
    def layers(self) -> tuple[str, ...]:
        """Patterns of the layers that it limits one by one; empty: the network."""
        ...

    @property
    def baseline(self) -> Path | None:
        """The earlier report it needs."""
        ...

    @property
    def needs_data(self) -> bool:
        """Whether it cannot be meant without a data set."""
        ...

    @property
    def words(self) -> str:
        """What it asks for, as a sentence's end: "… is at most 20"."""
        ...

    @property
    def falls(self) -> bool:
        """Whether smaller measures are better ones."""
        ...

    def measures(self, evidence: Evidence) -> dict[str, Fraction | None]:
        """The number that is limited, per layer, or under "" for the network; None: infinite or unknown."""
        ...

    def judge(self, evidence: Evidence, baselines: Baselines) -> BudgetOutcome:
        """Compare.

        Args:
            evidence: what an audit found.
            baselines: the report at `baseline`, if there is one.
        """
        ...


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """What several comparisons amount to."""
    return next((outcome for outcome in _FROM_WORST if outcome in outcomes), "pass")
