"""What a network may cost, as values, and the three ways a budget can end.

pass: the proof meets the budget · fail: a witness exceeds it, so that no method can save it ·
inconclusive: it lies between proof and witness.  Only pass is green.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from lipaudit.bound import Bound, Estimate
from lipaudit.report.exact import read_exact
from lipaudit.report.judgement import BudgetOutcome, Outcome
from lipaudit.report.model import CurvePoint, Robustness
from lipaudit.report.number import Unbounded
from lipaudit.report.wording import percent_down, percent_up, shown_down, shown_up

__all__ = ["Budget", "CertifiedBudget", "Evidence", "LipschitzBudget"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What budgets are compared with: unrounded ends, exact counts."""

    above: Bound
    below: Estimate | None = None
    robustness: Robustness | None = None


class Budget(Protocol):
    """A limit and how to compare with it."""

    @property
    def id(self) -> str:
        """Its name in a report; no two budgets of a policy share one."""
        ...

    @property
    def asked_eps(self) -> str | None:
        """A radius that the certified curve must contain for this budget; None if it needs none."""
        ...

    def judge(self, evidence: Evidence) -> BudgetOutcome:
        """Compare."""
        ...


@dataclass(frozen=True, slots=True)
class LipschitzBudget:
    """The network's l2 Lipschitz constant is at most `limit`.

    Args:
        limit: ≥ 0, exact, in units of output per unit of the threat space.
        text: the limit as it was written.
    """

    limit: Fraction
    text: str
    id: str = "lipschitz"
    asked_eps: str | None = None

    def judge(self, evidence: Evidence) -> BudgetOutcome:
        """Pass iff upper ≤ limit, fail iff the witnessed lower > limit; compared as rational numbers."""
        upper = evidence.above.value
        lower = None if evidence.below is None else evidence.below.value
        outcome: Outcome = "inconclusive"
        if upper < math.inf and Fraction(upper) <= self.limit:
            outcome = "pass"
        elif lower is not None and Fraction(lower) > self.limit:
            outcome = "fail"
        return BudgetOutcome(
            id=self.id,
            metric="lipschitz",
            limit=self.text,
            outcome=outcome,
            message=self._message(outcome, upper, lower),
            evidence={"upper": Unbounded() if upper == math.inf else upper, "lower": lower},
        )

    def _message(self, outcome: Outcome, upper: float, lower: float | None) -> str:
        proved = "no finite bound" if upper == math.inf else f"at most {self._shown(upper)} proved"
        if outcome == "pass":
            return f"{proved}, {self.text} allowed"
        seen = "nothing witnessed" if lower is None else f"{shown_down(lower)} witnessed"
        if outcome == "fail":
            return f"{seen}, {self.text} allowed: no method can prove it"
        return f"{proved}, {seen}, {self.text} allowed: not decided"

    def _shown(self, upper: float) -> str:
        """Enough digits, rounded up, not to look larger than the limit it meets."""
        texts = [shown_up(upper, digits) for digits in (5, 9, 17)]
        return next((text for text in texts if Fraction(text) <= self.limit), texts[0])


@dataclass(frozen=True, slots=True)
class CertifiedBudget:
    """At least `share` of the evaluated samples is certified at l2 radius `eps`.

    Args:
        eps: the radius, > 0, exact.
        share: between 0 and 1, exact.
        eps_text: the radius as it was written.
        text: the share as it was written.
    """

    eps: Fraction
    share: Fraction
    eps_text: str
    text: str

    @property
    def id(self) -> str:
        """The metric and its radius."""
        return f"certified_accuracy@{self.eps_text}"

    @property
    def asked_eps(self) -> str | None:
        """The radius, as written."""
        return self.eps_text

    def judge(self, evidence: Evidence) -> BudgetOutcome:
        """Pass iff certified/n ≥ share, fail iff even the samples no witness rules out are too few.

        A misclassified sample is certified by no method, nor is one attacked within eps; so
        certified accuracy never exceeds `possible_count / n`, or else clean accuracy.

        Raises:
            ValueError: if the curve was not computed at this radius.
        """
        if evidence.robustness is None:
            return self._outcome("inconclusive", "no certified radii were computed", {})
        point = self._point(evidence.robustness)
        clean = evidence.robustness.clean_accuracy.count
        possible = clean if point.possible_count is None else min(clean, point.possible_count)
        certified, n = point.certified_count, point.n
        counts: dict[str, int | float | Unbounded | None] = {
            "certified_count": certified,
            "possible_count": possible,
            "n": n,
        }
        if n == 0:
            return self._outcome("inconclusive", "no sample was evaluated", counts)
        proved = f"{certified} of {n} ({percent_down(certified, n)}) certified at {self.eps_text}"
        if Fraction(certified, n) >= self.share:
            return self._outcome("pass", f"{proved}, {self.text} required", counts)
        top = f"at most {possible} ({percent_up(possible, n)}) possible"
        if Fraction(possible, n) < self.share:
            message = f"{proved}, {top}, {self.text} required: no method can prove it"
            return self._outcome("fail", message, counts)
        return self._outcome("inconclusive", f"{proved}, {top}, {self.text} required: not decided", counts)

    def _point(self, robustness: Robustness) -> CurvePoint:
        for point in robustness.curve:
            if read_exact(point.eps_exact) == self.eps:
                return point
        raise ValueError(f"the certified curve has no point at {self.eps_text}, which budget {self.id} needs")

    def _outcome(
        self, outcome: Outcome, message: str, counts: dict[str, int | float | Unbounded | None]
    ) -> BudgetOutcome:
        return BudgetOutcome(
            id=self.id,
            metric="certified_accuracy",
            limit=self.text,
            eps=self.eps_text,
            outcome=outcome,
            message=message,
            evidence=counts,
        )
