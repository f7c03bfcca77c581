"""Budgets and what became of them, the exceptions from them, and the policy they stand in."""

from __future__ import annotations

from fractions import Fraction

from lipaudit.report.exact import read_exact
from lipaudit.report.html.axis import log_axis
from lipaudit.report.html.markup import Child, Markup, heading, scrolling, stacking, table, tag
from lipaudit.report.judgement import BudgetOutcome, LayerOutcome, Metric, Waiver
from lipaudit.report.model import Evidence
from lipaudit.report.wording import (
    NOT_ANALYSED,
    percent_down,
    percent_up,
    plural,
    shown_down,
    shown_up,
)

__all__ = ["budget_section"]

_GLYPHS = {"pass": "✓", "fail": "✕", "inconclusive": "?"}
_WORST_FIRST = {"fail": 0, "inconclusive": 1, "pass": 2}
_SHOWN = 10
"""Layers of a budget that are shown before the rest is folded."""

_METRICS = {
    "lipschitz": "Lipschitz constant at most",
    "slack": "quotient of upper and lower bound at most",
    "certified_accuracy": "certified accuracy at least",
    "clean_accuracy": "correct answers at least",
    "require": "condition on the audit:",
}


def budget_section(evidence: Evidence) -> Markup:
    """Every budget with its bracket; a sentence where none was set."""
    parts: list[Markup | None] = [heading(2, "Budgets", "budgets")]
    if evidence.budgets:
        parts.append(tag("ul", *map(_card, evidence.budgets), class_="cards"))
    else:
        parts.append(
            tag("p", "No budget was set: nothing was required, so nothing could fail.", class_="lead")
        )
    if evidence.waivers:
        parts += [heading(3, "Waivers"), _waiver_table(evidence.waivers)]
    if evidence.policy is not None:
        policy = evidence.policy
        words = f"The budgets stand in {policy.name}; waivers were judged on {policy.judged_on}. "
        parts.append(tag("p", words, "SHA-256 ", tag("code", policy.sha256), class_="note"))
    return tag("section", *parts, aria_labelledby="budgets")


def _card(budget: BudgetOutcome) -> Markup:
    outcome = "waived" if budget.waived and budget.outcome != "pass" else budget.outcome
    badge = tag("span", f"{_GLYPHS[budget.outcome]} {budget.outcome}", class_=f"badge {budget.outcome}")
    badges: list[Child] = [badge, " "]
    if outcome == "waived":
        badges += [tag("span", "waived", class_="badge waived"), " "]
    radius = f" at radius {budget.eps}" if budget.eps is not None else ""
    asked = f"{_METRICS[budget.metric]} {budget.limit}{radius}"
    place = f" (line {budget.line} of the policy)" if budget.line is not None else ""
    return tag(
        "li",
        tag("p", *badges, tag("strong", budget.id), f" {asked}{place}"),
        tag("p", budget.message),
        _share_bar(budget) or _size_bar(budget),
        _baseline(budget),
        _layers(budget),
        class_=f"card {outcome}",
    )


def _size_bar(budget: BudgetOutcome) -> Markup | None:
    """Lower end, limit and upper end of a constant, on a logarithmic axis; the allowed part is tinted."""
    told, limit = budget.evidence, _number(budget.limit)
    name = "slack" if budget.metric == "slack" else "upper"
    if budget.metric not in {"lipschitz", "slack"} or not limit or told.get(name) is None:
        return None
    above, below = _finite(told[name]), _finite(told.get("lower"))
    axis = log_axis([v for v in (above, below, float(limit)) if v is not None])
    place, right = axis.place(float(limit)), 100.0 if above is None else axis.place(above)
    left = right if name == "slack" else axis.place(below or 0.0)
    proved = f"proved ≤ {'unbounded' if above is None else shown_up(above)}"
    seen = [] if name == "slack" else [f"witnessed ≥ {NOT_ANALYSED if below is None else shown_down(below)}"]
    return _bar((left, right), (0.0, place), place, [*seen, f"limit {budget.limit}", proved])


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _share_bar(budget: BudgetOutcome) -> Markup | None:
    """Proved share, required share and what no method can exceed, from 0 to 100 %."""
    told, limit = budget.evidence, _number(budget.limit)
    correct = told.get("correct_count")
    certified, possible, n = (
        told.get("certified_count", correct),
        told.get("possible_count", correct),
        told.get("n"),
    )
    if not (isinstance(certified, int) and isinstance(possible, int) and isinstance(n, int)):
        return None
    if limit is None or n == 0:
        return None
    share = min(float(limit), 1.0) * 100
    counted = [f"correct {percent_down(certified, n)}"]
    if correct is None:
        counted = [f"proved {percent_down(certified, n)}", f"possible at most {percent_up(possible, n)}"]
    ends = (100 * certified / n, 100 * possible / n)
    return _bar(ends, (share, 100.0), share, [counted[0], f"required {budget.limit}", *counted[1:]])


