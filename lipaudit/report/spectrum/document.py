"""JSON: the whole record.

Keys are sorted, two spaces indent, UTF-8 is kept, one newline ends the text, as in a report.
"""

from __future__ import annotations

from lipaudit.report.canonical import dumped, read_back, schema_of, shipped
from lipaudit.report.spectrum.record import SCHEMA_VERSION, Spectrum

__all__ = ["from_json", "model_schema", "shipped_schema", "to_json"]

_WHAT = "lipaudit spectrum"
_HINT = f"this version reads spectra of schema {SCHEMA_VERSION}"


def to_json(spectrum: Spectrum) -> str:
    """The document."""
    return dumped(spectrum.model_dump(mode="json", by_alias=True))


def from_json(text: str) -> Spectrum:
    """Read one back.

    Raises:
        InputRefused: it is none.
    """
    return read_back(text, Spectrum, _WHAT, _HINT)


def model_schema() -> str:
    """The JSON Schema of what `to_json` writes, computed from the model."""
    return schema_of(Spectrum)


def shipped_schema() -> str:
    """The JSON Schema that comes with the package."""
    return shipped("spectrum", SCHEMA_VERSION)
