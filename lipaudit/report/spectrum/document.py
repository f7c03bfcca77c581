"""JSON: the whole record.

Keys are sorted, two spaces indent, UTF-8 is kept, one newline ends the text, as in a report.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from pydantic import ValidationError

from lipaudit.errors import InputRefused
from lipaudit.report.canonical import parsed
from lipaudit.report.spectrum.record import SCHEMA_VERSION, Spectrum

__all__ = ["from_json", "model_schema", "shipped_schema", "to_json"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_WHAT = "lipaudit spectrum"
_HINT = f"this version reads spectra of schema {SCHEMA_VERSION}"


def to_json(spectrum: Spectrum) -> str:
    """The document."""
    return _dump(spectrum.model_dump(mode="json", by_alias=True))


def from_json(text: str) -> Spectrum:
    """Read one back.

    Raises:
        InputRefused: it is none.
    """
    parsed(text, what=_WHAT, hint=_HINT)
    try:
        return Spectrum.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputRefused(f"not a {_WHAT}: {first['msg']} at {where}", hint=_HINT) from error


def model_schema() -> str:
    """The JSON Schema of what `to_json` writes, computed from the model."""
    return _dump({"$schema": _DIALECT, **Spectrum.model_json_schema(mode="serialization", by_alias=True)})


def shipped_schema() -> str:
    """The JSON Schema that comes with the package."""
    name = f"spectrum-{SCHEMA_VERSION}.schema.json"
    return resources.files("lipaudit.report").joinpath("schema", name).read_text(encoding="utf-8")


def _dump(document: dict[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
