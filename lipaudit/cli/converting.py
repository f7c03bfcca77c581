"""`lipaudit convert report.json -o r.sarif`: a report that was made before, in other formats.

What may have been changed since, because it is older than digests, says so in each of them that has words
(`LIP308`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lipaudit.cli import outputs
from lipaudit.cli.stored import STDIN, doubted, read_report
from lipaudit.errors import ExitCode, UsageError

__all__ = ["run"]


def run(source: str, output: Sequence[str]) -> ExitCode:
    """Read, write.

    Returns:
        0: the verdict is not repeated, since nothing is judged here.

    Raises:
        LipauditError: if there is no output, no report, or no place for it.
    """
    targets = outputs.parse_targets(output, outputs.REPORTS)
    if not targets:
        raise UsageError("nothing to convert to", hint="lipaudit convert report.json -o report.sarif")
    outputs.check_targets(targets, {} if source == STDIN else {Path(source): "the report itself"})
    outputs.write_targets(targets, doubted(read_report(source)))
    return ExitCode.PASS
