"""What a reader must know, with advice and, per rule, what it means."""

from __future__ import annotations

from lipaudit.report.advice import next_steps, remarks
from lipaudit.report.html.markup import Markup, heading, tag, tagged
from lipaudit.report.model import AuditReport, Finding

__all__ = ["RULES", "findings_section"]

RULES = {
    "LIP101": "A layer without a bound leaves the whole network without one: nothing behind it is proved.",
    "LIP102": "The method that was asked for had nothing to say about some layers; others were asked there.",
    "LIP201": "A layer provably amplifies: an input was found whose change comes out larger than it went in.",
    "LIP202": "A batch of samples is spread wider behind a layer than before it, so that it amplifies.",
    "LIP203": "A part that was bounded as a whole may amplify: it is not proved to keep changes as small.",
    "LIP301": "The network does no better than chance, so that labels or preprocessing are likely wrong.",
    "LIP302": "Some outputs are no finite numbers, so that nothing is certified for these samples.",
    "LIP303": "The samples are no pixels in [0, 1], so that every distance is in their own unit.",
    "LIP304": "Nobody stated the preprocessing, and no usual one makes the network better than chance.",
    "LIP305": "The preprocessing was assumed, and another one may be meant.",
    "LIP306": "The preprocessing was assumed and may be another one, so that no budget was judged.",
    "LIP307": "The audit was interrupted: what is not here was not looked at.",
    "LIP401": "A waiver is past its last day and excuses nothing any more.",
    "LIP402": "A waiver excuses nothing; it may hide the next thing that goes wrong.",
    "LIP403": "A budget is not met, and its owner has taken responsibility for that until a stated day.",
}
"""One sentence per rule; a rule of a later version has none, and its message has to do."""

_SHOWN = 12
_GLYPHS = {"error": "✕", "warning": "!", "note": "i"}
_SEVEREST = {"error": 0, "warning": 1, "note": 2}


def findings_section(report: AuditReport) -> Markup:
    """Findings, severest first, then how to read the numbers and what to do next."""
    findings = sorted(report.evidence.findings, key=lambda finding: _SEVEREST[finding.level])
    parts: list[Markup | None] = [heading(2, "Findings", "findings")]
    if findings:
        items = _items(findings)
        parts.append(tag("ul", *items[:_SHOWN], class_="cards"))
        rest = items[_SHOWN:]
        if rest:
            more = tag("summary", f"{len(rest)} more")
            parts.append(tag("details", more, tag("ul", *rest, class_="cards")))
    else:
        parts.append(tag("p", "Nothing stood out.", class_="lead"))
    reading = remarks(report)
    if reading:
        parts += [heading(3, "Reading the numbers"), tag("ul", *tagged("li", reading))]
    steps = next_steps(report)
    if steps:
        parts += [heading(3, "What to do next"), tag("ul", *tagged("li", steps))]
    told = [rule for rule in dict.fromkeys(finding.rule for finding in findings) if rule in RULES]
    if told:
        words = [part for rule in told for part in (tag("dt", rule, id=rule), tag("dd", RULES[rule]))]
        parts += [heading(3, "What the rules mean"), tag("dl", *words, class_="rules")]
    return tag("section", *parts, aria_labelledby="findings")


def _items(findings: list[Finding]) -> list[Markup]:
    """One per finding; an advice is given once."""
    advised: set[str] = set()
    items = []
    for finding in findings:
        new = finding.advice and finding.advice not in advised
        advised.add(finding.advice)
        rule = finding.rule
        name = tag("a", rule, href=f"#{rule}") if rule in RULES else tag("span", rule)
        layer = tag("code", finding.layer) if finding.layer else None
        badge = tag("span", f"{_GLYPHS[finding.level]} {finding.level}", class_=f"badge {finding.level}")
        items.append(
            tag(
                "li",
                tag("p", badge, " ", name, " " if layer is not None else None, layer),
                tag("p", finding.message),
                tag("p", f"→ {finding.advice}", class_="note") if new else None,
                class_=f"card {finding.level}",
            )
        )
    return items
