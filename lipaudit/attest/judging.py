"""Budgets, waivers, findings and the verdict, judged again from evidence whose numbers were proved again.

Without the policy's file budgets and waivers are taken as the report tells them, with their limits; what
cannot be rebuilt from that (requirements, ratchets) needs the file.  What lies below (witnesses, attacks) is
taken as the report tells it: it can make a Lipschitz or certified budget fail, not pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import torch

from lipaudit.analyze import Layer
from lipaudit.attest.ledger import Ledger
from lipaudit.attest.standing import lapsed, standing
from lipaudit.data import FILE_SPACE
from lipaudit.data.plausible import is_near_chance
from lipaudit.errors import UsageError
from lipaudit.policy import (
    Budget,
    CeilingBudget,
    FloorBudget,
    Limit,
    Policy,
    decide,
    judge,
    load_baselines,
    parse_max_lipschitz,
    parse_min_certified,
)
from lipaudit.policy.space import Space, space_of
from lipaudit.policy.verdict import is_incomplete
from lipaudit.policy.waiver import restored
from lipaudit.report.judgement import BudgetOutcome
from lipaudit.report.layer_findings import layer_findings
from lipaudit.report.model import AuditReport, Evidence, Finding
from lipaudit.report.remedies import is_elsewhere

__all__ = ["check_judgement"]

COMPARED = ("metric", "limit", "eps", "outcome", "message", "evidence", "layers", "waived")
"""Fields of an outcome that follow from the budget and the evidence."""
ANY_RADIUS = "1"
OF_WAIVERS = frozenset({"LIP401", "LIP402", "LIP403"})
REBUILT = OF_WAIVERS | {"LIP101", "LIP203"}
"""Findings whose words follow from what was proved, and from the waivers."""


def check_judgement(
    report: AuditReport, layers: Sequence[Layer], given: Policy | None, today: date, ledger: Ledger
) -> None:
    """Every budget, every finding that follows from the evidence, and the verdict.

    Args:
        report: what is claimed; its numbers are proved.
        layers: proved again; their lower ends as the report tells them.
        given: the policy's file; None if it is not at hand.
        today: waivers that ended before do not hold any more.
        ledger: is told of everything.

    Raises:
        InputUnavailable, InputRefused: if a baseline of the policy cannot be read.
    """
    evidence, before = report.evidence, len(ledger.differences)
    policy, left = _policy(evidence, given, ledger)
    full = evidence.model_copy(update={"findings": (*evidence.findings, *_expected(evidence, layers))})
    day = today if evidence.policy is None else date.fromisoformat(evidence.policy.judged_on)
    # `gate` takes every assumed preprocessing for a guess, which claims less.
    strict = any(outcome.message.endswith("the preprocessing is a guess") for outcome in evidence.budgets)
    try:
        again = judge(policy, full, day, load_baselines(policy), strict=strict)
    except (UsageError, ValueError) as error:
        ledger.differs("budgets", "judged", error)
        return
    told = {(f.rule, f.level, f.layer) for f in evidence.findings}
    for finding in again.findings:
        if (finding.rule, finding.level, finding.layer) not in told:
            ledger.differs("findings", "nothing", f"{finding.rule} ({finding.level}): {finding.message}")
    texts = [*layer_findings(layers, evidence.blocks), *(f for f in again.findings if f.rule in OF_WAIVERS)]
    _check_messages(evidence.findings, texts, ledger)
    judged = {outcome.id: outcome for outcome in again.outcomes}
    ledger.equal("budgets (ids)", sorted(o.id for o in evidence.budgets), sorted({*judged, *left}))
    for index, outcome in enumerate(evidence.budgets):
        if outcome.metric == "slack":
            ledger.unchecked.append(f"budget {outcome.id}: a slack rests on a witness, which is not repeated")
        if outcome.id in judged:
            _compare(outcome, judged[outcome.id], f"budgets[{index}] ({outcome.id})", ledger)
    if not left:
        ledger.equal("waivers", evidence.waivers, again.waivers)
    outcomes = [judged.get(outcome.id, outcome) for outcome in evidence.budgets]
    verdict, code = decide(outcomes, incomplete=is_incomplete(evidence.global_, again.findings))
    ledger.equal("verdict", report.verdict, verdict)
    ledger.equal("exit_code", report.exit_code, code)
    ledger.holds(before, "budgets, findings and verdict, from the bounds above and the counts")
    ended = [f"a waiver of {waiver.budget} ended on {waiver.expires}" for waiver in lapsed(evidence, today)]
    now = standing(evidence, today)[0]
    if ended and now != report.verdict:
        ledger.differs(f"verdict on {today.isoformat()}", report.verdict, f"{now}: {'; '.join(ended)}")
    ledger.unchecked.append("lower ends, attacks and other witnesses")


def _check_messages(told: Sequence[Finding], rebuilt: Sequence[Finding], ledger: Ledger) -> None:
    """What a finding says, where it can be written anew; numbers of a witness may round otherwise."""
    known = {(f.rule, f.layer, f.message) for f in rebuilt}
    for finding in told:
        if finding.rule in REBUILT and (finding.rule, finding.layer, finding.message) not in known:
            meant = [f.message for f in rebuilt if (f.rule, f.layer) == (finding.rule, finding.layer)]
            shown = " or ".join(meant) or "no such finding"
            ledger.differs(f"findings ({finding.rule}).message", finding.message, shown)


def _compare(claimed: BudgetOutcome, again: BudgetOutcome, where: str, ledger: Ledger) -> None:
    for name in COMPARED:
        ledger.equal(f"{where}.{name}", getattr(claimed, name), getattr(again, name))


def _policy(evidence: Evidence, given: Policy | None, ledger: Ledger) -> tuple[Policy, set[str]]:
    """What to judge by, and the ids of budgets that cannot be judged again."""
    record, file = evidence.policy, None if given is None else given.file
    if given is not None and (record is None or file is None):
        raise UsageError("--policy: the report was not judged by a file", hint="leave it out")
    if given is not None and record is not None and file is not None:
        ledger.equal("policy.sha256", record.sha256, file.sha256)
        known = {budget.id for budget in given.budgets}
    else:
        known = set()
        if record is not None:
            told = "budgets and waivers are those that the report tells"
            ledger.unchecked.append(f"the policy file {record.name} (--policy): {told}")
    rebuilt, left = [], set()
    for outcome in evidence.budgets:
        # Which unit was meant is told by whether the budget was judged in the report's.
        space = None if is_elsewhere(outcome) else space_of(evidence.preprocessing)
        budget = None if outcome.id in known else _budget(outcome, space)
        if budget is not None:
            rebuilt.append(budget)
        elif outcome.id not in known:
            left.add(outcome.id)
            ledger.unproved.append(f"budget {outcome.id}: to judge it again takes the policy file (--policy)")
    base = Policy(waivers=restored(evidence.waivers)) if given is None else given
    return base.plus(rebuilt), left


def _budget(told: BudgetOutcome, space: Space | None) -> Budget | None:
    """What was asked, as it was written; None where the report does not tell."""
    if told.baseline is not None:
        return None
    try:
        if told.metric in ("lipschitz", "slack"):
            limit = Limit(parse_max_lipschitz(told.limit), told.limit)
            names = tuple(row.layer for row in told.layers)
            return CeilingBudget(told.id, told.metric, limit, names, told.line, space)
        if told.metric in ("certified_accuracy", "clean_accuracy"):
            asked = parse_min_certified(f"{told.eps or ANY_RADIUS}:{told.limit}")
            is_clean = told.metric == "clean_accuracy"
            return (
                FloorBudget(told.id, asked.limit, line=told.line)
                if is_clean
                else replace(asked, id=told.id, line=told.line, space=space)
            )
    except UsageError:
        return None
    return None


def _expected(evidence: Evidence, layers: Sequence[Layer]) -> list[Finding]:
    """Findings that follow from the evidence; `judge` drops those that no budget asks for."""
    found = list(layer_findings(layers, evidence.blocks))
    assumption = evidence.preprocessing.assumption
    if evidence.robustness is not None:
        found += [_finding(rule, level, why) for rule, level, why in _about_samples(evidence)]
    if assumption is not None and not assumption.plausible:
        found.append(_finding("LIP304", "error", "preprocessing unknown"))
    elif assumption is not None and not assumption.clear:
        told = any(finding.rule in ("LIP305", "LIP306") for finding in evidence.findings)
        found += [] if told else [_finding("LIP305", "warning", "preprocessing assumed")]
    return found


def _finding(rule: str, level: str, message: str) -> Finding:
    return Finding.model_validate({"rule": rule, "level": level, "message": message})


def _about_samples(evidence: Evidence) -> list[tuple[str, str, str]]:
    """What makes an evaluation worthless."""
    rows = () if evidence.robustness is None else evidence.robustness.samples or ()
    found = []
    if any(row.predicted is None for row in rows):
        found.append(("LIP302", "error", "samples give NaN or infinite outputs"))
    if evidence.preprocessing.threat_space == FILE_SPACE:
        found.append(("LIP303", "warning", "distances are not in pixels of [0,1]"))
    classes = evidence.model.num_classes or 2
    if rows and all(0 <= row.label < classes for row in rows):  # else the samples are refused anyway
        labels, correct = (torch.tensor([getattr(row, key) for row in rows]) for key in ("label", "correct"))
        if is_near_chance(correct, labels, classes):
            found.append(("LIP301", "error", "accuracy is near chance"))
    return found
