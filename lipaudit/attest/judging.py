"""Budgets, findings and the verdict, judged again from what was proved again.

What lies below (witnesses, attacks) is taken as the report tells it: it can make a budget fail, not pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import torch

from lipaudit import policy
from lipaudit.analyze import Layer
from lipaudit.attest.ledger import Ledger
from lipaudit.attest.standing import lapsed, standing
from lipaudit.bound import Bound, Estimate
from lipaudit.data import FILE_SPACE
from lipaudit.data.plausible import is_near_chance
from lipaudit.errors import UsageError
from lipaudit.policy import Budget, LipschitzBudget
from lipaudit.report.assemble import layer_findings
from lipaudit.report.judgement import BudgetOutcome
from lipaudit.report.model import AuditReport, Evidence
from lipaudit.report.number import Unbounded

__all__ = ["check_judgement"]


def check_judgement(
    report: AuditReport, layers: Sequence[Layer], bound: Bound, ledger: Ledger, today: date
) -> None:
    """Every budget, every finding that follows from the evidence, and the verdict.

    Args:
        report: what is claimed.
        layers: proved again; their lower ends as the report tells them.
        bound: of the network, proved again.
        ledger: is told of everything.
        today: waivers that ended before do not count.
    """
    evidence = report.evidence
    for index, outcome in enumerate(evidence.budgets):
        _check_budget(evidence, outcome, bound, f"budgets[{index}] ({outcome.id})", ledger)
    _check_findings(evidence, layers, ledger)
    verdict, code = standing(evidence)
    ledger.equal("verdict", report.verdict, verdict)
    ledger.equal("exit_code", report.exit_code, code)
    ledger.proved.append("budgets and verdict, from the bounds above and the counts")
    if evidence.policy is not None:
        ledger.unchecked.append(f"the policy file {evidence.policy.name}: only what the report says of it")
    for waiver in lapsed(evidence, today):
        ledger.unproved.append(f"the verdict of today: a waiver of {waiver.budget} ended on {waiver.expires}")
    ledger.unchecked.append("lower ends, attacks and other witnesses")


def _is_guess(evidence: Evidence) -> bool:
    assumption = evidence.preprocessing.assumption
    return assumption is not None and not assumption.clear


def _check_budget(
    evidence: Evidence, claimed: BudgetOutcome, bound: Bound, where: str, ledger: Ledger
) -> None:
    budget = _budget(claimed)
    if budget is None or claimed.layers or claimed.waived or claimed.baseline is not None:
        ledger.unproved.append(f"{where}: this version cannot judge it again")
        return
    lower = claimed.evidence.get("lower")
    below = Estimate(float(lower), "as reported") if isinstance(lower, int | float) else None
    try:
        (again,) = policy.judge([budget], bound, below, evidence.robustness)
    except ValueError as error:
        ledger.differs(where, claimed.outcome, error)
        return
    if _is_guess(evidence):
        (again,) = policy.undecided([again], "the preprocessing is a guess")
    ledger.equal(f"{where}.id", claimed.id, again.id)
    ledger.equal(f"{where}.outcome", claimed.outcome, again.outcome)
    ledger.equal(f"{where}.message", claimed.message, again.message)
    _check_numbers(claimed, again, where, ledger)


def _check_numbers(claimed: BudgetOutcome, again: BudgetOutcome, where: str, ledger: Ledger) -> None:
    """Upper ends may not be lower than proved, counts must be the same."""
    ledger.equal(f"{where}.evidence (names)", sorted(claimed.evidence), sorted(again.evidence))
    for name, known in again.evidence.items():
        told = claimed.evidence.get(name)
        if name == "upper" and isinstance(told, int | float):
            # One unit in the twelfth digit: norms may have been proved again in other last bits.
            if isinstance(known, Unbounded) or known is None or told < known * (1 - 1e-12):
                ledger.differs(f"{where}.evidence.{name}", told, known)
        elif name != "upper":
            ledger.equal(f"{where}.evidence.{name}", told, known)


def _budget(claimed: BudgetOutcome) -> Budget | None:
    """What was asked, as it was written."""
    try:
        if claimed.metric == "lipschitz":
            return LipschitzBudget(policy.parse_max_lipschitz(claimed.limit), claimed.limit, claimed.id)
        if claimed.metric == "certified_accuracy":
            return policy.parse_min_certified(f"{claimed.eps}:{claimed.limit}")
    except UsageError:
        return None
    return None


def _check_findings(evidence: Evidence, layers: Sequence[Layer], ledger: Ledger) -> None:
    """What a reader must be told, and is told."""
    told = {(f.rule, f.level, f.layer) for f in evidence.findings}
    for rule, level, layer in _expected(evidence, layers):
        if (rule, level, layer) not in told:
            place = "" if layer is None else f" at {layer}"
            ledger.differs("findings", "nothing", f"{rule} ({level}){place}")


def _expected(evidence: Evidence, layers: Sequence[Layer]) -> list[tuple[str, str, str | None]]:
    unmet = any(o.metric == "lipschitz" and o.outcome != "pass" for o in evidence.budgets)
    over_one = unmet and not _is_guess(evidence)
    found = layer_findings(layers, evidence.blocks, over_one=over_one)
    expected: list[tuple[str, str, str | None]] = [(f.rule, f.level, f.layer) for f in found]
    if evidence.robustness is None:
        return expected
    rows = evidence.robustness.samples or ()
    if any(row.predicted is None for row in rows):
        expected.append(("LIP302", "error", None))
    if evidence.preprocessing.threat_space == FILE_SPACE:
        expected.append(("LIP303", "warning", None))
    classes = evidence.model.num_classes or 2
    if rows and all(0 <= row.label < classes for row in rows):  # else the samples are refused anyway
        labels, correct = (torch.tensor([getattr(row, key) for row in rows]) for key in ("label", "correct"))
        if is_near_chance(correct, labels, classes):
            expected.append(("LIP301", "error", None))
    assumption = evidence.preprocessing.assumption
    if assumption is not None and not assumption.plausible:
        expected.append(("LIP304", "error", None))
    elif _is_guess(evidence):
        expected.append(("LIP306", "error", None) if evidence.budgets else ("LIP305", "warning", None))
    return expected
