"""How a report was judged, in lines: the policy file, each budget, layers that do not pass, the waivers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from rich.style import Style

from lipaudit.report.interruption import is_interrupted
from lipaudit.report.judgement import BudgetOutcome, LayerOutcome, Waiver
from lipaudit.report.model import AuditReport, Evidence, Finding
from lipaudit.report.remedies import remedies
from lipaudit.report.wording import plural, printable, shown_down, shown_up

__all__ = [
    "OUTCOMES",
    "STYLES",
    "coloured",
    "judgement_text",
    "outcome_columns",
    "policy_line",
    "policy_rows",
    "untold",
]

_LABEL = 11  # columns of the left margin in which each part is named
_LAYERS = 8
"""Layers of one budget that are shown before they are only counted."""


def policy_line(evidence: Evidence) -> str:
    """The file that the budgets come from; empty if there is none and there are budgets."""
    policy = evidence.policy
    if policy is None:
        return "" if evidence.budgets else "no budget set"
    line = f"{printable(policy.name)} · sha256 {policy.sha256[:12]} · judged on {policy.judged_on}"
    return line if evidence.budgets else f"{line} · no budget set"


def policy_rows(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """What became of each budget in a word (of `OUTCOMES`), and its story; what keeps a verdict first.

    Further lines of a budget have no word: the layers that do not pass, and who answers for its waivers.
    """
    for budget in sorted(evidence.budgets, key=lambda budget: OUTCOMES.index(_word(budget))):
        what = f" ({budget.outcome})" if budget.waived else ""
        yield _word(budget), f"{printable(budget.id)}{what}: {printable(budget.message)}"
        yield from (("", line) for line in _layer_lines(budget))
        used = (w for w in evidence.waivers if w.budget == budget.id and w.state == "used")
        yield from (("", f"waived {_waiver_words(w)}: {printable(w.reason)}") for w in used)
    idle = ("expired",) if is_interrupted(evidence.findings) else ("unused", "expired")
    for waiver in evidence.waivers:
        if waiver.state in idle:  # its reason stands in its finding
            yield waiver.state.upper(), f"waiver of {printable(waiver.budget)} {_waiver_words(waiver)}"


OUTCOMES = ("FAIL", "INCONCLUSIVE", "WAIVED", "PASS")
"""Of budgets on the screen, in the order in which they stand there."""
STYLES = {
    "FAIL": "bold red",
    "NOT WRITTEN": "bold red",
    "INCONCLUSIVE": "bold yellow",
    "INCOMPLETE": "bold yellow",
    "WAIVED": "bold yellow",
    "EXPIRED": "bold yellow",
    "PASS": "bold green",
}
"""Of words that tell how something ended; colour only repeats them."""


def coloured(word: str) -> str:
    """The word in its colour, as a terminal takes it."""
    return Style.parse(STYLES[word]).render(word) if word in STYLES else word


def outcome_columns(rows: Iterable[tuple[str, str]]) -> int:
    """How wide the column of the words is."""
    return max((len(word) for word, _ in rows), default=0) + 2


def _word(budget: BudgetOutcome) -> str:
    return "WAIVED" if budget.waived else budget.outcome.upper()


def _layer_lines(budget: BudgetOutcome) -> Iterator[str]:
    """The layers that keep a budget from passing, worst first."""
    order = ("fail", "inconclusive")
    rows = [row for outcome in order for row in budget.layers if row.outcome == outcome]
    for row in rows[:_LAYERS]:
        waived = " (waived)" if row.waived and not budget.waived else ""
        numbers = _numbers(row, slack=budget.metric == "slack")
        yield f"{row.outcome} at {printable(row.layer)}{waived}: {numbers}"
    if len(rows) > _LAYERS:
        yield f"… and at {plural(len(rows) - _LAYERS, 'more layer')}"


def _numbers(row: LayerOutcome, *, slack: bool) -> str:
    upper = shown_up(row.upper) if isinstance(row.upper, float) else None
    if slack:
        missing = "no slack without a witness" if row.upper is None else "no finite slack"
        return missing if upper is None else f"slack {upper}"
    seen = "" if row.lower is None else f", {shown_down(row.lower)} witnessed"
    return ("no finite bound" if upper is None else f"at most {upper} proved") + seen


def _waiver_words(waiver: Waiver) -> str:
    """Where, how long and by whom."""
    where = f"at {', '.join(map(printable, waiver.layers))} " if waiver.layers else ""
    return f"{where}until {waiver.expires} by {printable(waiver.owner)}"


def judgement_text(report: AuditReport, width: int, *, colour: bool = False, model: str = "") -> str:
    """The model, findings, budgets and what would help: what a second judgement can have changed.

    Args:
        report: the judged one.
        width: columns; lines are folded to it.
        colour: whether to use it.
        model: what is known of the model's file by now; empty leaves the line out.
    """
    evidence = report.evidence
    data = evidence.dataset
    facts = [printable(evidence.model.name), f"weights {evidence.model.weights_sha256[:12]}"]
    if data is None:
        facts.append("no data set")
    else:
        facts.append(f"{printable(data.name)} {data.num_evaluated} of {data.total}")
    facts.append(f"distances in {printable(evidence.preprocessing.threat_space)}")
    inner = width - _LABEL
    parts = [
        ("report", _folded([" · ".join([*facts, f"audited {printable(report.run.started)}"])], inner)),
        ("model", _folded([model] if model else [], inner)),
        ("findings", _folded(_finding_lines(untold(evidence)), inner)),
        ("policy", _policy_lines(evidence, inner, colour=colour)),
        ("next", _folded(remedies(evidence), inner)),
    ]
    return "".join(_labelled(label, lines) for label, lines in parts)


def untold(evidence: Evidence) -> tuple[Finding, ...]:
    """The findings but for notes of waivers in force, which stand below their budgets, unless they advise."""
    below = any(waiver.state == "used" for waiver in evidence.waivers)
    return tuple(f for f in evidence.findings if not (below and f.rule == "LIP403" and not f.advice))


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


def _policy_lines(evidence: Evidence, width: int, *, colour: bool) -> Iterator[str]:
    """The words in a column of their own, beside which the rest is folded."""
    if line := policy_line(evidence):
        yield from _folded([line], width)
    rows = list(policy_rows(evidence))
    left = outcome_columns(rows)
    for word, story in rows:
        first, *rest = _folded([story], width - left)
        yield f"{coloured(word) if colour else word}{' ' * (left - len(word))}{first}"
        yield from (" " * left + line for line in rest)


def _folded(lines: Iterable[str], width: int) -> Iterator[str]:
    for line in lines:
        yield from wrap(line, width, drop_whitespace=True, break_on_hyphens=False) or [""]


def _labelled(label: str, lines: Iterable[str]) -> str:
    """Lines with their label in the left margin."""
    return "".join(
        f"{label if number == 0 else '':<{_LABEL}}{line}".rstrip() + "\n" for number, line in enumerate(lines)
    )
