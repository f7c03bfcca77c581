"""From outcomes to one verdict and one exit code.

Several things may be true at once; the most serious is told, in this order: internal error (70),
interrupted (130), usage (2), refused (4), unavailable (5), a budget that fails by witness (1),
incomplete (3), an inconclusive budget (1), success (0).  A witness stays true however little else was
analysed, so it precedes "incomplete"; an inconclusive budget could still be decided, so it does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from lipaudit.bound import Bound, Estimate
from lipaudit.errors import ExitCode
from lipaudit.policy.budget import Budget, Evidence
from lipaudit.report.judgement import BudgetOutcome
from lipaudit.report.model import Robustness, Verdict

__all__ = ["decide", "judge", "most_serious", "undecided"]

_ERRORS = (
    ExitCode.INTERNAL,
    ExitCode.INTERRUPTED,
    ExitCode.USAGE,
    ExitCode.REFUSED,
    ExitCode.UNAVAILABLE,
)


def judge(
    budgets: Iterable[Budget],
    above: Bound,
    below: Estimate | None = None,
    robustness: Robustness | None = None,
) -> tuple[BudgetOutcome, ...]:
    """One outcome per budget, in order.

    Args:
        budgets: what to compare with.
        above: the network's bound, unrounded.
        below: the witnessed value, unrounded; None if nobody looked.
        robustness: certified counts, with a curve point at every radius a budget asks for.

    Raises:
        ValueError: if the curve lacks such a point.
    """
    evidence = Evidence(above, below, robustness)
    return tuple(budget.judge(evidence) for budget in budgets)


def undecided(outcomes: Iterable[BudgetOutcome], why: str) -> tuple[BudgetOutcome, ...]:
    """The same budgets without a judgement, because what was judged may not be what is meant."""
    return tuple(
        outcome.model_copy(update={"outcome": "inconclusive", "message": f"{outcome.message}; {why}"})
        for outcome in outcomes
    )


def decide(outcomes: Iterable[BudgetOutcome], *, incomplete: bool) -> tuple[Verdict, Literal[0, 1, 3]]:
    """The verdict on a finished analysis, and how the program ends."""
    found = {outcome.outcome for outcome in outcomes}
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
