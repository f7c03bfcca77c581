"""Budgets from below: clean accuracy, or certified accuracy at a radius, is at least a share.

Certified accuracy: pass iff certified/n ≥ share · fail iff even the samples that no witness rules out are too
few · else inconclusive.  Clean accuracy is counted, not proved: it passes or fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lipaudit.policy.baseline import Reference, share
from lipaudit.policy.budget import Baselines
from lipaudit.policy.limit import Limit, Ratchet
from lipaudit.policy.space import Space
from lipaudit.report.counts import Counted, counted
from lipaudit.report.judgement import BudgetOutcome, Metric, Outcome
from lipaudit.report.model import Evidence, Robustness
from lipaudit.report.number import Plain
from lipaudit.report.wording import percent_down, percent_up

__all__ = ["FloorBudget"]


@dataclass(frozen=True, slots=True)
class FloorBudget:
    """At least a share of the evaluated samples is correct, or certified at l2 radius `eps`.

    Args:
        limit: a share between 0 and 1, or percentage points below an earlier one.
        eps: the radius, > 0, exact; None means clean accuracy.
        eps_text: the radius as it was written.
        line: where it stands in the policy file.
        space: the unit that distances are meant in; None: the policy's.
    """

    id: str
    limit: Limit | Ratchet
    eps: Fraction | None = None
    eps_text: str | None = None
    line: int | None = None
    space: Space | None = None

    @property
    def metric(self) -> Metric:
        """Of what it is a share."""
        return "clean_accuracy" if self.eps is None else "certified_accuracy"

    @property
    def asked_eps(self) -> str | None:
        """The radius, as written."""
        return self.eps_text

    @property
    def layers(self) -> tuple[str, ...]:
        """None: accuracy is the network's."""
        return ()

    @property
    def baseline(self) -> Path | None:
        """The earlier report, of a ratchet."""
        return self.limit.path if isinstance(self.limit, Ratchet) else None

    @property
    def needs_data(self) -> bool:
        """Yes: it counts samples."""
        return True

    @property
    def words(self) -> str:
        """How many samples are what."""
        what = "classified correctly" if self.eps is None else f"certified at l2 radius {self.eps_text}"
        if isinstance(self.limit, Ratchet):
            step = f"at most {self.limit.text} of all samples" if self.limit.step else "not at all"
            return f"the share of samples {what} is {step} below that in {self.limit.path.name}"
        return f"at least {self.limit.text} of the samples are {what}"

    @property
    def falls(self) -> bool:
        """No: more is better."""
        return False

    def measures(self, evidence: Evidence) -> dict[str, Fraction | None]:
        """The share that is proved, or counted."""
        robustness = evidence.robustness
        found = None if robustness is None else self._counted(robustness)
        if found is None or found.certified is None or found.n == 0:
            return {"": None}
        return {"": Fraction(found.certified, found.n)}

    def judge(self, evidence: Evidence, baselines: Baselines) -> BudgetOutcome:
        """Compare exact counts."""
        against = share(self.limit, self.metric, self.eps, evidence, baselines)
        robustness = evidence.robustness
        if robustness is None:
            nothing = "no data set was evaluated" if self.eps is None else "no certified radii were computed"
            return self._outcome("inconclusive", nothing, {}, against)
        found = self._counted(robustness)
        numbers: dict[str, int | Plain | None] = {"n": found.n}
        if self.eps is None:
            numbers["correct_count"] = found.certified
        else:
            numbers |= {"certified_count": found.certified, "possible_count": found.possible}
        if found.n == 0:
            return self._outcome("inconclusive", "no sample was evaluated", numbers, against)
        outcome = _compare(found, against.limit)
        return self._outcome(outcome, self._message(outcome, found, against), numbers, against)

    def _counted(self, robustness: Robustness) -> Counted:
        if self.eps is None:
            clean = robustness.clean_accuracy
            return Counted(clean.count, clean.count, clean.n)
        return counted(robustness, self.eps)

    def _message(self, outcome: Outcome, found: Counted, against: Reference) -> str:
        if self.eps is None:
            proved = f"{found.possible} of {found.n} ({percent_down(found.possible, found.n)}) correct"
        elif found.certified is None:
            proved = f"the report stores no samples to count at {self.eps_text}"
        else:
            ratio = percent_down(found.certified, found.n)
            proved = f"{found.certified} of {found.n} ({ratio}) certified at {self.eps_text}"
        if against.limit is None:
            return f"{proved}; {against.why}"
        required = f"{against.limit.text} required" + (f" ({against.why})" if against.why else "")
        if outcome == "pass" or self.eps is None:
            return f"{proved}, {required}"
        top = f"at most {found.possible} ({percent_up(found.possible, found.n)}) possible"
        end = "no method can prove it" if outcome == "fail" else "not decided"
        return f"{proved}, {top}, {required}: {end}"

    def _outcome(
        self, outcome: Outcome, message: str, numbers: dict[str, int | Plain | None], against: Reference
    ) -> BudgetOutcome:
        if isinstance(self.limit, Limit):
            text = self.limit.text
        elif against.limit is not None:
            text = against.limit.text
        else:
            text = f"{self.limit.text} below {self.limit.path.name}"
        return BudgetOutcome(
            id=self.id,
            metric=self.metric,
            limit=text,
            eps=self.eps_text,
            outcome=outcome,
            message=message,
            evidence=numbers,
            baseline=against.record,
            line=self.line,
        )


def _compare(found: Counted, limit: Limit | None) -> Outcome:
    if limit is None:
        return "inconclusive"
    if found.certified is not None and Fraction(found.certified, found.n) >= limit.value:
        return "pass"
    return "fail" if Fraction(found.possible, found.n) < limit.value else "inconclusive"
