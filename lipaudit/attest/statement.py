"""The signed document: an in-toto Statement v1.  Its subject: the model's files; its predicate: the evidence.

    {"_type": "https://in-toto.io/Statement/v1",
     "subject": [{"name": BASE NAME, "digest": {"sha256": …}}, …],
     "predicateType": "https://lipaudit.dev/attestation/audit/v1",
     "predicate": {"verdict", "exit_code", "evidence", "evidence_sha256", …}}

The predicate type is a name: nothing is fetched from there.  Subjects are matched by digests of bytes, so the
digest of the decoded weights is no subject; it stands in the evidence.

in-toto attestation framework, spec/v1/statement.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from lipaudit import __version__
from lipaudit.attest.standing import follows, lapsed, standing, unfit
from lipaudit.errors import InputRefused
from lipaudit.moment import judging_day
from lipaudit.policy.waiver import restored
from lipaudit.report.canonical import digest_of, from_json, parsed, shipped_schema
from lipaudit.report.inputs import Digest, Text
from lipaudit.report.model import READABLE, AuditReport, Evidence, Host, Run, Verdict
from lipaudit.report.number import Record
from lipaudit.report.wording import printable

__all__ = [
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "Predicate",
    "Statement",
    "Subject",
    "SubjectDigest",
    "model_schema",
    "payload_of",
    "read_statement",
    "statement_schema",
]

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://lipaudit.dev/attestation/audit/v1"

_WHAT = "lipaudit attestation"
_HINT = (
    "take the attestation as `lipaudit attest` wrote it; a newer version of lipaudit may be needed to read it"
)
_OLD = "1.0"  # reports without a digest of their evidence


class _Open(Record):
    """A record of in-toto's: fields nobody knows are passed over, as its specification says."""

    model_config = ConfigDict(extra="ignore")


class SubjectDigest(_Open):
    """Of a file's bytes."""

    sha256: Digest


class Subject(_Open):
    """One file of the model, by base name."""

    name: Text
    digest: SubjectDigest


class Predicate(Record):
    """What was found about the subject: the report's evidence, whole, and what follows from it."""

    schema_version: str = Field(pattern=r"^1\.[0-9]+$", description="of the report")
    verdict: Verdict
    exit_code: Literal[0, 1, 3]
    evidence: Evidence
    evidence_sha256: Digest = Field(description="as in the report")
    versions: dict[Text, Text] = Field(description="what the audit ran with, as the report's `run` says")
    attested_at: str = Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
        description="when it was signed, by the signer's clock",
    )
    attested_by: Text = Field(description="the program that signed, with its version")

    def report(self) -> AuditReport:
        """The report that was attested; of its `run` only the versions are known."""
        return AuditReport(
            verdict=self.verdict,
            exit_code=self.exit_code,
            evidence=self.evidence,
            evidence_sha256=self.evidence_sha256,
            run=Run(
                started=self.attested_at,
                seconds=0.0,
                versions=self.versions,
                host=Host(platform="not attested", device="not attested"),
            ),
        )


