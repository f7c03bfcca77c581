"""What a report proves, in sentences for a reader who never heard of a Lipschitz constant.

Every sentence is a consequence of numbers in the evidence, rounded so that it says less, never more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from lipaudit.report.counts import headline_point
from lipaudit.report.judgement import BudgetOutcome, Metric
from lipaudit.report.model import AuditReport, Evidence
from lipaudit.report.wording import eps_text, estimate_text, plural, shown_down, shown_up, slack_text

__all__ = [
    "GLYPHS",
    "Tone",
    "claims",
    "distance_words",
    "is_pixels",
    "noun",
    "reasons",
    "tone",
    "verdict_words",
]

Tone = Literal["good", "bad", "open", "plain"]
"""good: complete, and budgets are met · bad: a witness breaks one · open: undecided or incomplete · plain:
complete, and nothing was asked."""

GLYPHS: Final[dict[Tone, str]] = {"good": "✓", "bad": "✕", "open": "!", "plain": "✓"}
_MANY = 3


def tone(report: AuditReport) -> Tone:
    """How the page looks; never good where anything is missing, whatever the verdict says."""
    evidence = report.evidence
    if report.verdict == "fail" or (evidence.falsification is not None and evidence.falsification.hits):
        return "bad"
    empty = evidence.robustness is not None and evidence.robustness.clean_accuracy.n == 0
    errors = any(finding.level == "error" for finding in evidence.findings)
    unmet = not all(budget.is_met for budget in evidence.budgets)
    if report.verdict != "pass" or evidence.global_.upper.value is None or empty or errors or unmet:
        return "open"
    return "good" if evidence.budgets else "plain"


@dataclass(frozen=True, slots=True)
class _Ground:
    """What a kind of budget rests on, and the words for what became of it."""

    met: str
    fails: str
    undecided: str


_PROOF = _Ground(
    "by proof",
    "A budget is refuted: what was witnessed breaks it, and no better proof could save it.",
    "A budget is neither proved nor refuted: it lies between what was proved and what was seen.",
)
_COUNT = _Ground(
    "by counting correct answers",
    "A budget is not met: too few answers are correct, as counted on the samples.",
    "A budget on correct answers is not decided: there is no count to compare.",
)
_CONDITION = _Ground(
    "as a condition on the audit",
    "A condition on the audit is not met: this report says otherwise.",
    "A condition on the audit is not decided: this report does not tell.",
)
_GROUNDS: Final[dict[Metric, _Ground]] = {
    "lipschitz": _PROOF,
    "slack": _PROOF,
    "certified_accuracy": _PROOF,
    "clean_accuracy": _COUNT,
    "require": _CONDITION,
}


def verdict_words(report: AuditReport) -> str:
    """What the verdict means here, in one sentence."""
    budgets = report.evidence.budgets
    waived = sum(budget.waived for budget in budgets)
    if report.verdict in ("fail", "inconclusive"):
        unmet = (b.metric for b in budgets if not b.is_met and b.outcome == report.verdict)
        grounds = [_GROUNDS[metric] for metric in unmet]
        ground = grounds[0] if grounds and _PROOF not in grounds else _PROOF
        return ground.fails if report.verdict == "fail" else ground.undecided
    if report.verdict == "incomplete":
        return "The analysis is incomplete: this page is no evidence for or against the network as a whole."
    if not budgets:
        return "The analysis is complete. No budget was set, so nothing was required of the network."
    if waived:
        met = len(budgets) - waived
        return (
            f"{met} of {plural(len(budgets), 'budget')} met; {waived} not met, but waived by a named owner."
        )
    return f"{_all(len(budgets))} met {_met_how(budgets)}, and the analysis is complete."


def _met_how(budgets: Iterable[BudgetOutcome]) -> str:
    """By what budgets are met, in the order of `_GROUNDS`; counted where there are several."""
    ways = Counter(_GROUNDS[budget.metric].met for budget in budgets)
    if len(ways) == 1:
        return next(iter(ways))
    told = [f"{ways[way]} {way}" for way in dict.fromkeys(g.met for g in _GROUNDS.values()) if ways[way]]
    return f"({', '.join(told)})"


def reasons(report: AuditReport) -> tuple[str, ...]:
    """Why the verdict is not green: the first few of what stands below."""
    found = [f.message for f in report.evidence.findings if f.level == "error"]
    found += [f"{b.id}: {b.message}" for b in report.evidence.budgets if b.outcome != "pass"]
    more = len(found) - _MANY
    return (*found[:_MANY], *([f"and {more} more, see below"] if more > 0 else []))


def claims(report: AuditReport) -> tuple[str, ...]:
    """What is proved about answers, and about the network; weaker words where nothing is."""
    unfinished = ("This report is incomplete: what it shows is no result yet.",)
    found = (*_about_answers(report.evidence), *_about_network(report.evidence))
    if report.evidence.robustness is None:
        found = (*_about_network(report.evidence), *_about_answers(report.evidence))
    return (*unfinished, *found) if report.verdict == "incomplete" else found


def noun(evidence: Evidence) -> str:
    """What a sample is called."""
    return "image" if is_pixels(evidence) and len(evidence.model.input_shape) >= _IMAGE_AXES else "input"


def is_pixels(evidence: Evidence) -> bool:
    """Whether distances are those between pixels in [0, 1]."""
    return "[0,1]" in evidence.preprocessing.threat_space


_IMAGE_AXES = 3  # batch, and at least two axes


def _about_answers(evidence: Evidence) -> Iterator[str]:
    robustness = evidence.robustness
    what = noun(evidence)
    if robustness is None:
        yield f"No {what}s were evaluated: this report says nothing about single answers or their accuracy."
        return
    n, right = robustness.clean_accuracy.n, robustness.clean_accuracy.count
    if n == 0:
        yield f"No {what} was evaluated: nothing is known about the data set."
        return
    point = headline_point(evidence)
    if point is None:
        yield f"{right:,} of {n:,} {what}s are answered correctly. No radius was asked about."
        return
    size = eps_text(point.eps_exact)
    if point.certified_count == 0:
        yield (
            f"{right:,} of {n:,} {what}s are answered correctly, but no answer is proved to survive "
            f"every change of size {size} (l2)."
        )
        return
    yield (
        f"Every change of an {what} by at most {size} in l2 distance leaves the correct answers to "
        f"{point.certified_count:,} of {point.n:,} {what}s as they are."
    )


def _about_network(evidence: Evidence) -> Iterator[str]:
    upper = evidence.global_.upper.value
    if upper is None:
        yield "No finite bound on the network was proved: how much it amplifies a change is unknown."
        return
    if upper == 0:
        yield "The network's output is constant: it does not change at all with its input."
        return
    yield (
        f"For any two inputs, the network's outputs (its class scores) differ by at most {shown_up(upper)} "
        "times the distance of the inputs."
    )
    lower, slack = evidence.global_.lower, evidence.global_.slack
    if lower.value and isinstance(slack, float):
        yield (
            f"A pair of inputs was found whose outputs differ by at least {estimate_text(lower)} times their "
            f"distance, so the bound is at most {slack_text(slack)} times the true value."
        )


def distance_words(evidence: Evidence) -> str | None:
    """How large the radius of the claim is, in pixels; None where that is not the unit."""
    point = headline_point(evidence)
    count = math.prod(evidence.model.input_shape[1:])
    if point is None or not is_pixels(evidence) or count < 1:
        return None
    size, each = eps_text(point.eps_exact), shown_down(point.eps / math.sqrt(count), 2)
    one = f"one value changed by {size}, or " if point.eps <= 1 else ""
    return (
        f"An l2 distance of {size} is, for example, {one}all {count:,} values changed by {each} each, where "
        "the range from black to white is 1."
    )


def _all(count: int) -> str:
    return "The budget is" if count == 1 else f"All {count} budgets are"
