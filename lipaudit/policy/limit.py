"""Limits: a number as somebody wrote it, or a step away from what an earlier report said.

A ratchet's step is a share of the earlier value for `lipschitz` and `slack` (2 % above), and percentage
points for accuracies (0.02 below), since these are shares themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

__all__ = ["Limit", "Ratchet"]


@dataclass(frozen=True, slots=True)
class Limit:
    """A fixed number.

    Args:
        value: ≥ 0, exact.
        text: as it was written.
    """

    value: Fraction
    text: str


@dataclass(frozen=True, slots=True)
class Ratchet:
    """As good as an earlier report, or worse by no more than a step.

    Args:
        path: of the earlier report.
        step: ≥ 0, exact; 2 % is 1/50.
        text: the step as it was written.
    """

    path: Path
    step: Fraction
    text: str
