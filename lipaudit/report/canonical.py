"""JSON: the same report is always the same bytes.

Keys are sorted, two spaces indent, UTF-8 is kept, NaN and infinity cannot occur (they are spelt out
in the model), one newline ends the text.  Python prints the shortest decimal that reads back as the
same double, and `number` made that a nine-digit one.
"""

from __future__ import annotations

import json
from importlib import resources

from pydantic import ValidationError

from lipaudit.errors import InputRefused
from lipaudit.report.model import SCHEMA_VERSION, AuditReport, Evidence

__all__ = ["evidence_json", "from_json", "model_schema", "shipped_schema", "to_json"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def to_json(report: AuditReport) -> str:
    """The whole report."""
    return _dump(report.model_dump(mode="json", by_alias=True))


def evidence_json(evidence: Evidence) -> str:
    """The evidence half alone: what is digested, signed and compared."""
    return _dump(evidence.model_dump(mode="json", by_alias=True))


def from_json(text: str) -> AuditReport:
    """Read a report back.

    Raises:
        InputRefused: if the text is no JSON, or no report of this schema version.
    """
    try:
        return AuditReport.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputRefused(
            f"not a lipaudit report: {first['msg']} at {where}",
            hint=f"this version reads reports of schema {SCHEMA_VERSION}; see `lipaudit schema`",
        ) from error


def model_schema() -> str:
    """The JSON Schema of what `to_json` writes, computed from the model."""
    schema = AuditReport.model_json_schema(mode="serialization", by_alias=True)
    return _dump({"$schema": _DIALECT, **schema})


def shipped_schema() -> str:
    """The JSON Schema that comes with the package, for `SCHEMA_VERSION`."""
    name = f"report-{SCHEMA_VERSION}.schema.json"
    return resources.files("lipaudit.report").joinpath("schema", name).read_text(encoding="utf-8")


def _dump(document: dict[str, object]) -> str:
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
