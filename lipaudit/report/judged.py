"""How a report was judged, in lines: the policy file, each budget, layers that do not pass, the waivers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from rich.text import Text

from lipaudit.report.judgement import BudgetOutcome, LayerOutcome, Waiver
from lipaudit.report.model import AuditReport, Evidence, Finding
from lipaudit.report.wording import plural, printable, shown_down, shown_up

__all__ = ["judgement_text", "policy_lines"]

_STYLE = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold yellow"}
_LABEL = 11  # columns of the left margin in which each part is named
_LAYERS = 8
"""Layers of one budget that are shown before they are only counted."""


def policy_lines(evidence: Evidence) -> Iterator[Text]:
    """What the screen says beside `policy`; the word tells the outcome, colour repeats it."""
    policy = evidence.policy
    if policy is not None:
        yield Text(f"{printable(policy.name)} · sha256 {policy.sha256[:12]} · judged on {policy.judged_on}")
    for budget in evidence.budgets:
        line = Text(f"{budget.outcome.upper():<13}", style=_STYLE[budget.outcome])
        waived = " (waived)" if budget.waived else ""
        words = f"{printable(budget.id)}{waived}: {printable(budget.message)}"
        yield line.append(words, style="not bold default")
        yield from map(Text, _layer_lines(budget))
    for waiver in evidence.waivers:
        yield Text(_waiver_line(waiver))
    if not evidence.budgets:
        yield Text("no budget set")


def _layer_lines(budget: BudgetOutcome) -> Iterator[str]:
    """The layers that keep a budget from passing, worst first."""
    order = ("fail", "inconclusive")
    rows = [row for outcome in order for row in budget.layers if row.outcome == outcome]
    for row in rows[:_LAYERS]:
        waived = " (waived)" if row.waived else ""
        numbers = _numbers(row, slack=budget.metric == "slack")
        yield f"  {row.outcome:<13}{printable(row.layer)}{waived}: {numbers}"
    if len(rows) > _LAYERS:
        yield f"  … and {plural(len(rows) - _LAYERS, 'more layer')}"


def _numbers(row: LayerOutcome, *, slack: bool) -> str:
    upper = shown_up(row.upper) if isinstance(row.upper, float) else None
    if slack:
        missing = "no slack without a witness" if row.upper is None else "no finite slack"
        return missing if upper is None else f"slack {upper}"
    seen = "" if row.lower is None else f", {shown_down(row.lower)} witnessed"
    return ("no finite bound" if upper is None else f"at most {upper} proved") + seen


def _waiver_line(waiver: Waiver) -> str:
    state = {"used": "WAIVED", "unused": "waiver unused", "expired": "WAIVER EXPIRED"}[waiver.state]
    where = f" at {', '.join(map(printable, waiver.layers))}" if waiver.layers else ""
    whose = f"{printable(waiver.owner)}: {printable(waiver.reason)}"
    return f"{state}: {printable(waiver.budget)}{where}, last day {waiver.expires} ({whose})"


def judgement_text(report: AuditReport, width: int) -> str:
    """The model, the findings and how the budgets came out: what a second judgement can have changed."""
    evidence = report.evidence
    data = evidence.dataset
    facts = [printable(evidence.model.name), f"weights {evidence.model.weights_sha256[:12]}"]
    if data is None:
        facts.append("no data set")
    else:
        facts.append(f"{printable(data.name)} {data.num_evaluated} of {data.total}")
    facts.append(f"distances in {printable(evidence.preprocessing.threat_space)}")
    parts = [
        ("report", [" · ".join([*facts, f"audited {printable(report.run.started)}"])]),
        ("findings", list(_finding_lines(evidence.findings))),
        ("policy", [line.plain for line in policy_lines(evidence)]),
    ]
    return "".join(_folded(label, lines, width) for label, lines in parts if lines)


def _finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Each with its advice, unless that was given before; the last of a rule says where to learn more."""
    advised = {""}
    last = {finding.rule: number for number, finding in enumerate(findings)}
    for number, finding in enumerate(findings):
        where = f" [{printable(finding.layer)}]" if finding.layer else ""
        yield f"{finding.level} {finding.rule}{where} {printable(finding.message)}"
        if finding.advice not in advised:
            advised.add(finding.advice)
            yield f"  → {printable(finding.advice)}"
        if last[finding.rule] == number:
            yield f"  more: lipaudit explain {finding.rule}"


def _folded(label: str, lines: list[str], width: int) -> str:
    """Lines with their label in the left margin."""
    folded = [
        part
        for line in lines
        for part in wrap(line, width - _LABEL, drop_whitespace=True, break_on_hyphens=False) or [""]
    ]
    return "".join(
        f"{label if number == 0 else '':<{_LABEL}}{line}".rstrip() + "\n"
        for number, line in enumerate(folded)
    )