def _bar(ends: tuple[float, float], allowed: tuple[float, float], limit: float, words: list[str]) -> Markup:
    """A bracket and a limit, places in percent; the words under it tell the numbers."""
    left, right = ends
    start, stop = allowed
    parts = [
        tag("rect", x=f"{start:.4g}%", width=f"{stop - start:.4g}%", y=22, height=20, class_="allowed"),
        tag("line", x1=f"{left:.4g}%", x2=f"{right:.4g}%", y1=32, y2=32, class_="range"),
        *(
            tag("line", x1=f"{x:.4g}%", x2=f"{x:.4g}%", y1=25, y2=39, class_="range cap")
            for x in dict.fromkeys(ends)
        ),
        tag("line", x1=f"{limit:.4g}%", x2=f"{limit:.4g}%", y1=16, y2=46, class_="limit"),
        tag("text", "limit", x=f"{limit:.4g}%", y=11, text_anchor=_anchor(limit)),
    ]
    picture = tag("svg", *parts, width="100%", height=46, aria_hidden="true", class_="budget-bar")
    return tag("div", picture, tag("p", " · ".join(words), class_="note"))


def _anchor(place: float) -> str:
    return "start" if place < 4 else "end" if place > 96 else "middle"


def _number(text: str) -> Fraction | None:
    """A limit as it is written; None where it is no number."""
    number, percent, rest = text.partition("%")
    try:
        return None if rest else read_exact(number.strip()) / (100 if percent else 1)
    except ValueError:
        return None


def _baseline(budget: BudgetOutcome) -> Markup | None:
    base = budget.baseline
    if base is None:
        return None
    said = _said(budget.metric, base.value) if isinstance(base.value, float) else NOT_ANALYSED
    return tag(
        "p",
        f"Compared with {base.name}, which said {said}. SHA-256 of its evidence ",
        tag("code", base.evidence_sha256),
        class_="note",
    )


def _said(metric: Metric, value: float) -> str:
    """A share as a percentage, as everywhere; its nine digits are the number that is compared."""
    if metric in {"lipschitz", "slack"}:
        return shown_up(value)
    exact = Fraction(repr(value))
    return percent_down(exact.numerator, exact.denominator)


def _layers(budget: BudgetOutcome) -> Markup | None:
    if not budget.layers:
        return None
    ordered = sorted(budget.layers, key=lambda row: (row.waived, _WORST_FIRST[row.outcome]))
    worst = [row for row in ordered if row.outcome != "pass"][:_SHOWN]
    rest = ordered[len(worst) :]
    head = "slack ≤" if budget.metric == "slack" else "proved ≤"
    parts = [_layer_table(worst, "Layers that do not meet it", head)] if worst else []
    if rest:
        kind = "more layers" if worst else "layers"
        parts.append(
            tag(
                "details", tag("summary", f"{len(rest)} {kind}"), _layer_table(rest, "All other layers", head)
            )
        )
    return tag("div", *parts)


def _layer_table(rows: list[LayerOutcome], caption: str, head: str) -> Markup:
    cells = [
        (
            row.layer,
            tag(
                "span",
                f"{_GLYPHS[row.outcome]} {row.outcome}{' (waived)' if row.waived else ''}",
                class_="still",
            ),
            NOT_ANALYSED if row.lower is None else shown_down(row.lower),
            shown_up(row.upper) if isinstance(row.upper, float) else _no_value(row),
        )
        for row in rows
    ]
    return scrolling(table(caption, ("layer", "outcome", "#witnessed ≥", f"#{head}"), cells), caption)


def _no_value(row: LayerOutcome) -> str:
    return NOT_ANALYSED if row.upper is None else "unbounded"


def _waiver_table(waivers: tuple[Waiver, ...]) -> Markup:
    rows = [
        (
            waiver.budget,
            tag("span", waiver.state, class_=f"badge {'waived' if waiver.state == 'used' else 'fail'}"),
            ", ".join(waiver.layers) or "the budget as a whole",
            waiver.reason,
            waiver.owner,
            tag("span", waiver.expires, class_="still"),
        )
        for waiver in waivers
    ]
    caption = f"{plural(len(rows), 'exception')} that somebody answers for"
    return stacking(caption, ("budget", "state", "covers", "reason", "owner", "holds until"), rows)
