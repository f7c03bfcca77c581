"""Axes: which numbers stand along them, and where a value lies.

Ticks are 1, 2 or 5 times a power of ten.  Places are for the eye: nothing is decided by them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["LogAxis", "linear_ticks", "log_axis", "tick_text"]

_MARGIN = 0.04  # of a logarithmic axis, free on either side
_LEAST = 0.05  # decades that an axis spans at least: brackets of a few parts in a million are points


def linear_ticks(end: float, most: int) -> list[float]:
    """At most `most` + 1 round numbers from 0 to `end`.

    Args:
        end: > 0.
        most: steps.
    """
    rough = end / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next((unit * k for k in (1, 2, 5) if unit * k >= rough * (1 - 1e-9)), 10 * unit)
    return [_round(k * step) for k in range(int(end / step * (1 + 1e-9)) + 1)]


@dataclass(frozen=True, slots=True)
class LogAxis:
    """From `low` to `high`, both > 0, on a logarithmic scale."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """In percent of the axis; what lies outside is put at its end."""
        if value <= self.low:
            return 0.0
        if value >= self.high:
            return 100.0
        start, end = math.log(self.low), math.log(self.high)
        return 100 * (math.log(value) - start) / (end - start)


def log_axis(values: Iterable[float], most: int = 6) -> LogAxis:
    """An axis that holds 1 and all finite positive `values`, with at most `most` ticks."""
    known = [1.0, *(v for v in values if 0 < v < math.inf)]
    low, high = math.log10(min(known)), math.log10(max(known))
    spare = max((high - low) * _MARGIN, _LEAST / 2)
    low, high = max(low - spare, -307.0), min(high + spare, 308.0)
    return LogAxis(10**low, 10**high, tuple(_log_ticks(low, high, most)))


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """Powers of ten where there are two of them, else 1, 2, 5, else round numbers; always with 1."""
    powers = range(math.ceil(low), math.floor(high) + 1)
    if len(powers) > 2:
        every = -(-len(powers) // most)
        return [_round(10.0**k) for k in powers if k % every == 0]
    fine = [_round(m * 10.0**k) for k in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    inside = [v for v in fine if low <= math.log10(v) <= high]
    if len(inside) > 2:
        return inside[:: -(-len(inside) // most)] if len(inside) > most else inside
    step = linear_ticks(10**high - 10**low, max(most - 2, 2))[1]
    first = math.ceil((10**low - 1) / step)
    last = math.floor((10**high - 1) / step)
    return [_round(1 + k * step) for k in range(first, last + 1)]


def tick_text(value: float) -> str:
    """A round number as people write it."""
    if value == 0 or 1e-3 <= value < 1e5:
        return f"{value:g}" if value < 1e3 else f"{value:,.0f}"
    mantissa, exponent = f"{value:.0e}".split("e")
    power = str(int(exponent)).translate(_RAISED)
    return f"10{power}" if mantissa == "1" else f"{mantissa}·10{power}"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _round(value: float) -> float:
    """Without the last digits of a sum of tenths."""
    return float(f"{value:.12g}")
