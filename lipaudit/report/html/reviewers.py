"""Where reviewers find what their questionnaires ask for, and what this report cannot tell them.

The left column names a requirement, in words of our own; nothing here claims that it is fulfilled.
"""

from __future__ import annotations

from lipaudit.report.html.markup import Markup, heading, stacking, tag, tagged
from lipaudit.report.model import Evidence

__all__ = ["limitation_section", "reviewer_section"]

_ROWS = (
    (
        "EU AI Act, Annex IV 2(g): validation and testing, data used, metrics, dated reports",
        ("accuracy", "provenance"),
        "Test data by fingerprint, certified accuracy as exact counts, date, versions, options.",
        "Bias and discriminatory impact; a signature of the person responsible.",
    ),
    (
        "EU AI Act, Art. 15: accuracy, robustness, resilience against manipulated inputs",
        ("accuracy", "layers", "refutation"),
        "A proof that changes up to a stated size leave answers as they are; an attack that did not beat it.",
        "Changes of other kinds (rotation, fog, new classes), poisoned data or models, faults of hardware.",
    ),
    (
        "ISO/IEC 24029-2: formal assessment of the robustness of neural networks",
        ("accuracy", "layers", "limitations"),
        (
            "Property: local stability in an l2 ball, and global sensitivity. Sound, not complete: what is "
            "not proved is not refuted. Deterministic, no sampling. Real arithmetic."
        ),
        "Floating-point arithmetic of the deployed program; norms other than l2.",
    ),
    (
        "NIST AI RMF, MEASURE 2.7: security and resilience are evaluated and documented",
        ("budgets", "accuracy", "refutation"),
        "Worst-case resilience against evasion of bounded size, with a limit and its outcome.",
        "Extraction, poisoning and privacy; the system around the network.",
    ),
)
_NAMES = {
    "accuracy": "Certified accuracy",
    "provenance": "Provenance",
    "layers": "Layers",
    "refutation": "Attempts to refute",
    "limitations": "Limitations",
    "budgets": "Budgets",
}


def limitation_section(evidence: Evidence) -> Markup:
    """In words, what is not claimed."""
    fixed = [_SAMPLES] if evidence.robustness is not None else []
    lines = [*evidence.limitations, *fixed, _OTHER]
    parts = [heading(2, "Limitations", "limitations"), tag("ul", *tagged("li", lines))]
    return tag("section", *parts, aria_labelledby="limitations")


_SAMPLES = (
    "Certificates hold for the samples that were evaluated. What share of other inputs would be certified is "
    "a question of statistics, which this report does not answer."
)
_OTHER = (
    "Only changes that are small in l2 distance are covered. Small does not mean invisible, and what is not "
    "certified is not thereby wrong or attackable."
)


def reviewer_section() -> Markup:
    """Requirement, where to look, what it is evidence towards, what is missing."""
    rows = [(asked, _links(places), towards, missing) for asked, places, towards, missing in _ROWS]
    columns = ("what is asked", "see", "evidence towards it", "not covered here")
    caption = "Evidence towards what reviewers ask for; whether a requirement is met is theirs to judge"
    return tag(
        "section",
        heading(2, "For reviewers", "reviewers"),
        stacking(caption, columns, rows),
        aria_labelledby="reviewers",
    )


def _links(places: tuple[str, ...]) -> Markup:
    links = [tag("li", tag("a", _NAMES[place], href=f"#{place}")) for place in places]
    return tag("ul", *links, class_="plain")
