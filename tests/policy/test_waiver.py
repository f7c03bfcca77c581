"""Waivers: until their last day, for what they name, and never silent."""

from datetime import date

import pytest
import sample_report as sample

from lipaudit.bound import Bound, Estimate
from lipaudit.report.judged import untold
from lipaudit.report.model import Layer, NetworkBracket

LAST = date(2026, 6, 1)
WAIVED = """
[[budget]]
id = "gap"
metric = "lipschitz"
{limit}
[[waiver]]
budget = "gap"
{layers}
reason = "a reason"
owner = "an owner"
expires = 2026-06-01
"""


def text(limit="max = 1", layers=""):
    return WAIVED.format(limit=limit, layers=layers)


def layer(name, upper, lower):
    return Layer.of(name, "conv2d", Bound(upper, "m"), Estimate(lower, "w"), Bound(1.0, "m"))


LAYERS = (layer("conv1", 1, 1), layer("conv2", 3, 3), layer("conv3", 3, 1), layer("conv4", 3, 1))


def rules(judgement):
    return [(f.rule, f.level) for f in judgement.findings]


@pytest.mark.parametrize("day", [date(2020, 1, 1), date(2026, 5, 31), LAST])
def test_until_its_last_day_a_waiver_holds(judged, day):
    judgement = judged(text(), today=day)
    (outcome,) = judgement.outcomes
    assert (outcome.outcome, outcome.waived, outcome.is_met) == ("fail", True, True)
    assert (judgement.verdict, judgement.exit_code) == ("pass", 0)
    assert rules(judgement) == [("LIP403", "note")]
    assert judgement.waivers[0].state == "used"


@pytest.mark.parametrize("day", [date(2026, 6, 2), date(2030, 1, 1)])
def test_afterwards_it_is_only_a_finding(judged, day):
    judgement = judged(text(), today=day)
    (outcome,) = judgement.outcomes
    assert (outcome.outcome, outcome.waived) == ("fail", False)
    assert (judgement.verdict, judgement.exit_code) == ("fail", 1)
    assert rules(judgement) == [("LIP401", "warning")]
    assert "expired on 2026-06-01" in judgement.findings[0].message


def test_an_expired_waiver_of_a_budget_that_passes_is_a_warning(judged):
    judgement = judged(text("max = 99"), today=date(2027, 1, 1))
    assert judgement.verdict == "pass"
    assert rules(judgement) == [("LIP401", "warning")]


def test_a_waiver_of_a_budget_that_passes_is_unused(judged):
    judgement = judged(text("max = 99"))
    assert judgement.verdict == "pass"
    assert rules(judgement) == [("LIP402", "warning")]
    assert not judgement.outcomes[0].waived


def test_a_waiver_makes_no_incomplete_analysis_green(judged):
    unbounded = NetworkBracket.of(Bound.unbounded("why"), Estimate(1.0, "w"))
    judgement = judged(text(), global_=unbounded, findings=(sample.finding("error"),))
    assert judgement.outcomes[0].waived
    assert (judgement.verdict, judgement.exit_code) == ("incomplete", 3)


def test_a_waived_failure_does_not_hide_another(judged):
    other = '[[budget]]\nid = "other"\nmetric = "lipschitz"\nmax = 1\n'
    assert judged(other + text()).verdict == "fail"


LIMITED = 'layers = ["conv*"]\nmax = 2'


@pytest.mark.parametrize(
    ("patterns", "waived", "verdict"),
    [
        ('["conv*"]', ["conv2", "conv3", "conv4"], "pass"),
        ('["conv2", "conv3", "conv4"]', ["conv2", "conv3", "conv4"], "pass"),
        ('["conv2"]', ["conv2"], "fail"),
        ('["conv3", "conv4"]', ["conv3", "conv4"], "fail"),
        ('["conv1"]', [], "fail"),
        ('["nothing"]', [], "fail"),
    ],
)
def test_a_waiver_with_layers_covers_only_these(judged, patterns, waived, verdict):
    judgement = judged(text(LIMITED, f"layers = {patterns}"), layers=LAYERS)
    (outcome,) = judgement.outcomes
    assert outcome.outcome == "fail"
    assert [row.layer for row in outcome.layers if row.waived] == waived
    assert outcome.waived == (verdict == "pass")
    assert judgement.verdict == verdict
    assert rules(judgement)[-1][0] == ("LIP403" if waived else "LIP402")


def test_two_waivers_may_cover_a_budget_together(judged):
    second = '[[waiver]]\nbudget = "gap"\nlayers = ["conv3", "conv4"]\nreason = "r"\nowner = "o"\n'
    second += "expires = 2026-06-01"
    one = text(LIMITED, 'layers = ["conv2"]')
    assert judged(one, layers=LAYERS).verdict == "fail"
    assert judged(one + second, layers=LAYERS).verdict == "pass"


def test_records_say_who_and_where(judged):
    (record,) = judged(text(LIMITED, 'layers = ["conv2"]'), layers=LAYERS).waivers
    assert (record.reason, record.owner, record.expires) == ("a reason", "an owner", "2026-06-01")
    assert record.layers == ("conv2",)
    assert record.line == 7


def test_a_waiver_of_a_name_with_brackets_is_of_that_layer_alone(judged):
    layers = (layer("conv[1]", 3, 3), layer("conv1", 1, 1))
    waiver = '["conv[1]"]'
    judgement = judged(text('max = 2\nlayers = ["*"]', f"layers = {waiver}"), layers=layers)
    assert (judgement.verdict, judgement.waivers[0].state) == ("pass", "used")
    judgement = judged(text('max = 2\nlayers = ["*"]', f"layers = {waiver}"), layers=layers[::-1])
    assert [(row.layer, row.waived) for row in judgement.outcomes[0].layers] == [
        ("conv1", False),
        ("conv[1]", True),
    ]
    # A budget on `conv1` alone: the waiver names another layer.
    layers = (layer("conv[1]", 1, 1), layer("conv1", 3, 3))
    judgement = judged(text('max = 2\nlayers = ["conv1"]', f"layers = {waiver}"), layers=layers)
    assert (judgement.verdict, judgement.waivers[0].state) == ("fail", "unused")
    # Nor does it go over to another one once its layer is gone.
    judgement = judged(text('max = 2\nlayers = ["conv*"]', f"layers = {waiver}"), layers=layers[1:])
    assert (judgement.verdict, judgement.waivers[0].state) == ("fail", "unused")


def test_a_misspelt_layer_is_told_and_excuses_nothing(judged):
    """Not an error as in a budget: it excuses too little, never too much."""
    judgement = judged(text(LIMITED, 'layers = ["cov3"]'), layers=LAYERS)
    finding = judgement.findings[-1]
    assert (finding.rule, judgement.verdict) == ("LIP402", "fail")
    assert finding.advice.startswith("no layer is called cov3: layers are called conv3, ")
    assert judged(text("max = 99"), layers=LAYERS).findings[-1].advice.startswith("remove it: ")
    finding = judged(text(LIMITED, 'layers = ["conv2", "cov3"]'), layers=LAYERS).findings[-1]
    assert (finding.rule, finding.advice[:27]) == ("LIP403", "no layer is called cov3: la")
    report = sample.report(findings=(finding,), waivers=judged(text(LIMITED), layers=LAYERS).waivers)
    assert untold(report.evidence) == (finding,), "it is shown although the waiver is in force"