class Statement(_Open):
    """An audit's evidence, bound to the files of the model."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[Subject, ...] = Field(
        min_length=1, description="equal to `predicate.evidence.model.files`"
    )
    predicate_type: Literal["https://lipaudit.dev/attestation/audit/v1"] = Field(alias="predicateType")
    predicate: Predicate


def payload_of(text: str, at: datetime) -> bytes:
    """The statement about a report, as the bytes that are signed.

    Args:
        text: the JSON report.
        at: the time of signing, with its zone.

    Raises:
        InputRefused: if it is no report, or one that cannot be attested.
    """
    report = from_json(text)
    now = at.astimezone(UTC)
    _check_report(report, now)
    document = parsed(text)  # evidence as it was digested: records of a later version might add fields
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": f.name, "digest": {"sha256": f.sha256}} for f in report.evidence.model.files],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "schema_version": document["schema_version"],
            "verdict": report.verdict,
            "exit_code": report.exit_code,
            "evidence": document["evidence"],
            "evidence_sha256": report.evidence_sha256,
            "versions": dict(report.run.versions),
            "attested_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "attested_by": f"lipaudit {__version__}",
        },
    }
    return _compact(statement)


def read_statement(payload: bytes) -> Statement:
    """The statement that was signed, consistent in itself.

    Args:
        payload: bytes whose signature was checked.

    Raises:
        InputRefused: if they are no statement of ours, or say one thing here and another there.
    """
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputRefused(f"not a {_WHAT}: no UTF-8", hint=_HINT) from error
    document = parsed(text, what=_WHAT, hint=_HINT)
    _check_types(document)
    try:
        statement = Statement.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the statement"
        raise InputRefused(f"not a {_WHAT}: {first['msg']} at {where}", hint=_HINT) from error
    _check_consistency(statement, document["predicate"]["evidence"])
    return statement


def _check_report(report: AuditReport, now: datetime) -> None:
    if report.evidence_sha256 is None:
        raise InputRefused(
            "this report carries no digest of its evidence (schema 1.0): it may have been changed",
            hint="audit the model again with this version",
        )
    why = unfit(report.evidence)
    if why:
        raise InputRefused(
            f"this report is not attested: {why}",
            hint="audit again, with weights as data (safetensors, ONNX) and the preprocessing stated",
        )
    if not follows(report):
        raise InputRefused(
            f"the report's verdict is {report.verdict}, but {standing(report.evidence)[0]} follows from its "
            "evidence: it was changed",
            hint="take the report as lipaudit wrote it",
        )
    waivers = restored(report.evidence.waivers)
    day = judging_day(now, [waiver.expires for waiver in waivers], report.run.started)
    ended = lapsed(report.evidence, day)
    if ended and standing(report.evidence, day)[0] != report.verdict:
        raise InputRefused(
            f"the verdict {report.verdict} rests on a waiver of {printable(ended[0].budget)} that ended on "
            f"{ended[0].expires}",
            hint="renew the waiver or meet the budget, and audit again",
        )


def _check_types(document: Mapping[str, Any]) -> None:
    for name, expected in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if document.get(name) != expected:
            raise InputRefused(
                f"not a {_WHAT}: {name} is {str(document.get(name))[:100]!r}, not {expected}", hint=_HINT
            )


def _check_consistency(statement: Statement, document: Mapping[str, Any]) -> None:
    """Whoever signed it, this is not what `lipaudit attest` would have written."""
    predicate = statement.predicate
    if predicate.schema_version == _OLD or predicate.schema_version not in READABLE:
        raise InputRefused(f"evidence of schema {predicate.schema_version} is not read", hint=_HINT)
    if digest_of(document) != predicate.evidence_sha256:
        raise InputRefused("the evidence is not what its evidence_sha256 was taken of", hint=_HINT)
    files = [(f.name, f.sha256) for f in predicate.evidence.model.files]
    if [(s.name, s.digest.sha256) for s in statement.subject] != files:
        raise InputRefused("the subject is another model than that of the evidence", hint=_HINT)
    if standing(predicate.evidence) != (predicate.verdict, predicate.exit_code):
        raise InputRefused(
            f"the verdict {predicate.verdict} (exit {predicate.exit_code}) does not follow from the evidence",
            hint=_HINT,
        )
    why = unfit(predicate.evidence)
    if why:
        raise InputRefused(f"this should not have been attested: {why}", hint=_HINT)


def model_schema() -> dict[str, Any]:
    """The JSON Schema of a statement, computed from the records; the report's own records are left out."""
    schema = Statement.model_json_schema(mode="serialization", by_alias=True)
    ours = {name: schema["$defs"][name] for name in ("Predicate", "Subject", "SubjectDigest")}
    comment = "the rest of $defs is that of the report's schema: `lipaudit schema --attestation` prints both"
    return {**schema, "$comment": comment, "$defs": ours}


def statement_schema() -> str:
    """The JSON Schema of what is signed, complete with that of the evidence."""
    shipped = resources.files("lipaudit.attest").joinpath("schema", "statement-1.schema.json")
    schema = json.loads(shipped.read_text(encoding="utf-8"))
    report = json.loads(shipped_schema())
    del schema["$comment"]
    whole = {"$schema": report["$schema"], **schema, "$defs": {**report["$defs"], **schema["$defs"]}}
    return json.dumps(whole, sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def _compact(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")
