"""JSON: canonical, reversible, valid against the shipped schema."""

import json
import math
import re
from pathlib import Path

import jsonschema
import pytest
import sample_report as sample

from lipaudit.bound import Bound, Estimate
from lipaudit.errors import InputRefused
from lipaudit.report import canonical
from lipaudit.report.model import NetworkBracket
from lipaudit.report.number import Unbounded

REPORTS = [
    sample.report(),
    sample.report("incomplete", layers=(sample.unknown(),), findings=(sample.finding(),)),
    sample.report(
        "fail", budgets=(sample.budget("fail"),), dataset=None, robustness=None, falsification=None
    ),
    sample.report("inconclusive", global_=NetworkBracket.of(Bound.unbounded("why"), None)),
    sample.report(robustness=sample.robustness(median_radius=Unbounded(), samples=None)),
]


@pytest.mark.parametrize("report", REPORTS)
def test_round_trip(report):
    text = canonical.to_json(report)
    again = canonical.from_json(text)
    assert again == report
    assert canonical.to_json(again) == text


@pytest.mark.parametrize("report", REPORTS)
def test_valid_against_the_shipped_schema(report):
    schema = json.loads(canonical.shipped_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(canonical.to_json(report)), schema)


def test_the_schema_is_closed():
    schema = json.loads(canonical.shipped_schema())
    document = json.loads(canonical.to_json(REPORTS[0]))
    document["evidence"]["global"]["upper"]["value"] = "15"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)
    document = json.loads(canonical.to_json(REPORTS[0])) | {"more": 1}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_the_shipped_schema_is_the_models():
    # After a change of the model: write model_schema() into report/schema/, and raise SCHEMA_VERSION
    # (MINOR if fields were added, MAJOR otherwise) once a version with the old one was released.
    assert json.loads(canonical.shipped_schema()) == json.loads(canonical.model_schema())


def test_the_text_is_canonical():
    text = canonical.to_json(REPORTS[1])
    assert text.endswith("}\n")
    assert not text.endswith("\n\n")
    document = json.loads(text)
    assert text == json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    assert "NaN" not in text
    assert "Infinity" not in text


def test_the_fixed_paths():
    document = json.loads(canonical.to_json(REPORTS[0]))
    evidence = document["evidence"]
    assert document["schema_version"] == "1.1"
    assert (document["verdict"], document["exit_code"]) == ("pass", 0)
    bracket = evidence["global"]
    assert bracket["upper"] == {"value": 15.25, "hex": (15.25).hex(), "status": "proved"}
    assert bracket["lower"]["value"] == 4.5625
    assert bracket["slack"] == pytest.approx(15.25 / 4.5625)
    layer = evidence["layers"][1]
    told = {"name", "op", "method", "upper", "lower", "slack", "running", "origin", "note", "shape", "tried"}
    assert {*told, "variance", "certificates"} == set(layer)
    assert layer["running"]["value"] == 2.25
    assert evidence["layers"][0]["lower"] == {"value": None, "hex": None, "status": "not_analysed"}
    curve = evidence["robustness"]["curve"][0]
    assert (curve["eps_exact"], curve["certified_count"], curve["n"]) == ("36/255", 7012, 10_000)
    assert evidence["robustness"]["clean_accuracy"] == {"count": 9812, "n": 10_000}
    assert evidence["robustness"]["arithmetic"] == "real"
    assert evidence["preprocessing"]["mean"] == ["0.1307"]
    assert evidence["dataset"]["num_evaluated"] == 10_000


def test_an_absent_data_set_is_null():
    evidence = json.loads(canonical.evidence_json(REPORTS[2].evidence))
    assert evidence["dataset"] is evidence["robustness"] is evidence["falsification"] is None


def test_evidence_does_not_depend_on_the_run():
    other = sample.report("incomplete", layers=(sample.unknown(),), findings=(sample.finding(),))
    changed = other.model_copy(update={"run": other.run.model_copy(update={"seconds": 99.0})})
    assert canonical.evidence_json(changed.evidence) == canonical.evidence_json(REPORTS[1].evidence)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema_version": "2.0"}', "null", '{"verdict": NaN}', "[" * 100_000]
)
def test_what_is_no_report_is_refused(text):
    with pytest.raises(InputRefused, match="not a lipaudit report"):
        canonical.from_json(text)


def test_other_names_stay_as_they_are():
    layer = sample.conv(1).model_copy(update={"name": "stem[0].Größe/卷积"})
    assert "stem[0].Größe/卷积" in canonical.to_json(sample.report(layers=(layer,)))


def test_numbers_are_doubles_that_were_rounded_outward():
    above, below = Bound(math.pi, "m"), Estimate(math.e, "w")
    text = canonical.to_json(sample.report(global_=NetworkBracket.of(above, below)))
    bracket = json.loads(text)["evidence"]["global"]
    assert bracket["upper"]["value"] == 3.14159266
    assert bracket["lower"]["value"] == 2.71828182
    assert float.fromhex(bracket["upper"]["hex"]) == 3.14159266


OLD = (Path(__file__).parent / "golden" / "report-1.0.json").read_text(encoding="utf-8")


def test_a_report_of_the_previous_version_reads():
    report = canonical.from_json(OLD)
    assert (report.schema_version, report.verdict, report.evidence_sha256) == ("1.0", "pass", None)
    assert report.evidence.budgets[0].is_met
    schema = json.loads(canonical.shipped_schema())
    text = canonical.to_json(report)
    jsonschema.validate(json.loads(text), schema)
    assert canonical.stored_report(text) == report, "written again it is read again"
    assert canonical.to_json(canonical.stored_report(text)) == text


def test_an_old_report_that_calls_itself_new_is_refused():
    document = json.loads(OLD) | {"schema_version": "1.1"}
    with pytest.raises(InputRefused, match="carries no digest"):
        canonical.stored_report(json.dumps(document))


@pytest.mark.parametrize("report", REPORTS)
def test_the_digest_is_that_of_the_values(report):
    text = canonical.to_json(canonical.sealed(report))
    document = json.loads(text)
    other = json.dumps(document, indent=7, sort_keys=False, ensure_ascii=True)
    assert canonical.from_json(other) == canonical.from_json(text)
    # As ECMAScript would write it: 1.0 is 1.
    whole = re.sub(r"(?<=\d)\.0(?=[,\s}])", "", other)
    assert canonical.from_json(whole) == canonical.from_json(text)


@pytest.mark.parametrize(
    ("old", "new"), [("15.25", "15.5"), ('"features.3"', '"features.4"'), ("9812", "9813"), ("false", "true")]
)
def test_changed_evidence_is_refused(old, new):
    for report in REPORTS:
        document = json.loads(canonical.to_json(canonical.sealed(report)))
        text = json.dumps(document["evidence"])
        if old in text:
            document["evidence"] = json.loads(text.replace(old, new, 1))
            with pytest.raises(InputRefused):
                canonical.from_json(json.dumps(document))


def test_whole_numbers_have_one_digest():
    assert canonical.digest_of({"a": 1.0, "b": [2.5, -0.0]}) == canonical.digest_of({"b": [2.5, 0], "a": 1})
    assert canonical.digest_of({"a": 1}) != canonical.digest_of({"a": "1"}) != canonical.digest_of({"a": 2})


def test_no_name_stands_twice():
    text = canonical.to_json(canonical.sealed(REPORTS[0]))
    with pytest.raises(InputRefused, match="twice"):
        canonical.from_json(text.replace('"evidence": {', '"evidence": {}, "evidence": {', 1))
