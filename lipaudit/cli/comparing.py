"""`lipaudit diff A.json B.json`: what moved between two reports."""

from __future__ import annotations

from lipaudit.cli import streams
from lipaudit.cli.stored import read_report
from lipaudit.errors import ExitCode, InputRefused
from lipaudit.report.changes import changes
from lipaudit.report.changes_text import to_json, to_text

__all__ = ["run"]


def run(a: str, b: str, *, as_json: bool) -> ExitCode:
    """Compare and print.

    Raises:
        LipauditError: if one cannot be read.
    """
    try:
        found = changes(read_report(a), read_report(b))
    except InputRefused as error:
        hint = "this compares JSON reports; `lipaudit diff-model A B` compares models"
        raise InputRefused(error.message, hint=hint) from error
    if as_json:
        streams.write_data(to_json(found))
    else:
        streams.write_screen(to_text(found))
    return ExitCode.PASS
