"""Statements: what is signed about a report, and which signed things are refused nevertheless."""

import json
from datetime import UTC, datetime, timedelta, timezone

import jsonschema
import pytest
import sample_attestation as s
import sample_report as sample

from lipaudit import __version__
from lipaudit.attest import statement as st
from lipaudit.errors import InputRefused
from lipaudit.report import canonical
from lipaudit.report.judgement import Waiver

REPORTS = {
    "pass": {},
    "fail": {"budgets": (sample.budget("fail"),)},
    "inconclusive": {"budgets": (sample.budget("inconclusive"),)},
    "incomplete": {"layers": (sample.unknown(),), "findings": (sample.finding("error"),)},
}


@pytest.mark.parametrize("verdict", REPORTS)
def test_every_verdict_can_be_attested_and_is_told(verdict):
    text = s.report_text(verdict, **REPORTS[verdict])
    report = canonical.from_json(text)
    found = st.read_statement(st.payload_of(text, s.AT))
    predicate = found.predicate
    assert (predicate.verdict, predicate.exit_code) == (verdict, sample.CODES[verdict])
    assert predicate.evidence == report.evidence
    assert predicate.evidence_sha256 == report.evidence_sha256 == canonical.digest_of(predicate.evidence)
    assert predicate.versions == report.run.versions
    assert predicate.attested_at == "2026-11-29T12:00:00Z"
    assert predicate.attested_by == f"lipaudit {__version__}"
    assert [(f.name, f.sha256) for f in report.evidence.model.files] == [
        (subject.name, subject.digest.sha256) for subject in found.subject
    ]


def test_the_fixed_words():
    document = s.statement()
    assert set(document) == {"_type", "subject", "predicateType", "predicate"}
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://lipaudit.dev/attestation/audit/v1"
    assert document["subject"] == [{"name": "mnist_cnn.onnx", "digest": {"sha256": sample.DIGEST}}]
    assert document["predicate"]["evidence"] == json.loads(s.report_text())["evidence"]


