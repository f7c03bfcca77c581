"""Certified accuracy against radius as steps that lie nowhere above what was proved.

A sample with radius r counts at every ε < r, so the count is c(ε) = #{r > ε}: it falls behind each radius,
to the right, and between two radii nothing is known but the count itself (no interpolation).  Of many samples
some radii are kept as corners; between two corners b < b′ the curve takes the count just before b′,
#{r ≥ b′} ≤ c(ε), so that thinning lowers it.  Radii in a report are rounded down, which lowers it as well.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from lipaudit.report.model import Robustness

__all__ = ["MOST", "Step", "at_least", "possible_steps", "proved_steps", "radii_of", "thinned"]

MOST = 500
"""Steps of a curve, however many samples there are."""


@dataclass(frozen=True, slots=True)
class Step:
    """At every radius from the end of the step before (at first 0) and below `end`, `count` samples."""

    end: float
    count: int


def radii_of(robustness: Robustness) -> tuple[float, ...] | None:
    """Every sample's radius, ascending; infinite where nothing can change it; None: not (all) told."""
    samples = robustness.samples
    if samples is None or len(samples) != robustness.clean_accuracy.n:
        return None
    return tuple(sorted(s.radius if isinstance(s.radius, float) else math.inf for s in samples))


def proved_steps(robustness: Robustness) -> tuple[Step, ...]:
    """How many samples are certified, at least, at every radius; 0 behind the last step."""
    radii = radii_of(robustness)
    if radii is None:
        known = sorted(((p.eps, p.certified_count) for p in robustness.curve), reverse=True)
        found: list[Step] = []
        for eps, count in known:  # a sample certified at a larger radius is certified at this one
            found.insert(0, Step(eps, max(count, found[0].count if found else 0)))
        return tuple(step for step in found if step.count)
    return thinned(radii, tuple(p.eps for p in robustness.curve))


def thinned(radii: Sequence[float], asked: Sequence[float] = (), most: int = MOST) -> tuple[Step, ...]:
    """At most `most` steps below #{r > ε}, exact at the first of the asked radii and if radii are few.

    Args:
        radii: ascending, ≥ 0.
        asked: where the curve should be exact.
        most: ≥ 1.
    """
    corners = sorted({radius for radius in radii if radius > 0})
    if len(corners) > most:
        # The largest corner is kept: behind the last one the curve is 0.
        kept = {corners[-1]}
        for eps in sorted(asked):
            place = bisect_right(corners, eps)
            if place < len(corners) and len(kept) < most:
                kept.add(corners[place])
        rest = most - len(kept)
        kept |= {corners[len(corners) * k // rest] for k in range(rest)}
        corners = sorted(kept)
    return tuple(Step(corner, len(radii) - bisect_left(radii, corner)) for corner in corners)


def possible_steps(robustness: Robustness, end: float) -> tuple[Step, ...]:
    """What certified accuracy cannot exceed up to `end`: correct answers, less those that were attacked."""
    count = robustness.clean_accuracy.count
    found: list[Step] = []
    for point in sorted(robustness.curve, key=lambda p: p.eps):
        if point.eps < end:
            found.append(Step(point.eps, count))
            count = min(count, count if point.possible_count is None else point.possible_count)
    return (*found, Step(end, count))


def at_least(steps: Sequence[Step], eps: float) -> int:
    """The curve's value at one radius."""
    return next((step.count for step in steps if eps < step.end), 0)
