"""An audit that was interrupted: the report of what was finished by then, and the words that say so.

`Interrupted` is a KeyboardInterrupt, so that Ctrl-C ends a Python program that calls `lipaudit.audit` as it
always does; whoever wants what was finished finds it in `report`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lipaudit.report.model import AuditReport, Evidence, Finding
from lipaudit.report.wording import plural

__all__ = ["UNATTACKED", "Interrupted", "interruption_finding", "is_interrupted", "layers_text", "unasked"]

UNATTACKED = "Nobody tried to refute these claims: the audit was interrupted."


_RULE = "LIP307"
_BOUNDED = re.compile(r": \d+ of (\d{1,9}) layers? bounded")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C after something was proved.

    Args:
        report: that, with verdict `incomplete` and exit code 130.
    """

    def __init__(self, report: AuditReport) -> None:
        super().__init__("interrupted")
        self.report = report


def interruption_finding(stage: str, layers: tuple[int, int], samples: tuple[int, int] | None) -> Finding:
    """How far the audit came.

    Args:
        stage: what it was doing.
        layers: how many are bounded, and how many there are.
        samples: how many were evaluated, and how many were to be; None without a data set.
    """
    message = f"interrupted while {stage}: {layers[0]} of {plural(layers[1], 'layer')} bounded"
    if samples is not None:
        message += f", {samples[0]} of {plural(samples[1], 'sample')} evaluated"
    return Finding(
        rule="LIP307",
        level="error",
        message=message,
        advice="audit again; --limit N evaluates fewer samples, --profile fast bounds layers sooner",
    )


def is_interrupted(findings: Iterable[Finding]) -> bool:
    """Whether a report's audit did not come to its end."""
    return any(finding.rule == _RULE for finding in findings)


def layers_text(evidence: Evidence) -> str:
    """`16 layers`, or `3 of 16 layers` where an interrupted audit reached no more."""
    bounded = len(evidence.layers)
    told = (_BOUNDED.search(finding.message) for finding in evidence.findings if finding.rule == _RULE)
    total = next((int(match[1]) for match in told if match), bounded)
    return plural(bounded, "layer") if total <= bounded else f"{bounded} of {plural(total, 'layer')}"


def unasked(compared: int, evaluated: int) -> str:
    """A limitation: the original program was not asked about every sample that counts."""
    left = f"{evaluated - compared} of {plural(evaluated, 'sample')}"
    return f"Interrupted before the original program was asked about {left}."
