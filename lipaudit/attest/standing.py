"""What a report's evidence comes to: the verdict that follows from it, and whether it may be signed.

A report's digest covers its evidence, not its verdict, which follows from the evidence: a budget that fails
by witness, else a finding of level error or a network without a bound (incomplete), else a budget that is
inconclusive, else pass.  Budgets that are waived do not count, if the evidence tells by which waivers, and
these cover every layer that keeps the budget from passing.  So a verdict that says something else was not
written by an audit.

Waivers end.  What one of them alone kept from counting counts again on the day after: what was green then may
not be green today.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date
from typing import Literal

from lipaudit.errors import ExitCode
from lipaudit.policy.verdict import decide, is_incomplete
from lipaudit.policy.waiver import covers, restored
from lipaudit.report.judgement import BudgetOutcome, Waiver
from lipaudit.report.model import AuditReport, Evidence, Verdict

__all__ = ["follows", "lapsed", "standing", "unfit"]


def lapsed(evidence: Evidence, today: date) -> tuple[Waiver, ...]:
    """The waivers that the verdict rests on and whose last day has passed."""
    return tuple(w for w in evidence.waivers if w.state == "used" and w.expires < today.isoformat())


def standing(evidence: Evidence, today: date | None = None) -> tuple[Verdict, Literal[0, 1, 3]]:
    """The verdict and the exit code that follow from the evidence.

    Args:
        evidence: of a report.
        today: what waivers that ended before this day excused counts again; None: as the audit judged them.
    """
    ended = () if today is None else lapsed(evidence, today)
    holding = [waiver for waiver in evidence.waivers if waiver.state == "used" and waiver not in ended]
    names = [layer.name for layer in evidence.layers]
    outcomes = tuple(_told(budget, holding, names) for budget in evidence.budgets)
    return decide(outcomes, incomplete=is_incomplete(evidence.global_, evidence.findings))


def follows(report: AuditReport) -> bool:
    """Whether the report's verdict and exit code are those that follow from its evidence.

    An interrupted audit is incomplete whatever it found, and says so in a finding.
    """
    if ExitCode(report.exit_code) is ExitCode.INTERRUPTED:
        return any(finding.rule == "LIP307" for finding in report.evidence.findings)
    return standing(report.evidence) == (report.verdict, report.exit_code)


def _told(budget: BudgetOutcome, holding: Iterable[Waiver], layers: Collection[str]) -> BudgetOutcome:
    """The outcome, waived only if it says so and these waivers cover all that keeps it from passing."""
    return budget.model_copy(update={"waived": budget.waived and covers(restored(holding), budget, layers)})


def unfit(evidence: Evidence) -> str:
    """Why nobody should put a name to this evidence; "" if there is no reason.

    An incomplete audit, or one that fails, is honest evidence and may be signed.  What may not is what others
    cannot repeat without running foreign code, or what rests on a guess.
    """
    if "--trust-pickle" in evidence.model.trust:
        return "the model was a pickle that ran whatever it held (--trust-pickle)"
    if not evidence.model.files:
        return "it names no file of the model, so that nothing could be bound to it"
    assumption = evidence.preprocessing.assumption
    if assumption is not None and not assumption.clear:
        return "its preprocessing was assumed, and another one may be meant"
    rules = {finding.rule for finding in evidence.findings}
    if "LIP304" in rules:
        return "its preprocessing is unknown"
    return "the audit was interrupted" if "LIP307" in rules else ""
