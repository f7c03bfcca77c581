"""From outcomes to one verdict and one exit code.

Several things may be true at once; the most serious is told, in this order: internal error (70),
interrupted (130), usage (2), refused (4), unavailable (5), a budget that fails by witness (1),
incomplete (3), an inconclusive budget (1), success (0).  A witness stays true however little else was
analysed, so it precedes "incomplete"; an inconclusive budget could still be decided, so it does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from lipaudit.errors import ExitCode
from lipaudit.report.judgement import BudgetOutcome
from lipaudit.report.model import Finding, NetworkBracket, Verdict

__all__ = ["decide", "is_incomplete", "most_serious", "undecided", "unjudged"]

_ERRORS = (
    ExitCode.INTERNAL,
    ExitCode.INTERRUPTED,
    ExitCode.USAGE,
    ExitCode.REFUSED,
    ExitCode.UNAVAILABLE,
)


def undecided(outcomes: Iterable[BudgetOutcome], why: str) -> tuple[BudgetOutcome, ...]:
    """The same budgets without a judgement, because what was judged may not be what is meant.

    Requirements stand: they are facts about the audit.

    Args:
        outcomes: what became of them.
        why: said in their messages.
    """
    return tuple(o if o.metric == "require" else _undecided(o, f"{o.message}; {why}") for o in outcomes)


def unjudged(outcomes: Iterable[BudgetOutcome], why: str) -> tuple[BudgetOutcome, ...]:
    """Budgets and requirements on an audit that did not come to its end: nothing was compared.

    Args:
        outcomes: what a part of the evidence would have given.
        why: the reason, which is all that is said.
    """
    return tuple(
        _undecided(o, f"not judged: {why}").model_copy(update={"layers": (), "baseline": None})
        for o in outcomes
    )


def _undecided(outcome: BudgetOutcome, message: str) -> BudgetOutcome:
    rows = tuple(row.model_copy(update={"outcome": "inconclusive"}) for row in outcome.layers)
    return outcome.model_copy(update={"outcome": "inconclusive", "message": message, "layers": rows})


def is_incomplete(network: NetworkBracket, findings: Iterable[Finding]) -> bool:
    """Whether something has no bound or could not be judged: a network without a bound proves nothing."""
    return network.upper.value is None or any(finding.level == "error" for finding in findings)


def decide(outcomes: Iterable[BudgetOutcome], *, incomplete: bool) -> tuple[Verdict, Literal[0, 1, 3]]:
    """The verdict on a finished analysis, and how the program ends; a waived budget does not count."""
    found = {outcome.outcome for outcome in outcomes if not outcome.is_met}
    if "fail" in found:
        return "fail", 1
    if incomplete:
        return "incomplete", 3
    if "inconclusive" in found:
        return "inconclusive", 1
    return "pass", 0


def most_serious(errors: Iterable[ExitCode], verdict: ExitCode) -> ExitCode:
    """The code to end with when errors came on top of a verdict; any error outranks it."""
    met = set(errors)
    return next((code for code in _ERRORS if code in met), verdict)
