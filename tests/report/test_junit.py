"""JUnit XML: valid, consistent, and green iff the verdict is."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import report_zoo as zoo
import xmlschema

from lipaudit.report.junit import COMPLETE, to_junit

SCHEMA = xmlschema.XMLSchema(Path(__file__).parent / "schema" / "junit.xsd")
ENDS = ("failure", "error", "skipped")


def suite_of(report):
    (suite,) = ET.fromstring(to_junit(report))
    return suite


def ends_of(report):
    """What became of each case, by name."""
    return {
        case.get("name"): next((e for e in ENDS if case.find(e) is not None), "passed")
        for case in suite_of(report).iter("testcase")
    }


@pytest.mark.parametrize("kind", zoo.REPORTS)
def test_valid(kind):
    SCHEMA.validate(ET.fromstring(to_junit(zoo.REPORTS[kind])))


def test_the_schema_refuses_what_readers_do_not_take():
    text = to_junit(zoo.REPORTS["fail"])
    for old, new in (
        ("time=", "seconds="),
        ('tests="4"', 'tests="-4"'),
        ("<failure", "<failed"),
        ("classname=", "class="),
    ):
        assert old in text
        broken = text.replace(old, new).replace(
            "</failure>", "</failed>" if "failed" in new else "</failure>"
        )
        assert not SCHEMA.is_valid(ET.fromstring(broken))


@pytest.mark.parametrize("kind", zoo.REPORTS)
def test_counts_and_times_add_up(kind):
    root = ET.fromstring(to_junit(zoo.REPORTS[kind]))
    (suite,) = root
    cases = list(suite.iter("testcase"))
    for level in (root, suite):
        assert int(level.get("tests")) == len(cases)
        for plural, end in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(level.get(plural)) == sum(case.find(end) is not None for case in cases)
        assert float(level.get("time")) == sum(float(case.get("time")) for case in cases)


@pytest.mark.parametrize("kind", zoo.REPORTS)
def test_green_iff_the_verdict_is(kind):
    report = zoo.REPORTS[kind]
    ends = ends_of(report) if kind != "hostile" else {}
    suite = suite_of(report)
    red = int(suite.get("failures")) + int(suite.get("errors"))
    assert (red == 0) == (report.verdict == "pass")
    assert kind == "hostile" or list(ends)[-1] == COMPLETE


def test_ends():
    assert ends_of(zoo.REPORTS["fail"]) == {
        "a-pass": "passed",
        "a-inconclusive": "failure",
        "a-fail": "failure",
        COMPLETE: "passed",
    }
    types = [end.get("type") for end in suite_of(zoo.REPORTS["fail"]).iter("failure")]
    assert types == ["inconclusive", "fail"]
    assert ends_of(zoo.REPORTS["waived"]) == {
        "a-fail": "skipped",
        "a-inconclusive": "skipped",
        COMPLETE: "passed",
    }
    assert ends_of(zoo.REPORTS["no data"]) == {COMPLETE: "passed"}
    assert ends_of(zoo.REPORTS["error findings"]) == {COMPLETE: "error"}
    assert ends_of(zoo.REPORTS["fail and incomplete"]) == {"a-fail": "failure", COMPLETE: "error"}
    assert ends_of(zoo.REPORTS["incomplete"]) == {COMPLETE: "error"}  # without a finding that says so


def test_what_is_said():
    (failure,) = suite_of(zoo.REPORTS["waived in part"]).iter("failure")
    assert "layer conv2" in failure.text
    assert "conv1" not in failure.text
    assert "lipaudit.toml, line 7" in failure.text
    skipped = [end.get("message") for end in suite_of(zoo.REPORTS["waived"]).iter("skipped")]
    assert skipped[0] == "fail, waived: known since May (Ada, until 2027-01-31)"


def test_cases_are_named_after_model_and_budget():
    for case in suite_of(zoo.REPORTS["fail"]).iter("testcase"):
        assert case.get("classname") == "lipaudit.mnist_cnn.onnx"
    assert len(list(suite_of(zoo.REPORTS["hostile"]).iter("testcase"))) == len(zoo.HOSTILE) + 1


@pytest.mark.parametrize(
    ("started", "shown"),
    [
        ("2026-01-31T12:00:00.5+01:00", "2026-01-31T12:00:00+01:00"),
        ("20260131", "2026-01-31T00:00:00"),
        ("", None),
    ],
)
def test_moments(started, shown):
    report = zoo.REPORTS["pass"]
    moved = report.model_copy(update={"run": report.run.model_copy(update={"started": started})})
    assert suite_of(moved).get("timestamp") == shown
    SCHEMA.validate(ET.fromstring(to_junit(moved)))


def test_a_verdict_that_nothing_explains_is_not_green():
    report = zoo.REPORTS["met"]
    odd = report.model_copy(update={"verdict": "inconclusive", "exit_code": 1})
    assert ends_of(odd) == {"a-pass": "passed", COMPLETE: "error"}
