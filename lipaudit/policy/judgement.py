"""Judging a report: policy and evidence in; outcomes, findings, verdict and exit code out.

One path for an audit, for `gate` and for whoever judges again later.  It reads nothing but its arguments:
baselines were loaded before, and the day is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Literal

from lipaudit.policy.budget import Baselines
from lipaudit.policy.policy import Policy
from lipaudit.policy.space import in_space, is_identity, space_of
from lipaudit.policy.verdict import decide, is_incomplete, undecided, unjudged
from lipaudit.policy.waiver import apply_waivers, waiver_findings
from lipaudit.report.canonical import sealed
from lipaudit.report.inputs import AssumptionRecord, PreprocessingRecord
from lipaudit.report.interruption import is_interrupted
from lipaudit.report.judgement import BudgetOutcome, PolicyRecord, Waiver
from lipaudit.report.model import AuditReport, Evidence, Finding, NetworkBracket, Run, Verdict
from lipaudit.report.remedies import preprocessing_flags
from lipaudit.report.wording import printable

__all__ = ["Judgement", "judge"]

_GUESS = "the preprocessing is a guess"
_UNJUDGED = "; a budget is not judged by a guess"
_AMPLIFYING = frozenset({"LIP201", "LIP202", "LIP203"})
"""Findings that explain why a Lipschitz budget is not met; without one, layers may amplify."""
_PREPROCESSING = frozenset({"LIP304", "LIP305", "LIP306"})
_EXPLAINED = frozenset({"LIP101", "LIP307"})
"""Findings that say already why the network has no bound."""
_OWN = frozenset({"LIP103", "LIP309", "LIP401", "LIP402", "LIP403"})


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of a policy on one report.

    Attributes:
        outcomes: one per budget, in order.
        waivers: one per waiver, with its state.
        findings: all of the report: those of the audit, and those of the judgement.
        verdict: see `report.model.Verdict`.
        exit_code: how the program ends.
        policy: the file, and the day by which waivers were judged; None without a file.
    """

    outcomes: tuple[BudgetOutcome, ...]
    waivers: tuple[Waiver, ...]
    findings: tuple[Finding, ...]
    verdict: Verdict
    exit_code: Literal[0, 1, 3]
    policy: PolicyRecord | None

    def report(self, evidence: Evidence, run: Run) -> AuditReport:
        """A report that says so, sealed, of the evidence that was judged."""
        told = evidence.model_copy(
            update={
                "policy": self.policy,
                "budgets": self.outcomes,
                "waivers": self.waivers,
                "findings": self.findings,
            }
        )
        return sealed(AuditReport(verdict=self.verdict, exit_code=self.exit_code, evidence=told, run=run))


def judge(
    policy: Policy,
    evidence: Evidence,
    today: date,
    baselines: Baselines | None = None,
    *,
    strict: bool = False,
) -> Judgement:
    """Judge a report's evidence; an earlier judgement in it does not count.

    Args:
        policy: what to compare with.
        evidence: with every finding of the audit.
        today: the day by which waivers hold or have expired.
        baselines: the reports at `policy.baselines`; a ratchet whose report is missing is inconclusive.
        strict: whether an assumed preprocessing is a guess even where nothing else is plausible.

    Raises:
        UsageError: if a budget names a layer that the report does not have.
    """
    names = [layer.name for layer in evidence.layers]
    interrupted = is_interrupted(evidence.findings)
    if not interrupted:  # of layers that were not reached nothing is known
        policy.check_layers(names)
    how = evidence.preprocessing
    outcomes = tuple(
        in_space(budget.judge(evidence, baselines or {}), budget.space or policy.space, how)
        for budget in policy.budgets
    )
    assumed = evidence.preprocessing.assumption
    guessed = assumed is not None and (strict or not assumed.clear)
    if interrupted:
        outcomes = unjudged(outcomes, "interrupted")
    elif guessed:
        outcomes = undecided(outcomes, _GUESS)
    outcomes, waivers = apply_waivers(outcomes, policy.waivers, today, names)
    told = [waiver for waiver in waivers if not interrupted or waiver.state == "expired"]
    findings = (*_kept(evidence, outcomes, guessed=guessed), *waiver_findings(told, names))
    verdict, code = decide(outcomes, incomplete=is_incomplete(evidence.global_, findings))
    file = policy.file
    record = None
    if file is not None:
        record = PolicyRecord(name=file.path.name, sha256=file.sha256, judged_on=today.isoformat())
    return Judgement(outcomes, waivers, findings, verdict, code, record)


def _kept(evidence: Evidence, outcomes: Iterable[BudgetOutcome], *, guessed: bool) -> Iterable[Finding]:
    """The audit's findings, as far as this judgement asks for them."""
    judged = tuple(outcomes)
    unmet = any(o.metric == "lipschitz" and o.outcome != "pass" for o in judged)
    unmet = unmet and not guessed and not is_interrupted(evidence.findings)
    dropped = _OWN if unmet else _OWN | _AMPLIFYING
    found = tuple(finding for finding in evidence.findings if finding.rule not in dropped)
    if evidence.global_.upper.value is None and not any(f.rule in _EXPLAINED for f in found):
        found = (_boundless(evidence.global_), *found)
    if space_of(evidence.preprocessing) == "input" and not is_identity(evidence.preprocessing):
        found = (*found, _BEHIND)
    if not (guessed and judged):
        return (_milder(finding) for finding in found)
    how = evidence.preprocessing
    if how.assumption is not None and not any(f.rule in _PREPROCESSING for f in found):
        found = (*found, _assumed(how, how.assumption))
    return (_graver(finding) for finding in found)


_BEHIND = Finding(
    rule="LIP309",
    level="note",
    message="distances and radii are those of what the network receives behind scale, mean and std, not of "
    "pixels of [0,1]",
)


def _boundless(network: NetworkBracket) -> Finding:
    """No bound on the whole, although every layer has one: nothing follows from such an audit."""
    why = printable(network.note) or "the product of its layers is too large to be written down"
    return Finding(
        rule="LIP103",
        level="error",
        message=f"the network has no finite bound: {why}",
        advice="normalise the layers with the largest constants: a product beyond 1e308 says nothing",
    )


def _assumed(how: PreprocessingRecord, found: AssumptionRecord) -> Finding:
    message = f"preprocessing assumed: {found.convention} ({found.correct}/{found.samples} correct)"
    return Finding(
        rule="LIP305",
        level="warning",
        message=printable(message),
        advice=f"state it: {preprocessing_flags(how)}",
    )


def _graver(finding: Finding) -> Finding:
    """A guess that budgets would be judged by is an error."""
    if finding.rule != "LIP305":
        return finding
    return Finding(
        rule="LIP306",
        level="error",
        message=f"{finding.message}{_UNJUDGED}",
        layer=finding.layer,
        advice=finding.advice,
    )


def _milder(finding: Finding) -> Finding:
    """Without a budget it is a warning."""
    if finding.rule != "LIP306":
        return finding
    return Finding(
        rule="LIP305",
        level="warning",
        message=finding.message.removesuffix(_UNJUDGED),
        layer=finding.layer,
        advice=finding.advice,
    )
