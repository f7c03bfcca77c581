"""What a report does not say, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lipaudit.load import LoadedModel
    from lipaudit.subject import Subject

__all__ = ["limitations"]

REAL_ARITHMETIC = (
    "Bounds and radii are theorems about the stored weights in real arithmetic; the float64 forward pass "
    "that yields the margins is accounted for, the rounding of a deployed float32 program is not."
)
SLOPES = (
    "Radii by curvature rest on the slopes at a sample and on how fast they can change besides; what float64 "
    "rounds there is accounted for as well."
)
BINARY = "A single output is read as a binary classifier: class 1 where the logit is positive."


def limitations(loaded: LoadedModel, subject: Subject) -> tuple[str, ...]:
    """Every limitation that follows from the model and how it was read."""
    binary = (BINARY,) if subject.classes == 1 else ()
    return (REAL_ARITHMETIC, *binary, *subject.graph.notes, *loaded.notes)
