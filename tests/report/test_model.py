"""The model refuses what cannot be true, and rounds every number of a guarantee once, outward."""

import json
from fractions import Fraction

import pytest
import sample_report as sample
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from lipaudit.bound import Bound, Estimate
from lipaudit.errors import ExitCode
from lipaudit.report.model import AuditReport, CurvePoint, Layer, NetworkBracket, Tally
from lipaudit.report.number import Unbounded

POSITIVE = st.floats(min_value=1e-300, max_value=1e300)


@given(POSITIVE, POSITIVE)
def test_bracket_and_slack_are_outward(a, b):
    upper, lower = max(a, b), min(a, b)
    bracket = NetworkBracket.of(Bound(upper, "m"), Estimate(lower, "w"))
    assert bracket.lower.value <= lower
    assert upper <= bracket.upper.value
    assume(isinstance(bracket.slack, float))
    assert Fraction(bracket.slack) >= Fraction(upper) / Fraction(lower)


def test_a_witness_above_a_proof_is_refused():
    bracket = NetworkBracket.of(Bound(2.0, "m"), Estimate(1.0, "w"))
    layer = Layer.of("x", "op", Bound(2.0, "m"), Estimate(1.0, "w"), Bound(2.0, "m"))
    for record in (bracket, layer):
        stored = record.model_dump(mode="json")
        assert type(record).model_validate_json(json.dumps(stored)) == record
        stored["lower"] |= {"value": 2.5, "hex": (2.5).hex()}
        with pytest.raises(ValidationError, match=r"2\.5 witnessed, at most 2\.0 proved"):
            type(record).model_validate_json(json.dumps(stored))


@pytest.mark.parametrize(
    "changes", [{"n": 9999, "possible_count": 9700}, {"certified_count": 9813, "possible_count": None}]
)
def test_a_curve_is_over_the_samples_of_the_clean_accuracy(changes):
    fields = {"eps": 0.5, "eps_exact": "0.5", "certified_count": 1, "n": 10_000} | changes
    with pytest.raises(ValidationError, match="9812 of 10000 correct"):
        sample.robustness(curve=(CurvePoint(**fields),))


def test_slack_of_special_brackets():
    zero, one = Bound(0.0, "m"), Bound(1.0, "m")
    assert NetworkBracket.of(zero, Estimate(0.0, "w")).slack == 1
    assert NetworkBracket.of(one, Estimate(0.0, "w")).slack == Unbounded()
    assert NetworkBracket.of(one, None).slack is None
    assert NetworkBracket.of(Bound.unbounded("why"), Estimate(1.0, "w")).slack == Unbounded()


def test_a_layer_keeps_the_reason_of_an_infinite_bound():
    row = Layer.of("x", "op", Bound.unbounded("no rule"), None, Bound.unbounded("no rule"))
    assert (row.upper.status, row.lower.status, row.note) == ("unbounded", "not_analysed", "no rule")


@pytest.mark.parametrize("verdict", sample.CODES)
def test_verdict_and_code_belong_together(verdict):
    good = sample.report(verdict)
    assert ExitCode(good.exit_code).meaning
    wrong = 0 if good.exit_code else 1
    with pytest.raises(ValidationError, match="exit code"):
        AuditReport(verdict=verdict, exit_code=wrong, evidence=good.evidence, run=good.run)


def test_counts_are_within_their_total():
    with pytest.raises(ValidationError):
        Tally(count=3, n=2)
    with pytest.raises(ValidationError):
        Tally(count=True, n=2)
    with pytest.raises(ValidationError, match="certified"):
        sample.point("1/2", 5, 4)
    with pytest.raises(ValidationError):
        sample.point("1/2", 5, n=4)
    with pytest.raises(ValidationError, match="is not"):
        CurvePoint(eps=0.3, eps_exact="1/2", certified_count=0, n=1)
    with pytest.raises(ValidationError):
        CurvePoint(eps=0.5, eps_exact="1/0", certified_count=0, n=1)


def test_reports_are_immutable_and_closed():
    report = sample.report()
    with pytest.raises(ValidationError):
        report.verdict = "fail"
    with pytest.raises(ValidationError):
        Tally(count=1, n=1, extra=2)


def test_a_file_name_that_is_no_utf8_becomes_text():
    model = sample.evidence().model
    name = b"caf\xe9.onnx".decode("utf-8", "surrogateescape")
    assert model.__class__(**(model.model_dump() | {"name": name})).name == "caf\\udce9.onnx"
