"""Reports that were written before: a path, or `-` for stdin → `AuditReport`."""

from __future__ import annotations

import sys
from pathlib import Path

from lipaudit.cli import values
from lipaudit.errors import InputRefused, InputUnavailable
from lipaudit.report import AuditReport, from_json

__all__ = ["LARGEST", "STDIN", "read_report"]

STDIN = "-"
LARGEST = 2**30
"""Bytes: a report of ten million samples; a file beyond it is something else."""


def read_report(place: str) -> AuditReport:
    """The report at `place`.

    Raises:
        InputUnavailable: if there is no such file, or it cannot be read.
        InputRefused: if it is no report, or its evidence was changed.
    """
    data = _stdin() if place == STDIN else _file(place)
    shown = "stdin" if place == STDIN else place
    if len(data) > LARGEST:
        raise InputRefused(f"{shown} is no report: larger than {LARGEST} bytes")
    try:
        return from_json(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputRefused(
            f"{shown} is no report: not UTF-8", hint="give the JSON report, as `-o report.json` writes it"
        ) from error
    except InputRefused as error:
        raise InputRefused(f"{shown}: {error.message}", hint=error.hint) from error


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
