"""What a reader must know, with advice and, per rule, what it means."""

from __future__ import annotations

from lipaudit.report.advice import next_steps, remarks
from lipaudit.report.explain import find
from lipaudit.report.html.markup import Markup, heading, tag, tagged
from lipaudit.report.model import AuditReport, Finding

__all__ = ["findings_section"]

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
    # A rule of a later version has no entry, and its message has to do.
    entries = [entry for rule in dict.fromkeys(finding.rule for finding in findings) if (entry := find(rule))]
    if entries:
        words = [p for e in entries for p in (tag("dt", e.name, id=e.name), tag("dd", f"{e.short} {e.why}"))]
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
        name = tag("a", rule, href=f"#{rule}") if find(rule) else tag("span", rule)
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
