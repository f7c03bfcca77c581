"""JUnit XML: one case per budget, and one that says whether the analysis is complete.

fail and inconclusive are failures (the type tells which), a waived budget is skipped with its reason.  The
last case is an error where the analysis is incomplete, so that a report without budgets has a case, and the
suite is green iff the verdict is `pass`.

The elements and attributes are those that Jenkins' and Surefire's readers share: `testsuites` › `testsuite`
(tests, failures, errors, skipped, time, timestamp) › `properties`, `testcase` (classname, name, time) ›
`failure` or `error` (type, message, text), or `skipped` (message).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from xml.etree import ElementTree as ET

from lipaudit.errors import ExitCode
from lipaudit.report.judgement import BudgetOutcome
from lipaudit.report.model import AuditReport, Evidence
from lipaudit.report.problems import justification, unmet_layers
from lipaudit.report.wording import printable

__all__ = ["COMPLETE", "to_junit"]

COMPLETE = "analysis complete"
"""The name of the last case."""


def to_junit(report: AuditReport) -> str:
    """One suite, named after the model."""
    name = f"lipaudit.{printable(report.evidence.model.name)}"
    cases = list(_cases(report, name))
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": str(sum(case.find("error") is not None for case in cases)),
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": _seconds(report.run.seconds),
    }
    root = ET.Element("testsuites", {"name": "lipaudit", **counts})
    suite = ET.SubElement(root, "testsuite", {"name": name, **counts, **_moment(report.run.started)})
    properties = ET.SubElement(suite, "properties")
    for key, value in _properties(report):
        ET.SubElement(properties, "property", {"name": key, "value": value})
    suite.extend(cases)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text.decode() + "\n"


def _moment(started: str) -> dict[str, str]:
    """When it ran; nothing if the report does not tell."""
    try:
        return {"timestamp": datetime.fromisoformat(started).isoformat(timespec="seconds")}
    except ValueError:
        return {}


def _properties(report: AuditReport) -> Iterator[tuple[str, str]]:
    yield "verdict", report.verdict
    yield "exit_code", str(report.exit_code)
    yield "weights_sha256", report.evidence.model.weights_sha256
    if report.evidence_sha256 is not None:
        yield "evidence_sha256", report.evidence_sha256
    if "lipaudit" in report.run.versions:
        yield "lipaudit", printable(report.run.versions["lipaudit"])


def _cases(report: AuditReport, suite: str) -> Iterator[ET.Element]:
    """Judging a budget takes no time; the audit's is that of the last case."""
    for budget in report.evidence.budgets:
        case = ET.Element("testcase", {"classname": suite, "name": printable(budget.id), "time": "0.000"})
        _end(case, budget, report.evidence)
        yield case
    last = {"classname": suite, "name": COMPLETE, "time": _seconds(report.run.seconds)}
    yield _completeness(ET.Element("testcase", last), report)


def _end(case: ET.Element, budget: BudgetOutcome, evidence: Evidence) -> None:
    """What became of a budget; nothing is said of one that passes."""
    if budget.outcome == "pass":
        return
    message = printable(budget.message)
    if budget.waived:
        told = f"{budget.outcome}, waived: {justification(budget, evidence)}"
        ET.SubElement(case, "skipped", {"message": told}).text = message
        return
    end = ET.SubElement(case, "failure", {"type": budget.outcome, "message": message})
    end.text = "\n".join(_story(budget, evidence))


def _story(budget: BudgetOutcome, evidence: Evidence) -> Iterator[str]:
    yield f"{printable(budget.id)}: {budget.outcome}: {printable(budget.message)}"
    for layer in unmet_layers(budget):
        yield f"layer {layer}"
    if evidence.policy is not None and budget.line:
        yield f"{printable(evidence.policy.name)}, line {budget.line}"


def _completeness(case: ET.Element, report: AuditReport) -> ET.Element:
    errors = [
        f"{f.rule}: {_place(f.layer)}{printable(f.message)}"
        for f in report.evidence.findings
        if f.level == "error"
    ]
    met = all(budget.is_met for budget in report.evidence.budgets)
    if report.verdict == "incomplete" or errors or (met and report.verdict != "pass"):
        meaning = ExitCode.INCOMPLETE.meaning if errors else f"the verdict is {report.verdict}"
        end = ET.SubElement(
            case, "error", {"type": "incomplete", "message": errors[0] if errors else meaning}
        )
        end.text = "\n".join(errors or [meaning])
    return case


def _place(layer: str | None) -> str:
    return f"{printable(layer)}: " if layer else ""


def _seconds(value: float) -> str:
    return f"{value:.3f}"
