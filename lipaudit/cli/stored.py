"""Reports that were written before: a path, or `-` for stdin → `AuditReport`.

The digest in a report covers its evidence; its verdict follows from that.  Whoever reads one here may rely on
both: nothing turns green because somebody edited a word.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lipaudit.attest.standing import follows, standing
from lipaudit.cli import streams, values
from lipaudit.errors import InputRefused, InputUnavailable
from lipaudit.report import AuditReport
from lipaudit.report.canonical import stored_report

__all__ = ["LARGEST", "STDIN", "checked", "read_report", "read_text"]

STDIN = "-"
LARGEST = 2**30
"""Bytes: a report of ten million samples; a file beyond it is something else."""


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
    data = _stdin() if place == STDIN else _file(place)
    if len(data) > LARGEST:
        raise InputRefused(f"{_shown(place)} is no report: larger than {LARGEST} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputRefused(
            f"{_shown(place)} is no report: not UTF-8",
            hint="give the JSON report, as `-o report.json` writes it",
        ) from error


def checked(text: str, place: str) -> AuditReport:
    """The report that a text holds; a person is told if nobody can tell whether it was changed.

    Raises:
        InputRefused: if it is no report, its evidence was changed or lost its digest, or its verdict does not
            follow from it.
    """
    try:
        report = stored_report(text)
    except InputRefused as error:
        raise InputRefused(f"{_shown(place)}: {error.message}", hint=error.hint) from error
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


def _shown(place: str) -> str:
    return "stdin" if place == STDIN else place


def _stdin() -> bytes:
    if sys.stdin is None:  # started with stdin closed
        raise InputUnavailable("stdin is closed: no report to read")
    return sys.stdin.buffer.read(LARGEST + 1)


def _file(place: str) -> bytes:
    values.existing_file(place, kind="the path of a JSON report")
    path = Path(place)
    if path.is_dir():
        raise InputRefused(f"{place} is a folder", hint="name the JSON report in it")
    try:
        with path.open("rb") as stream:
            return stream.read(LARGEST + 1)
    except OSError as error:
        raise InputUnavailable(
            f"cannot read {place}: {error.strerror}", hint="check the file's permissions"
        ) from error
