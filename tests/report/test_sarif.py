"""SARIF: valid against the published schema, every result placed, fingerprints that outlive the numbers."""

import json
import re
from pathlib import Path
from typing import get_args
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
import report_zoo as zoo
import sample_report as sample

from lipaudit.report.explain import short
from lipaudit.report.judgement import Metric
from lipaudit.report.problems import problems
from lipaudit.report.rules import BUDGETS, meaning
from lipaudit.report.sarif import to_sarif

SCHEMA = json.loads((Path(__file__).parent / "schema" / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER)
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def run_of(report):
    (run,) = json.loads(to_sarif(report))["runs"]
    return run


def results_of(report):
    return run_of(report)["results"]


@pytest.mark.parametrize("kind", zoo.REPORTS)
def test_valid(kind):
    VALIDATOR.validate(json.loads(to_sarif(zoo.REPORTS[kind])))


def test_the_schema_refuses_what_is_none():
    log = json.loads(to_sarif(zoo.REPORTS["fail"]))
    log["runs"][0]["results"][0]["level"] = "fatal"
    assert not VALIDATOR.is_valid(log)


@pytest.mark.parametrize("kind", zoo.REPORTS)
def test_what_code_scanning_asks_for(kind):
    run = run_of(zoo.REPORTS[kind])
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for rule in rules:
        assert all(rule[key]["text"] for key in ("shortDescription", "fullDescription", "help"))
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        (place,) = result["locations"]
        physical = place["physicalLocation"]
        assert physical["region"]["startLine"] >= 1
        parts = urlsplit(physical["artifactLocation"]["uri"])
        assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
        assert "/" not in parts.path
        assert parts.path.isascii()
        assert re.fullmatch(r"[0-9a-f]{16}:\d+", result["partialFingerprints"]["primaryLocationLineHash"])
    assert len({r["partialFingerprints"]["primaryLocationLineHash"] for r in run["results"]}) == len(
        run["results"]
    )


@pytest.mark.parametrize("kind", zoo.REPORTS)
def test_every_problem_is_a_result(kind):
    report = zoo.REPORTS[kind]
    unmet = sum(budget.outcome != "pass" for budget in report.evidence.budgets)
    results = results_of(report)
    assert len(results) == unmet + len(report.evidence.findings)
    levels = [("error", "warning", "note").index(result["level"]) for result in results]
    assert levels == sorted(levels)
    (call,) = run_of(report)["invocations"]
    assert call["exitCode"] == report.exit_code
    assert call["executionSuccessful"] == (report.verdict != "incomplete")


def test_levels_of_budgets():
    levels = {r["ruleId"]: r["level"] for r in results_of(zoo.REPORTS["inconclusive"])}
    assert levels == {"budget-lipschitz": "warning"}
    assert [r["level"] for r in results_of(zoo.REPORTS["fail"])] == ["error", "warning"]
    waived = results_of(zoo.REPORTS["waived"])
    assert [r["level"] for r in waived] == ["note", "note"]
    assert waived[0]["suppressions"] == [
        {"kind": "external", "justification": "known since May (Ada, until 2027-01-31)"}
    ]
    assert all(r["suppressions"] == [] for r in results_of(zoo.REPORTS["fail"]))


def test_budgets_point_at_their_line_and_findings_at_the_model():
    def place(result):
        physical = result["locations"][0]["physicalLocation"]
        return physical["artifactLocation"]["uri"], physical["region"]["startLine"]

    budget, finding = results_of(zoo.REPORTS["fail and incomplete"])
    assert (place(budget), place(finding)) == (("lipaudit.toml", 7), ("mnist_cnn.onnx", 1))
    (flagged,) = results_of(zoo.REPORTS["flags only"])
    assert place(flagged) == ("mnist_cnn.onnx", 1)
    (odd, *_) = results_of(zoo.REPORTS["hostile"])
    assert unquote(place(odd)[0]) == "pol icy%:[x].toml"


def test_layers_are_logical_locations():
    (partly,) = results_of(zoo.REPORTS["waived in part"])
    (wholly,) = results_of(zoo.REPORTS["waived layers"])
    assert [x["fullyQualifiedName"] for x in partly["locations"][0]["logicalLocations"]] == ["conv2"]
    assert [x["fullyQualifiedName"] for x in wholly["locations"][0]["logicalLocations"]] == ["conv1", "conv2"]
    assert {x["kind"] for x in wholly["locations"][0]["logicalLocations"]} == {"module"}


def test_fingerprints_outlive_numbers_and_messages():
    before = sample.report(
        "fail", findings=(sample.finding(),), budgets=(zoo.budget("fail"),), policy=zoo.POLICY
    )
    changed = sample.finding("error").model_copy(update={"message": "another 12.5"})
    moved = zoo.budget("inconclusive", id="a-fail", line=99, limit="3", message="at most 4 proved")
    after = sample.report("inconclusive", findings=(changed,), budgets=(moved,), policy=zoo.POLICY)

    def prints(report):
        return {r["ruleId"]: r["partialFingerprints"] for r in results_of(report)}

    assert prints(before) == prints(after)
    elsewhere = sample.finding().model_copy(update={"layer": "features.4"})
    other = sample.report("fail", findings=(elsewhere,), budgets=(zoo.budget("fail", id="b"),))
    assert not set(map(str, prints(before).values())) & set(map(str, prints(other).values()))


def test_categories_differ_by_model_and_data():
    def category(kind):
        return run_of(zoo.REPORTS[kind])["automationDetails"]["id"]

    assert category("pass") == "lipaudit/mnist_cnn.onnx/mnist:test/"
    assert category("no data") == "lipaudit/mnist_cnn.onnx/"
    assert category("hostile").count("/") == 3


def test_the_files_with_their_digests():
    (model, policy) = run_of(zoo.REPORTS["fail"])["artifacts"]
    assert model == {
        "location": {"uri": "mnist_cnn.onnx", "uriBaseId": "%SRCROOT%"},
        "length": 123_456,
        "hashes": {"sha-256": sample.DIGEST},
    }
    assert policy["location"]["uri"] == "lipaudit.toml"


@pytest.mark.parametrize(
    ("started", "shown"),
    [
        ("2026-01-31T12:00:00+00:00", ("2026-01-31T12:00:00.000Z", "2026-01-31T12:00:12.500Z")),
        ("2026-01-31T23:59:59+05:30", ("2026-01-31T18:29:59.000Z", "2026-01-31T18:30:11.500Z")),
        ("yesterday", (None, None)),
        ("2026-01-31T12:00:00", (None, None)),
        ("9999-12-31T23:59:59+00:00", (None, None)),
    ],
)
def test_times_are_utc(started, shown):
    report = zoo.REPORTS["pass"]
    moved = report.model_copy(update={"run": report.run.model_copy(update={"started": started})})
    (call,) = run_of(moved)["invocations"]
    assert (call.get("startTimeUtc"), call.get("endTimeUtc")) == shown


def test_rules_are_readmes():
    for rule in re.findall(r"^\| `(LIP\d{3})` \|", README, re.MULTILINE):
        assert meaning(rule) == short(rule) != ""
    assert set(BUDGETS) == set(get_args(Metric))


def test_a_rule_of_a_later_version_is_told():
    strange = sample.finding().model_copy(update={"rule": "LIP999"})
    report = sample.report(findings=(strange,))
    assert run_of(report)["tool"]["driver"]["rules"][0]["shortDescription"]["text"] == "See the message."
    assert problems(report)[0].rule == "LIP999"


@pytest.mark.parametrize("metric", get_args(Metric))
def test_only_what_can_be_proved_is_said_to_be(metric):
    budget = sample.budget("fail").model_copy(update={"metric": metric, "evidence": {}})
    log = json.loads(to_sarif(sample.report("fail", budgets=(budget,))))
    (rule,) = log["runs"][0]["tool"]["driver"]["rules"]
    proved = metric not in {"clean_accuracy", "require"}
    assert ("what was proved" in rule["help"]["text"]) == proved
