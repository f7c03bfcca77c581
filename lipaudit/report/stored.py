"""Reports that were written before: a file → its text → `AuditReport`, with the file's name in every message.

This is the only reader of report files.  What it returns has the evidence that its digest was taken of, or is
older than digests; whether its verdict follows from that evidence is for those to ask who repeat the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lipaudit.errors import InputRefused, InputUnavailable
from lipaudit.report.canonical import stored_report
from lipaudit.report.model import AuditReport

__all__ = ["LARGEST", "read_bytes", "read_report", "report_of", "text_of"]

LARGEST = 2**30
"""Bytes: a report of ten million samples; a file beyond it is something else."""


def read_report(path: Path) -> AuditReport:
    """The report in a file.

    Raises:
        InputUnavailable: if there is no such file, or it cannot be read.
        InputRefused: if it is no report, or its evidence was changed or lost its digest.
    """
    place = str(path)
    return report_of(text_of(read_bytes(path), place), place)


def read_bytes(path: Path) -> bytes:
    """What a file holds, up to one byte more than a report may have.

    Raises:
        InputUnavailable: if there is no such file, or it cannot be read.
        InputRefused: if it is a folder.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputUnavailable(
            f"no such report: {path}", hint="`lipaudit MODEL -o report.json` writes one"
        ) from error
    except IsADirectoryError as error:
        raise InputRefused(f"{path} is a folder", hint="name the JSON report in it") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        hint = "check the file's permissions"
        raise InputUnavailable(f"cannot read {path}: {reason}", hint=hint) from error


def text_of(data: bytes, place: str) -> str:
    """The text of a report; a byte order mark in front of it is no part of it.

    Raises:
        InputRefused: if it is too large, or no text.
    """
    if len(data) > LARGEST:
        raise InputRefused(f"{place} is no report: larger than {LARGEST} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputRefused(
            f"{place} is no report: not UTF-8",
            hint="give the JSON report, as `-o report.json` writes it",
        ) from error


def report_of(text: str, place: str, document: Mapping[str, Any] | None = None) -> AuditReport:
    """The report that a text holds.

    Args:
        text: the JSON.
        place: where it stood.
        document: what `canonical.parsed` made of it; None: parse it.

    Raises:
        InputRefused: if it is none, or its evidence was changed or lost its digest.
    """
    try:
        return stored_report(text, document)
    except InputRefused as error:
        raise InputRefused(f"{place}: {error.message}", hint=error.hint) from error
