"""What keeps a report from being clean, as one list, worst first: findings and budgets that do not pass.

SARIF results and CI annotations are this list in two spellings.  A budget that fails is an error, an
inconclusive one a warning, a waived one a note that carries who answers for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lipaudit.report.judgement import BudgetOutcome, Metric
from lipaudit.report.model import AuditReport, Evidence, Finding
from lipaudit.report.wording import printable

__all__ = ["Problem", "budget_rule", "justification", "problems", "unmet_layers"]

Level = Literal["error", "warning", "note"]
_WORST_FIRST: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Problem:
    """One of them; every text is printable.

    Args:
        rule: `LIP101`, or `budget-lipschitz` for budgets of that metric.
        level: how bad it is, in SARIF's words.
        title: a few words without numbers.
        message: the whole story.
        layers: the layers that it speaks of; none: the network.
        budget: the budget's id; None for findings.
        line: where the budget stands in the policy file, from 1; None if in none.
        waived: why it is tolerated and who says so; empty unless it is.
    """

    rule: str
    level: Level
    title: str
    message: str
    layers: tuple[str, ...] = ()
    budget: str | None = None
    line: int | None = None
    waived: str = ""


def problems(report: AuditReport) -> tuple[Problem, ...]:
    """Everything that is not as it should be; of one level budgets first, else in the report's order."""
    evidence = report.evidence
    found = [_of_budget(budget, evidence) for budget in evidence.budgets if budget.outcome != "pass"]
    found += map(_of_finding, evidence.findings)
    return tuple(sorted(found, key=lambda problem: _WORST_FIRST.index(problem.level)))


def budget_rule(metric: Metric) -> str:
    """The rule that budgets of a metric are instances of."""
    return f"budget-{metric}"


def justification(budget: BudgetOutcome, evidence: Evidence) -> str:
    """The waivers that cover a budget, each with its owner and last day; empty unless it is waived."""
    if not budget.waived:
        return ""
    used = [w for w in evidence.waivers if w.budget == budget.id and w.state == "used"]
    told = [f"{w.reason} ({w.owner}, until {w.expires})" for w in used]
    return printable("; ".join(told)) or "waived by the policy"


def unmet_layers(budget: BudgetOutcome) -> tuple[str, ...]:
    """The layers that keep a budget from passing; of a budget that is not waived, those without a waiver."""
    return tuple(
        printable(row.layer)
        for row in budget.layers
        if row.outcome != "pass" and (budget.waived or not row.waived)
    )


def _of_budget(budget: BudgetOutcome, evidence: Evidence) -> Problem:
    why = justification(budget, evidence)
    name = printable(budget.id)
    message = f"{name}: {budget.outcome}: {printable(budget.message)}"
    level: Level = "note" if budget.waived else "error" if budget.outcome == "fail" else "warning"
    return Problem(
        rule=budget_rule(budget.metric),
        level=level,
        title=f"budget {name} {'is waived' if budget.waived else _ENDS[budget.outcome]}",
        message=f"{message}. Waived: {why}" if why else message,
        layers=unmet_layers(budget),
        budget=name,
        line=budget.line or None,
        waived=why,
    )


_ENDS = {"fail": "fails", "inconclusive": "is inconclusive"}


def _of_finding(finding: Finding) -> Problem:
    advice = f"; advice: {finding.advice}" if finding.advice else ""
    where = f" in {printable(finding.layer)}" if finding.layer else ""
    return Problem(
        rule=finding.rule,
        level=finding.level,
        title=f"{finding.rule}{where}",
        message=printable(f"{finding.message}{advice}"),
        layers=(printable(finding.layer),) if finding.layer else (),
    )
