"""CSV: one row per model, numbers as they stand in the JSON, as RFC 4180 says.

Counts stand beside the shares' denominators, times in seconds, memory in bytes.  What was not analysed or
measured is empty, infinity is `inf`.  A text that a spreadsheet would take for a formula gets an apostrophe.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO

from lipaudit.report.comparison.columns import point_at
from lipaudit.report.comparison.record import Comparison, Measured, Proved, Row
from lipaudit.report.number import Number
from lipaudit.report.wording import printable

__all__ = ["to_csv"]

_Cell = str | int | float | None
_WORK = ("batch", "median_seconds", "lower_quartile_seconds", "upper_quartile_seconds", "runs", "peak_bytes")


def to_csv(comparison: Comparison) -> str:
    """The header and a row for each model, in their order; lines end with CR LF."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    rows = [dict(_cells(row, comparison)) for row in comparison.models]
    writer.writerow(rows[0] if rows else ())
    writer.writerows(row.values() for row in rows)
    return text.getvalue()


def _cells(row: Row, comparison: Comparison) -> Iterator[tuple[str, _Cell]]:
    yield "model", _harmless(row.name)
    yield "exit_code", row.exit_code
    yield "verdict", "" if row.proved is None else row.proved.verdict
    yield from _proved(row.proved, comparison)
    costs = row.costs
    yield "parameters", None if costs is None else costs.parameters
    works = {"forward": None if costs is None else costs.forward}
    if comparison.training:
        works["train"] = None if costs is None else costs.training
    for name, measured in works.items():
        for field, value in zip(_WORK, _work(measured), strict=True):
            yield f"{name}_{field}", value
    yield "audit_seconds", row.audit_seconds
    yield "problem", "" if row.problem is None else _harmless(row.problem.message)


def _proved(proved: Proved | None, comparison: Comparison) -> Iterator[tuple[str, _Cell]]:
    robustness = None if proved is None else proved.robustness
    clean = None if robustness is None else robustness.clean_accuracy
    yield "lower", None if proved is None else _number(proved.global_.lower)
    yield "upper", None if proved is None else _number(proved.global_.upper)
    yield "samples", None if clean is None else clean.n
    yield "correct", None if clean is None else clean.count
    for eps in comparison.eps:
        point = None if proved is None else point_at(proved, eps)
        yield f"certified@{printable(eps)}", None if point is None else point.certified_count


def _work(measured: Measured | None) -> tuple[_Cell, ...]:
    if measured is None:
        return (None,) * len(_WORK)
    time = measured.seconds
    spread = (
        (None,) * 4 if time is None else (time.median, time.lower_quartile, time.upper_quartile, time.runs)
    )
    return (measured.batch, *spread, measured.peak_bytes)


def _number(number: Number) -> _Cell:
    return "inf" if number.status == "unbounded" else number.value


def _harmless(text: str) -> str:
    shown = printable(text)
    return f"'{shown}" if shown[:1] in "=+-@" and shown else shown
