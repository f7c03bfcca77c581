"""Certified accuracy: how many samples have a radius above ε.

Counted with exact fractions: `radius > ε` compares the stored double with ε as a rational number, so
36/255 is not 0.14117647058823529.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Point", "certified_counts"]


@dataclass(frozen=True, slots=True)
class Point:
    """`count` of `n` samples are certified at `eps`."""

    eps: Fraction
    count: int
    n: int


def certified_counts(radii: Sequence[float], asked: Iterable[Fraction]) -> tuple[Point, ...]:
    """One point per asked ε, in the order asked."""
    infinite = sum(r == float("inf") for r in radii)
    exact = [Fraction(r) for r in radii if r != float("inf")]
    return tuple(Point(eps, infinite + sum(r > eps for r in exact), len(radii)) for eps in asked)
