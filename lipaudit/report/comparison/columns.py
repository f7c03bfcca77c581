"""The columns of a comparison: what is proved, and apart from it what was counted and measured.

Shares and radii are rounded down, bounds up, as everywhere; times and bytes are rounded to three digits,
since they prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from lipaudit.report.comparison.record import Comparison, Costs, Measured, Proved, Row
from lipaudit.report.exact import read_exact
from lipaudit.report.model import CurvePoint
from lipaudit.report.wording import NOT_ANALYSED, bound_text, estimate_text, percent_down, printable

__all__ = ["Column", "bytes_text", "measured_columns", "point_at", "proved_columns", "seconds_text"]


@dataclass(frozen=True, slots=True)
class Column:
    """A title, and what stands below it for each model."""

    title: str
    cell: Callable[[Row], str]


def proved_columns(comparison: Comparison) -> list[Column]:
    """The bracket, and certified accuracy where samples were given."""
    columns = [
        Column("lower", lambda row: _of_proved(row, lambda p: estimate_text(p.global_.lower))),
        Column("upper", lambda row: _of_proved(row, lambda p: bound_text(p.global_.upper))),
    ]
    if any(proved.robustness is not None for _, proved in comparison.audited):
        columns.append(Column("clean", lambda row: _of_proved(row, _clean)))
        for eps in comparison.eps:
            share = partial(_certified, eps)
            columns.append(Column(printable(eps), partial(_of_proved, share=share)))
    return columns


def measured_columns(comparison: Comparison) -> list[Column]:
    """Parameters, forward pass, training step if asked for, and how long the audit took."""
    columns = []
    if any(row.costs is not None for row in comparison.models):
        columns = [Column("parameters", _parameters), *_of_work("forward", lambda costs: costs.forward)]
        if comparison.training:
            columns += _of_work("train", lambda costs: costs.training)
    return [*columns, Column("audit s", _audit)]


def _of_work(name: str, part: Callable[[Costs], Measured | None]) -> Iterator[Column]:
    def told(row: Row, text: Callable[[Measured], str]) -> str:
        measured = None if row.costs is None else part(row.costs)
        return NOT_ANALYSED if measured is None else text(measured)

    yield Column(f"{name} ms", partial(told, text=_time))
    yield Column("MiB", partial(told, text=lambda m: bytes_text(m.peak_bytes)))


def point_at(proved: Proved, eps: str) -> CurvePoint | None:
    """The report's own count at a radius, however it is written there."""
    curve = () if proved.robustness is None else proved.robustness.curve
    wanted = read_exact(eps)
    return next((point for point in curve if read_exact(point.eps_exact) == wanted), None)


def seconds_text(seconds: float) -> str:
    """In milliseconds, three digits."""
    return _three(1000 * seconds)


def bytes_text(count: int) -> str:
    """In MiB, three digits."""
    return _three(count / 2**20)


def _three(value: float) -> str:
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(value)))
    return f"{value:,.{min(decimals, 4)}f}"


def _time(measured: Measured) -> str:
    """The median, and both quartiles in brackets."""
    time = measured.seconds
    if time is None:
        return NOT_ANALYSED
    middle, low, high = map(seconds_text, (time.median, time.lower_quartile, time.upper_quartile))
    return f"{middle} ({low}…{high})"


def _of_proved(row: Row, share: Callable[[Proved], str]) -> str:
    return NOT_ANALYSED if row.proved is None else share(row.proved)


def _clean(proved: Proved) -> str:
    if proved.robustness is None:
        return NOT_ANALYSED
    return percent_down(proved.robustness.clean_accuracy.count, proved.robustness.clean_accuracy.n)


def _certified(eps: str, proved: Proved) -> str:
    point = point_at(proved, eps)
    return NOT_ANALYSED if point is None else percent_down(point.certified_count, point.n)


def _parameters(row: Row) -> str:
    if row.costs is None or row.costs.parameters is None:
        return NOT_ANALYSED
    return f"{row.costs.parameters:,}"


def _audit(row: Row) -> str:
    return NOT_ANALYSED if row.audit_seconds is None else _three(row.audit_seconds)
