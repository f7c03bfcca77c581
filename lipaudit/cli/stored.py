"""Reports that a command is given: a path, or `-` for stdin → `AuditReport`.

The digest in a report covers its evidence; its verdict follows from that.  Whoever reads one here may rely on
both: nothing turns green because somebody edited a word.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lipaudit.attest.standing import follows, standing
from lipaudit.cli import streams, values
from lipaudit.errors import ExitCode, InputRefused, InputUnavailable
from lipaudit.report import AuditReport, stored
from lipaudit.report.model import Finding

__all__ = ["STDIN", "checked", "doubted", "read_report", "read_text"]

STDIN = "-"
_UNSEALED = Finding(
    rule="LIP308",
    level="error",
    message="the report carries no digest of its evidence (schema 1.0): it may have been changed",
    advice="audit the model again with this version",
)


def read_report(place: str) -> AuditReport:
    """The report at `place`.

    Raises:
        InputUnavailable: if there is no such file, or it cannot be read.
        InputRefused: if it is no report, its evidence was changed, or its verdict does not follow from it.
    """
    return checked(read_text(place), place)


def read_text(place: str) -> str:
    """What the file holds.

    Raises:
        InputUnavailable: if there is no such file, or it cannot be read.
        InputRefused: if it is too large, or no text.
    """
    if place == STDIN:
        return stored.text_of(_stdin(), _shown(place))
    values.existing_file(place, kind="the path of a JSON report")
    return stored.text_of(stored.read_bytes(Path(place)), place)


def checked(text: str, place: str, document: Mapping[str, Any] | None = None) -> AuditReport:
    """The report that a text holds; a person is told if nobody can tell whether it was changed.

    Args:
        text: the JSON.
        place: where it stood.
        document: what `canonical.parsed` made of it; None: parse it.

    Raises:
        InputRefused: if it is no report, its evidence was changed or lost its digest, or its verdict does not
            follow from it.
    """
    report = stored.report_of(text, _shown(place), document)
    if not follows(report):
        raise InputRefused(
            f"{_shown(place)}: the verdict is {report.verdict} (exit {report.exit_code}), but "
            f"{standing(report.evidence)[0]} follows from the evidence: it was changed",
            hint="take the report as lipaudit wrote it",
        )
    if report.evidence_sha256 is None:
        streams.say(
            f"note: {_shown(place)} carries no digest of its evidence (schema 1.0): nobody can tell whether "
            "it was changed"
        )
    return report


def doubted(report: AuditReport) -> AuditReport:
    """The report itself, or with a finding if nobody can tell whether it was changed: never green then."""
    if report.evidence_sha256 is not None or _UNSEALED in report.evidence.findings:
        return report
    evidence = report.evidence.model_copy(update={"findings": (*report.evidence.findings, _UNSEALED)})
    told = report.model_copy(update={"evidence": evidence})
    if ExitCode(report.exit_code) is ExitCode.INTERRUPTED:
        return told
    verdict, code = standing(evidence)
    return told.model_copy(update={"verdict": verdict, "exit_code": code})


def _shown(place: str) -> str:
    return "stdin" if place == STDIN else place


def _stdin() -> bytes:
    if sys.stdin is None:  # started with stdin closed
        raise InputUnavailable("stdin is closed: no report to read")
    return sys.stdin.buffer.read(stored.LARGEST + 1)
