"""JSON: the whole comparison but for single samples, which the audits' own reports hold.

Keys are sorted, two spaces indent, UTF-8 is kept, one newline ends the text, as in a report.
"""

from __future__ import annotations

from lipaudit.report.canonical import dumped, read_back, schema_of, shipped
from lipaudit.report.comparison.record import SCHEMA_VERSION, Comparison

__all__ = ["from_json", "model_schema", "shipped_schema", "to_json"]

_WHAT = "lipaudit comparison"
_HINT = f"this version reads comparisons of schema {SCHEMA_VERSION}"


def to_json(comparison: Comparison) -> str:
    """The document."""
    document = comparison.model_dump(mode="json", by_alias=True)
    for row in document["models"]:
        if row["proved"] is not None and row["proved"]["robustness"] is not None:
            row["proved"]["robustness"]["samples"] = None
    return dumped(document)


def from_json(text: str) -> Comparison:
    """Read one back.

    Raises:
        InputRefused: it is none.
    """
    return read_back(text, Comparison, _WHAT, _HINT)


def model_schema() -> str:
    """The JSON Schema of what `to_json` writes, computed from the model."""
    return schema_of(Comparison)


def shipped_schema() -> str:
    """The JSON Schema that comes with the package."""
    return shipped("comparison", SCHEMA_VERSION)
