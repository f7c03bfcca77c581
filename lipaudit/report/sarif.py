"""SARIF 2.1.0: findings and budgets that do not pass, for code scanning.

A result of a budget points at the budget's line in the policy file, any other at the model's file; layers
are logical locations.  Reports hold base names only, so locations are relative to wherever the reader
resolves them.  Fingerprints are taken of rule, budget and layer, never of a number or a message: the same
trouble is the same result in every run.  Code scanning matches by `primaryLocationLineHash` alone, refuses
results without a file and a line, and reads the category of an upload from `automationDetails`.

OASIS (2020), "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from lipaudit.report.judgement import Metric
from lipaudit.report.model import AuditReport, Evidence
from lipaudit.report.problems import Problem, budget_rule, problems
from lipaudit.report.rules import BUDGETS, meaning
from lipaudit.report.wording import code_words, printable

__all__ = ["to_sarif"]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
_ROOT = "%SRCROOT%"
_FINGERPRINT = "lipaudit/v1"
_CODE_SCANNING = "primaryLocationLineHash"
_FINDINGS = "lipaudit's README has a table of findings."
_PROVED = (
    "It passes if what was proved meets it and fails if a witness breaks it; between them it is inconclusive."
)
_NOT_PROVED: dict[Metric, str] = {
    "clean_accuracy": "It passes if enough answers are correct, as counted on the samples.",
    "require": "It passes if the report says so of itself, and is inconclusive if it does not tell.",
}
_SEVERITY: dict[str, str] = {"error": "error", "warning": "warning", "note": "recommendation"}


def to_sarif(report: AuditReport) -> str:
    """One log with one run."""
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(report)]}
    return json.dumps(log, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _run(report: AuditReport) -> dict[str, Any]:
    found = problems(report)
    rules = _rules(report.evidence, found)
    indices = {rule["id"]: index for index, rule in enumerate(rules)}
    return {
        "tool": {"driver": {"name": "lipaudit", "rules": rules, **_version(report)}},
        "automationDetails": {"id": _category(report.evidence)},
        "invocations": [_invocation(report)],
        "artifacts": _artifacts(report.evidence),
        "originalUriBaseIds": {_ROOT: {"description": {"text": "where the model and the policy lie"}}},
        "columnKind": "unicodeCodePoints",
        "results": _results(report.evidence, found, indices),
        "properties": {
            "verdict": report.verdict,
            "evidenceSha256": report.evidence_sha256,
            "schemaVersion": report.schema_version,
        },
    }


def _version(report: AuditReport) -> dict[str, str]:
    version = report.run.versions.get("lipaudit")
    return {} if version is None else {"version": printable(version)}


def _category(evidence: Evidence) -> str:
    """One stream of results per model and data set; what follows the last slash would name a single run."""
    parts = ["lipaudit", quote(evidence.model.name, safe=" ")]
    if evidence.dataset is not None:
        parts.append(quote(evidence.dataset.name, safe=" :"))
    return "/".join([*parts, ""])


def _rules(evidence: Evidence, found: tuple[Problem, ...]) -> list[dict[str, Any]]:
    """Every rule that a result names, and the metric of every budget."""
    levels: dict[str, str] = {}
    for problem in found:
        if problem.budget is None:
            levels.setdefault(problem.rule, problem.level)
    rows = [_rule(rule, meaning(rule), levels[rule], _FINDINGS) for rule in sorted(levels)]
    metrics = sorted({budget.metric for budget in evidence.budgets})
    for metric in metrics:
        more = _NOT_PROVED.get(metric, _PROVED)
        rows.append(_rule(budget_rule(metric), BUDGETS[metric], "error", more))
    return rows


def _rule(name: str, text: str, level: str, more: str) -> dict[str, Any]:
    return {
        "id": name,
        "shortDescription": {"text": text},
        "fullDescription": {"text": text},
        "help": {"text": f"{text} {more}"},
        "defaultConfiguration": {"level": level},
        "properties": {"problem.severity": _SEVERITY[level]},
    }


def _results(evidence: Evidence, found: tuple[Problem, ...], indices: dict[str, int]) -> list[dict[str, Any]]:
    seen: Counter[str] = Counter()
    results = []
    for problem in found:
        digest = _digest(problem)
        seen[digest] += 1
        results.append(
            {
                "ruleId": problem.rule,
                "ruleIndex": indices[problem.rule],
                "level": problem.level,
                "message": {"text": problem.message},
                "locations": [_location(evidence, problem)],
                "partialFingerprints": {
                    _FINGERPRINT: digest,
                    _CODE_SCANNING: f"{digest[:16]}:{seen[digest]}",
                },
                "suppressions": _suppressions(problem),
            }
        )
    return results


def _digest(problem: Problem) -> str:
    named = [problem.rule, problem.budget, "" if problem.budget else list(problem.layers)]
    return sha256(json.dumps(named).encode()).hexdigest()


def _suppressions(problem: Problem) -> list[dict[str, str]]:
    return [{"kind": "external", "justification": problem.waived}] if problem.waived else []


def _location(evidence: Evidence, problem: Problem) -> dict[str, Any]:
    in_policy = evidence.policy is not None and problem.line is not None
    name = evidence.policy.name if evidence.policy is not None and in_policy else evidence.model.name
    place: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": _file(name),
            # A model has no lines, but code scanning shows no result without one.
            "region": {"startLine": problem.line if in_policy else 1},
        }
    }
    if problem.layers:
        place["logicalLocations"] = [
            {"name": layer, "fullyQualifiedName": layer, "kind": "module"} for layer in problem.layers
        ]
    return place


def _file(name: str) -> dict[str, str]:
    return {"uri": quote(name, safe=""), "uriBaseId": _ROOT}


def _artifacts(evidence: Evidence) -> list[dict[str, Any]]:
    """The files that the audit read, with their digests."""
    rows = [
        {"location": _file(f.name), "length": f.bytes, "hashes": {"sha-256": f.sha256}}
        for f in evidence.model.files
    ]
    if evidence.policy is not None:
        policy = evidence.policy
        rows.append({"location": _file(policy.name), "hashes": {"sha-256": policy.sha256}})
    return [row for index, row in enumerate(rows) if row not in rows[:index]]


def _invocation(report: AuditReport) -> dict[str, Any]:
    return {
        "executionSuccessful": report.verdict != "incomplete",
        "exitCode": report.exit_code,
        "exitCodeDescription": code_words(report.exit_code, report.evidence.budgets),
        **_times(report),
    }


def _times(report: AuditReport) -> dict[str, str]:
    """When it ran, in UTC as the standard asks; nothing if the report does not tell."""
    try:
        local = datetime.fromisoformat(report.run.started)
        if local.tzinfo is None:
            return {}
        start = local.astimezone(UTC)
        end = start + timedelta(seconds=report.run.seconds)
    except (ValueError, OverflowError):
        return {}
    return {"startTimeUtc": _instant(start), "endTimeUtc": _instant(end)}


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
