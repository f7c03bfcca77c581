"""In whose unit a budget is meant: a radius, or a Lipschitz constant, is one per unit of the threat space.

`pixel`: pixels of [0, 1] · `input`: what the network receives behind scale, mean and std · `file`: the data
set's own numbers.  Budgets are meant in pixels unless the policy (`require.threat_space`), or the command
line that sets them, says otherwise; in another unit they are not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

from lipaudit.policy.verdict import undecided
from lipaudit.report.inputs import PreprocessingRecord
from lipaudit.report.judgement import BudgetOutcome
from lipaudit.report.remedies import ELSEWHERE
from lipaudit.report.wording import printable

__all__ = ["PIXEL", "SPACES", "Space", "in_space", "is_identity", "space_of"]

Space = Literal["pixel", "input", "file"]

PIXEL: Space = "pixel"
SPACES: Mapping[Space, str] = {
    "pixel": "pixel [0,1]",
    "input": "the model's own input",
    "file": "the file's own units",
}
"""How a report's `threat_space` begins."""

_MEASURED = frozenset({"lipschitz", "certified_accuracy"})
"""Metrics that are per unit of distance."""


def space_of(how: PreprocessingRecord) -> Space | None:
    """Where a report measures distances; None for what nobody knows."""
    return next((name for name, text in SPACES.items() if how.threat_space.startswith(text)), None)


def is_identity(how: PreprocessingRecord) -> bool:
    """Whether pixels enter the network as they are: then both have one unit."""
    means, stds = map(Fraction, how.mean), map(Fraction, how.std)
    return Fraction(how.scale) == 1 and not any(means) and set(stds) <= {Fraction(1)}


def in_space(outcome: BudgetOutcome, meant: Space, how: PreprocessingRecord) -> BudgetOutcome:
    """The same outcome, with the unit if it is none of pixels; not decided if the budget is meant in another.

    Args:
        outcome: of one budget.
        meant: the budget's unit.
        how: where the report measures.
    """
    found = space_of(how)
    is_one = is_identity(how) and {found, meant} <= {"pixel", "input"}
    if outcome.metric not in _MEASURED or is_one or found == meant == PIXEL:
        return outcome
    told = f"distances are in {printable(how.threat_space)}"
    if found != meant:
        return undecided([outcome], f"{told}, {ELSEWHERE}{SPACES[meant]}")[0]
    return outcome.model_copy(update={"message": f"{outcome.message}; {told}"})
