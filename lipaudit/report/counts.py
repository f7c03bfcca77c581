"""How many samples are certified at a radius, from what a report stores.

At a radius of its curve the report says so.  Elsewhere the stored radii are counted (radius > ε, as rational
numbers): they were rounded down, so the count is never too high.  From above, no sample counts that is
misclassified, or that some attack within ε or less has refuted.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from lipaudit.report.exact import read_exact
from lipaudit.report.model import CurvePoint, Evidence, Robustness, SampleRecord

__all__ = ["Counted", "counted", "headline_point", "is_certified"]


@dataclass(frozen=True, slots=True)
class Counted:
    """Samples at one radius.

    Attributes:
        certified: proved; None where the report does not tell.
        possible: what no witness rules out.
        n: evaluated.
    """

    certified: int | None
    possible: int
    n: int


def counted(robustness: Robustness, eps: Fraction) -> Counted:
    """The samples certified at l2 radius `eps`."""
    clean = robustness.clean_accuracy
    possible = clean.count
    for point in robustness.curve:
        if point.possible_count is not None and read_exact(point.eps_exact) <= eps:
            possible = min(possible, point.possible_count)
    for point in robustness.curve:
        if read_exact(point.eps_exact) == eps:
            return Counted(point.certified_count, max(possible, point.certified_count), point.n)
    samples = robustness.samples
    if samples is None or len({sample.index for sample in samples}) != clean.n or len(samples) != clean.n:
        return Counted(None, possible, clean.n)
    certified = sum(is_certified(sample, eps) for sample in samples)
    return Counted(certified, max(possible, certified), clean.n)


def is_certified(sample: SampleRecord, eps: Fraction) -> bool:
    """Whether the stored radius of a sample exceeds `eps`."""
    radius = sample.radius
    return sample.correct and (not isinstance(radius, float) or Fraction(radius) > eps)


def headline_point(evidence: Evidence) -> CurvePoint | None:
    """The radius that sentences speak of, in every format: a budget's, else the first asked one."""
    robustness = evidence.robustness
    if robustness is None or not robustness.curve or robustness.clean_accuracy.n == 0:
        return None
    asked = {read_exact(point.eps_exact): point for point in reversed(robustness.curve)}
    budgets = (budget.eps for budget in evidence.budgets if budget.eps is not None)
    found = (asked.get(eps) for eps in map(_radius, budgets) if eps is not None)
    return next((point for point in found if point is not None), robustness.curve[0])


def _radius(text: str) -> Fraction | None:
    """None where a stored report holds no number."""
    try:
        return read_exact(text)
    except ValueError:
        return None
