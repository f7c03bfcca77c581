"""CSV: one row per stored sample, one column per asked radius, as RFC 4180 says.

A sample is certified at ε iff it is classified correctly and its radius exceeds ε, compared as rational
numbers.  The radius of a report is rounded down, so a column's sum is never above the curve's count.  `by` is
the proof of a radius above 0: `margin`, or `curvature` where that one reaches further.
Infinity is `inf`, what was not analysed is empty.  No cell begins as a spreadsheet's formula does: text
stands in the header only, behind a word of ours.

Shafranovich (2005), "Common Format and MIME Type for CSV Files", RFC 4180.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from fractions import Fraction
from io import StringIO

from lipaudit.report.exact import read_exact
from lipaudit.report.model import AuditReport, Robustness, SampleRecord
from lipaudit.report.number import Plain
from lipaudit.report.second_order import curved_indices
from lipaudit.report.wording import printable

__all__ = ["COLUMNS", "missing_samples", "to_csv"]

COLUMNS = ("index", "label", "predicted", "margin", "radius", "correct", "by")
"""Before those of the asked radii, `certified@36/255`."""


def to_csv(report: AuditReport) -> str:
    """The header, and a row for each stored sample in the report's order; lines end with CR LF."""
    robustness = report.evidence.robustness
    asked = _asked(robustness)
    text = StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([*COLUMNS, *(f"certified@{eps}" for eps in asked)])
    samples = () if robustness is None else robustness.samples or ()
    curved = curved_indices(robustness)
    for sample in samples:
        by = "" if sample.radius == 0 else "curvature" if sample.index in curved else "margin"
        writer.writerow(_cells(sample, by, tuple(asked.values())))
    return text.getvalue()


def missing_samples(report: AuditReport) -> str:
    """Why there are no rows; empty if there are."""
    robustness = report.evidence.robustness
    if robustness is None:
        return "no rows: no data set was evaluated"
    return "" if robustness.samples else "no rows: the report holds no samples"


def _asked(robustness: Robustness | None) -> dict[str, Fraction]:
    """Every radius of the curve, as it was asked."""
    curve = () if robustness is None else robustness.curve
    return {printable(point.eps_exact.strip()): read_exact(point.eps_exact) for point in curve}


def _cells(sample: SampleRecord, by: str, asked: tuple[Fraction, ...]) -> Iterator[str | int]:
    yield sample.index
    yield sample.label
    yield "" if sample.predicted is None else sample.predicted
    yield "" if sample.margin is None else repr(sample.margin)
    yield repr(sample.radius) if isinstance(sample.radius, float) else "inf"
    yield int(sample.correct)
    yield by
    for eps in asked:
        yield int(sample.correct and _exceeds(sample.radius, eps))


def _exceeds(radius: Plain, eps: Fraction) -> bool:
    return not isinstance(radius, float) or Fraction(radius) > eps
