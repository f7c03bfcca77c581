"""The page: its head, its parts in order, and a policy that forbids it to load or run anything."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from lipaudit.report.html.accuracy import accuracy_section
from lipaudit.report.html.budgets import budget_section
from lipaudit.report.html.claim import tone
from lipaudit.report.html.findings import findings_section
from lipaudit.report.html.layers import layer_section
from lipaudit.report.html.markup import Markup, heading, html_document, tag
from lipaudit.report.html.provenance import provenance_section
from lipaudit.report.html.refutation import refutation_section
from lipaudit.report.html.reviewers import limitation_section, reviewer_section
from lipaudit.report.html.verdict import verdict_section
from lipaudit.report.html.waterfall import waterfall_section
from lipaudit.report.interruption import layers_text
from lipaudit.report.model import AuditReport
from lipaudit.report.wording import plural

__all__ = ["to_html"]

_PARTS = (
    ("budgets", "Budgets"),
    ("accuracy", "Certified accuracy"),
    ("layers", "Layers"),
    ("waterfall", "Input to output"),
    ("findings", "Findings"),
    ("refutation", "Attempts to refute"),
    ("limitations", "Limitations"),
    ("provenance", "Provenance"),
    ("reviewers", "For reviewers"),
)


def to_html(report: AuditReport) -> str:
    """The whole page as text that ends with a newline."""
    evidence = report.evidence
    main = tag(
        "main",
        verdict_section(report),
        budget_section(evidence),
        accuracy_section(evidence),
        layer_section(evidence),
        waterfall_section(evidence),
        findings_section(report),
        refutation_section(evidence),
        limitation_section(evidence),
        provenance_section(report),
        reviewer_section(),
        id="main",
    )
    body = tag(
        "body",
        tag("a", "Skip to the verdict", href="#main", class_="skip"),
        _header(report),
        main,
        _footer(report),
        class_=f"tone-{tone(report)}",
    )
    return html_document(tag("html", _head(report), body, lang="en"))


def _head(report: AuditReport) -> Markup:
    style = tag("style")
    style.text = resources.files("lipaudit.report.html").joinpath("style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.text.encode("utf-8")).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        _meta("Content-Security-Policy", policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="generator", content="lipaudit"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{report.verdict.upper()}: {report.evidence.model.name} – lipaudit"),
        style,
    )


def _meta(name: str, content: str) -> Markup:
    return tag("meta", http_equiv=name, content=content)


def _header(report: AuditReport) -> Markup:
    evidence = report.evidence
    model, data = evidence.model, evidence.dataset
    facts = [model.format, layers_text(evidence)]
    if model.num_classes is not None:
        facts.append(plural(model.num_classes, "class", "classes"))
    facts.append(
        "no data set" if data is None else f"{data.name}, {data.num_evaluated:,} of {data.total:,} samples"
    )
    facts.append(report.run.started[:10])
    links = [tag("li", tag("a", name, href=f"#{anchor}")) for anchor, name in _PARTS]
    return tag(
        "header",
        tag("p", "lipaudit · robustness report", class_="brand"),
        heading(1, model.name),
        tag("p", " · ".join(facts), class_="facts-line"),
        tag("nav", tag("ul", *links), aria_label="Parts of this report"),
    )


def _footer(report: AuditReport) -> Markup:
    version = report.run.versions.get("lipaudit")
    made = "Written by lipaudit" if version is None else f"Written by lipaudit {version}"
    digest = report.evidence_sha256
    return tag(
        "footer",
        tag("p", f"{made}, report schema {report.schema_version}. This page loads nothing and runs nothing."),
        None if digest is None else tag("p", "SHA-256 of the evidence: ", tag("code", digest)),
    )
