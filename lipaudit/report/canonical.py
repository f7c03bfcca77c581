"""JSON: the same report is always the same bytes.

Keys are sorted, two spaces indent, UTF-8 is kept, NaN and infinity cannot occur (they are spelt out
in the model), one newline ends the text.  Python prints the shortest decimal that reads back as the
same double, and `number` made that a nine-digit one.

**Digest.**  `evidence_sha256` covers what `evidence` says, not how it is laid out: SHA-256 over its JSON
in UTF-8 with sorted keys, without white space, whole numbers without a fraction (1.0 and 1 are one number).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lipaudit.errors import InputRefused
from lipaudit.report.model import READABLE, SCHEMA_VERSION, AuditReport, Evidence
from lipaudit.report.refusal import field_words, json_words
from lipaudit.report.wording import printable

__all__ = [
    "digest_of",
    "dumped",
    "evidence_json",
    "from_json",
    "model_schema",
    "parsed",
    "read_back",
    "schema_of",
    "sealed",
    "shipped",
    "shipped_schema",
    "stored_report",
    "to_json",
]

_HINT = (
    "give the JSON report whole, as `-o report.json` writes it; this version reads schema "
    f"{', '.join(READABLE)}, see `lipaudit schema`"
)
_UNSEALED = "1.0"
"""The schema whose reports have no digest."""
_LONGEST = 60  # characters of a foreign name
Read = TypeVar("Read", bound=BaseModel)
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def to_json(report: AuditReport) -> str:
    """The whole report."""
    return dumped(report.model_dump(mode="json", by_alias=True))


def evidence_json(evidence: Evidence) -> str:
    """The evidence half alone: what is digested, signed and compared."""
    return dumped(evidence.model_dump(mode="json", by_alias=True))


def digest_of(evidence: Evidence | Mapping[str, Any]) -> str:
    """`evidence_sha256`, of records or of what a JSON document holds."""
    document = (
        evidence.model_dump(mode="json", by_alias=True) if isinstance(evidence, Evidence) else dict(evidence)
    )
    text = json.dumps(
        _whole(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sealed(report: AuditReport) -> AuditReport:
    """The same report with the digest of its evidence."""
    return report.model_copy(update={"evidence_sha256": digest_of(report.evidence)})


def parsed(text: str, *, what: str = "lipaudit report", hint: str = _HINT) -> dict[str, Any]:
    """A JSON object as plain data, each name in it once.

    Args:
        text: the JSON.
        what: it should be, for the message.
        hint: what to do if it is none.

    Raises:
        InputRefused: if it is none.
    """
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InputRefused(f"not a {what}: {json_words(text, error)}", hint=hint) from error
    if not isinstance(document, dict):
        raise InputRefused(f"not a {what}: no JSON object", hint=hint)
    return document


def from_json(text: str, document: Mapping[str, Any] | None = None) -> AuditReport:
    """Read a report back.

    Args:
        text: the JSON.
        document: what `parsed` made of it; None: parse it.

    Raises:
        InputRefused: if the text is no JSON, no report of a schema version that is read, or its evidence is
            not what its digest was taken of.
    """
    document = parsed(text) if document is None else document
    try:
        report = AuditReport.model_validate_json(text)
    except ValidationError as error:
        words = field_words(document, error, READABLE)
        raise InputRefused(f"not a lipaudit report: {words}", hint=_HINT) from error
    if report.evidence_sha256 not in (None, digest_of(document["evidence"])):
        raise InputRefused(
            "the report's evidence is not what its evidence_sha256 was taken of: it was changed",
            hint="take the report as lipaudit wrote it; laying it out anew changes nothing",
        )
    return report


def stored_report(text: str, document: Mapping[str, Any] | None = None) -> AuditReport:
    """Read a report from where it was kept: as `from_json`, and it must have its digest.

    Args:
        text: the JSON.
        document: what `parsed` made of it; None: parse it.

    Raises:
        InputRefused: as `from_json`; and if there is no digest, unless the schema is older than digests.
    """
    report = from_json(text, document)
    if report.evidence_sha256 is None and report.schema_version != _UNSEALED:
        raise InputRefused(
            "the report carries no digest of its evidence, which every report of schema "
            f"{SCHEMA_VERSION} has: it was changed",
            hint="take the report as the audit wrote it, or audit again",
        )
    return report


def model_schema() -> str:
    """The JSON Schema of what `to_json` writes, computed from the model."""
    return schema_of(AuditReport)


def shipped_schema() -> str:
    """The JSON Schema that comes with the package, for `SCHEMA_VERSION`."""
    return shipped("report", SCHEMA_VERSION)


def schema_of(record: type[BaseModel]) -> str:
    """The JSON Schema of a record as it is written."""
    return dumped({"$schema": _DIALECT, **record.model_json_schema(mode="serialization", by_alias=True)})


def shipped(what: str, version: str) -> str:
    """The JSON Schema of that name that comes with the package."""
    name = f"{what}-{version}.schema.json"
    return resources.files("lipaudit.report").joinpath("schema", name).read_text(encoding="utf-8")


def read_back(text: str, record: type[Read], what: str, hint: str) -> Read:
    """A record from its JSON.

    Raises:
        InputRefused: it is none; `what` it should be and the `hint` are told.
    """
    parsed(text, what=what, hint=hint)
    try:
        return record.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputRefused(f"not a {what}: {first['msg']} at {where}", hint=hint) from error


def dumped(document: Mapping[str, object]) -> str:
    """A document as text."""
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _whole(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """The same document with whole numbers as integers."""
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{printable(twice[:_LONGEST])} stands twice in one object")
    return found


def _no_number(text: str) -> Any:  # noqa: ANN401
    raise ValueError(f"{text} is no JSON number")
