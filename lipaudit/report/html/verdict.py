"""The first screen: the verdict, and what is proved in words that need no training to read."""

from __future__ import annotations

from lipaudit.report.counts import headline_point
from lipaudit.report.html.claim import (
    GLYPHS,
    claims,
    distance_words,
    reasons,
    tone,
    verdict_words,
)
from lipaudit.report.html.markup import Markup, heading, tag, tagged
from lipaudit.report.model import AuditReport, Evidence, Robustness
from lipaudit.report.wording import (
    NOT_ANALYSED,
    bound_text,
    code_words,
    eps_text,
    estimate_text,
    percent_down,
    radius_text,
    waived_words,
)

__all__ = ["verdict_section"]


def verdict_section(report: AuditReport) -> Markup:
    """Verdict, exit code and reasons beside the claim; the few numbers people ask for first below."""
    evidence = report.evidence
    mood = tone(report)
    waived, words = waived_words(evidence.budgets), code_words(report.exit_code, evidence.budgets)
    proved, *more = claims(report)
    why = reasons(report)
    size = distance_words(evidence)
    caveat = tag("p", _CAVEAT, tag("a", "limitations", href="#limitations"), ".", class_="note")
    return tag(
        "section",
        heading(2, "Verdict", "verdict"),
        tag(
            "div",
            tag("p", tag("span", GLYPHS[mood], aria_hidden="true"), report.verdict, class_="word"),
            tag("p", f"exit code {report.exit_code}{waived}: {words}", class_="code"),
            tag("p", verdict_words(report), class_="means"),
            tag("ul", *tagged("li", why), class_="why") if why else None,
            class_="stamp",
        ),
        tag(
            "div",
            tag("p", proved, class_="first"),
            tag("p", size, class_="note") if size and report.verdict != "incomplete" else None,
            *tagged("p", more),
            None if evidence.global_.upper.value is None else caveat,
            class_="claim",
        ),
        tag("dl", *_figures(evidence), class_="figures"),
        tag(
            "details",
            tag("summary", "How to read this page"),
            *tagged("p", _READING),
        ),
        aria_labelledby="verdict",
        class_="verdict",
    )


_CAVEAT = (
    "Theorems about the stored weights in real arithmetic and, where answers are concerned, about the "
    "evaluated samples; read the "
)
_READING = (
    (
        "The Lipschitz constant of a network is the largest factor by which it can amplify a change: outputs "
        "differ by at most this factor times the difference of the inputs. Small is robust."
    ),
    (
        "Proved (≤) means a theorem about the stored weights, whoever attacks and however. Witnessed (≥) "
        "means that an example was found. The truth lies between; slack is the quotient of the two."
    ),
    (
        "Numbers are rounded in the safe direction: bounds up, radii and accuracies down. — means that it "
        "was not analysed; 0 never does."
    ),
    (
        "A budget on a bound, or on certified accuracy, passes if the proof meets it, fails if a witness "
        "breaks it, and is inconclusive otherwise. Correct answers are counted, and conditions on the audit "
        "compared with what the report says of itself: neither is proved."
    ),
)


def _median_note(robustness: Robustness) -> str:
    if robustness.median_radius == 0:
        return "half of the samples have no certificate"
    return "half of the samples reach it"


def _figures(evidence: Evidence) -> list[Markup]:
    """The few numbers that people ask for first."""
    bracket, robustness, point = evidence.global_, evidence.robustness, headline_point(evidence)
    boxes = [
        ("amplification at most", bound_text(bracket.upper), f"witnessed ≥ {estimate_text(bracket.lower)}"),
    ]
    if robustness is None or robustness.clean_accuracy.n == 0:
        boxes.append(("certified accuracy", NOT_ANALYSED, "no sample was evaluated"))
    else:
        clean = robustness.clean_accuracy
        if point is not None:
            share = percent_down(point.certified_count, point.n)
            told = f"{point.certified_count:,} of {point.n:,} at radius {eps_text(point.eps_exact)}"
            boxes.append(("certified accuracy", share, told))
        boxes += [
            ("correct answers", percent_down(clean.count, clean.n), f"{clean.count:,} of {clean.n:,}"),
            (
                "median certified radius",
                radius_text(robustness.median_radius),
                _median_note(robustness),
            ),
        ]
    met = sum(budget.outcome == "pass" for budget in evidence.budgets)
    if evidence.budgets:
        waived = sum(budget.waived and budget.outcome != "pass" for budget in evidence.budgets)
        told = f"{waived} waived" if waived else "none waived"
        boxes.append(("budgets met", f"{met} of {len(evidence.budgets)}", told))
    return [
        tag("div", tag("dt", name), tag("dd", value), tag("dd", note, class_="note"))
        for name, value, note in boxes
    ]