def test_the_payload_is_canonical():
    payload = st.payload_of(s.report_text(), s.AT)
    laid_out = json.dumps(json.loads(s.report_text()), indent=7)
    assert st.payload_of(laid_out, s.AT) == payload
    assert st.payload_of(s.report_text(), s.AT.astimezone(timezone(timedelta(hours=5)))) == payload
    assert payload == json.dumps(json.loads(payload), sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize("verdict", REPORTS)
def test_valid_against_the_schema(verdict):
    schema = json.loads(st.statement_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    document = s.statement(verdict=verdict, **REPORTS[verdict])
    jsonschema.validate(document, schema)
    for path, value in [
        ("_type", "https://in-toto.io/Statement/v0.1"),
        ("predicate.more", 1),
        ("predicate.evidence.more", 1),
        ("subject", []),
        ("predicate.attested_at", "yesterday"),
        ("predicate.evidence", None),
    ]:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(s.edited(document, path, value), schema)


def test_the_shipped_schema_is_the_records():
    # After a change of the records: write model_schema() into attest/schema/.
    shipped = st.resources.files("lipaudit.attest").joinpath("schema", "statement-1.schema.json")
    assert json.loads(shipped.read_text(encoding="utf-8")) == st.model_schema()


# Reports that are not attested


def test_a_changed_report_is_refused():
    document = json.loads(s.report_text())
    for path, value in [
        ("evidence.global.upper", {"value": 5.0, "hex": (5.0).hex(), "status": "proved"}),
        ("evidence_sha256", "0" * 64),
    ]:
        with pytest.raises(InputRefused, match="it was changed"):
            st.payload_of(json.dumps(s.edited(document, path, value)), s.AT)


def test_a_changed_verdict_is_refused():
    text = s.report_text("fail", budgets=(sample.budget("fail"),))
    document = json.loads(text) | {"verdict": "pass", "exit_code": 0}
    with pytest.raises(InputRefused, match="verdict is pass, but fail follows"):
        st.payload_of(json.dumps(document), s.AT)


def test_a_report_without_a_digest_is_refused():
    for text in (
        canonical.to_json(sample.report()),
        json.dumps(
            s.edited(json.loads(s.report_text()), "evidence_sha256", None) | {"schema_version": "1.0"}
        ),
    ):
        with pytest.raises(InputRefused, match="no digest"):
            st.payload_of(text, s.AT)


def test_a_pickle_that_was_trusted_is_not_attested():
    model = sample.evidence().model.model_copy(update={"trust": "runs the pickle sha256:… (--trust-pickle)"})
    with pytest.raises(InputRefused, match="--trust-pickle"):
        st.payload_of(s.report_text(model=model), s.AT)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"payloadType": "x"}'])
def test_what_is_no_report_is_not_attested(text):
    with pytest.raises(InputRefused, match="not a lipaudit report"):
        st.payload_of(text, s.AT)


def test_a_verdict_that_rests_on_an_ended_waiver_is_not_attested():
    budget = sample.budget("fail").model_copy(update={"waived": True})
    waiver = Waiver(budget="lipschitz", reason="r", owner="o", expires="2999-11-29", state="used")
    text = s.report_text(budgets=(budget,), waivers=(waiver,))
    last = s.AT.replace(year=2999)
    assert st.read_statement(st.payload_of(text, last)).predicate.verdict == "pass"
    with pytest.raises(InputRefused, match="waiver of lipschitz that ended on 2999-11-29"):
        st.payload_of(text, last + timedelta(days=1))
    # The day is that of UTC, wherever the signer sits.
    late = datetime(2999, 11, 30, 1, tzinfo=timezone(timedelta(hours=5)))
    assert st.payload_of(text, late)
    assert late.astimezone(UTC).day == 29


@pytest.mark.parametrize(
    ("started", "expires"),
    [("2999-01-31T10:00:00+00:00", "2999-01-30"), ("1970-01-01", "2020-01-30"), ("", "2020-01-30")],
)
def test_nothing_is_attested_by_a_day_before_the_audit_or_behind_the_clock(started, expires):
    budget = sample.budget("fail").model_copy(update={"waived": True})
    waiver = Waiver(budget="lipschitz", reason="r", owner="o", expires=expires, state="used")
    document = json.loads(s.report_text(budgets=(budget,), waivers=(waiver,)))
    document["run"]["started"] = started  # outside the digest
    with pytest.raises(InputRefused, match=f"waiver of lipschitz that ended on {expires}"):
        st.payload_of(json.dumps(document), datetime(2019, 1, 1, tzinfo=UTC))


# Signed, and refused


def read(document):
    return st.read_statement(json.dumps(document).encode())


HOSTILE = [
    ("_type", "https://in-toto.io/Statement/v0.1", "_type is"),
    ("_type", None, "_type is 'None'"),
    ("_type", ["https://in-toto.io/Statement/v1"], "_type is"),
    ("predicateType", "https://slsa.dev/provenance/v1", "predicateType is"),
    ("predicateType", "https://lipaudit.dev/attestation/audit/v2", "predicateType is"),
    ("predicate", None, "at predicate"),
    ("predicate", [], "at predicate"),
    ("predicate.more", 1, "at predicate.more"),
    ("predicate.evidence.more", 1, "at predicate.evidence.more"),
    ("predicate.evidence", None, "at predicate.evidence"),
    ("predicate.evidence_sha256", "0" * 64, "evidence_sha256"),
    ("predicate.evidence_sha256", None, "at predicate.evidence_sha256"),
    ("predicate.evidence.limitations", [], "evidence_sha256"),
    ("predicate.schema_version", "1.0", "schema 1.0"),
    ("predicate.schema_version", "1.99", "schema 1.99"),
    ("predicate.schema_version", "2.0", "at predicate.schema_version"),
    ("predicate.verdict", "fail", "does not follow"),
    ("predicate.verdict", "green", "at predicate.verdict"),
    ("predicate.exit_code", 3, "does not follow"),
    ("predicate.attested_at", "2026-11-29", "at predicate.attested_at"),
    ("subject", [], "at subject"),
    ("subject", None, "at subject"),
    ("subject.0.digest.sha256", "0" * 64, "another model"),
    ("subject.0.digest.sha256", sample.DIGEST.upper(), "at subject.0.digest.sha256"),
    ("subject.0.digest", {"sha512": "00"}, "at subject.0.digest"),
    ("subject.0.name", "other.onnx", "another model"),
]


@pytest.mark.parametrize(("path", "value", "word"), HOSTILE)
def test_inconsistent_statements_are_refused(path, value, word):
    with pytest.raises(InputRefused, match="(?s)" + word.replace(".", r"\.")):
        read(s.edited(s.statement(), path, value))


def test_a_second_subject_is_refused():
    document = s.statement()
    more = [*document["subject"], {"name": "b.onnx", "digest": {"sha256": "0" * 64}}]
    with pytest.raises(InputRefused, match="another model"):
        read(s.edited(document, "subject", more))


def test_what_would_not_have_been_attested_is_refused():
    document = s.edited(s.statement(), "predicate.evidence.model.trust", "… (--trust-pickle)")
    with pytest.raises(InputRefused, match="should not have been attested"):
        read(s.resealed(document))


def test_unknown_fields_of_in_toto_are_passed_over():
    document = s.edited(s.edited(s.statement(), "more", 1), "subject.0.mediaType", "application/x")
    document = s.edited(document, "subject.0.digest.sha512", "00")
    assert read(document) == read(s.statement())


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"{",
        b"[" * 100_000,
        b'{"_type": NaN}',
        b'{"a": 1, "a": 1}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_statement_is_refused(payload):
    with pytest.raises(InputRefused, match="not a lipaudit attestation"):
        st.read_statement(payload)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity"])
def test_numbers_that_are_none_are_refused(number):
    text = json.dumps(s.statement()).replace("15.25", number, 1)
    with pytest.raises(InputRefused):
        st.read_statement(text.encode())


def test_lone_surrogates_are_refused():
    text = json.dumps(s.statement()).replace("mnist_cnn", "\\ud800")
    with pytest.raises(InputRefused):
        st.read_statement(text.encode())


def test_names_twice_are_refused_wherever_they_stand():
    text = json.dumps(s.statement())
    for name in ("_type", "verdict", "sha256", "global"):
        with pytest.raises(InputRefused, match="twice"):
            st.read_statement(text.replace(f'"{name}": ', f'"{name}": 0, "{name}": ', 1).encode())
