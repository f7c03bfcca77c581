"""One judgement for audit and gate: findings, guesses, flags, and that judging twice changes nothing."""

from datetime import date

import pytest
import sample_report as sample

from lipaudit.bound import Bound
from lipaudit.errors import UsageError
from lipaudit.policy import Policy, judge, parse_budgets, with_flags
from lipaudit.report.inputs import AssumptionRecord
from lipaudit.report.judged import policy_rows
from lipaudit.report.model import Finding, NetworkBracket
from lipaudit.report.remedies import remedies

TODAY = date(2026, 6, 1)
LIMIT = '[[budget]]\nmetric = "lipschitz"\nmax = {}\n'


def flags(**given):
    return with_flags(Policy(), parse_budgets(**given))


def assumed(clear):
    found = AssumptionRecord(
        convention="[0,1] chw",
        correct=500,
        samples=512,
        runner_up=None,
        runner_up_correct=0,
        runner_up_samples=0,
        clear=clear,
    )
    return sample.evidence().preprocessing.model_copy(update={"assumption": found, "source": "assumed"})


def rule(name, level="warning"):
    return Finding(rule=name, level=level, message="said", layer="conv1")


def rules(judgement):
    return [finding.rule for finding in judgement.findings]


def test_no_policy_is_green(judged):
    judgement = judged("")
    assert (judgement.verdict, judgement.exit_code, judgement.outcomes) == ("pass", 0, ())
    assert judgement.policy.judged_on == "2026-06-01"
    assert judge(Policy(), sample.evidence(), TODAY).policy is None


def test_flags_are_added_to_the_file(policy):
    meant = with_flags(
        policy(LIMIT.format(99)), parse_budgets(max_lipschitz="1", min_certified=["36/255:0.5"])
    )
    judgement = judge(meant, sample.evidence(), TODAY)
    assert [(o.id, o.outcome, o.line) for o in judgement.outcomes] == [
        ("lipschitz", "pass", 1),
        ("lipschitz (flag)", "fail", None),
        ("certified_accuracy@36/255", "pass", None),
    ]
    assert judgement.verdict == "fail"


AMPLIFYING = tuple(rule(f"LIP20{k}") for k in (1, 2, 3))


def test_layers_that_amplify_are_named_where_a_lipschitz_budget_is_unmet(judged):
    assert rules(judged(LIMIT.format(1), findings=AMPLIFYING)) == ["LIP201", "LIP202", "LIP203"]
    assert rules(judged(LIMIT.format(99), findings=AMPLIFYING)) == []
    assert rules(judged("", findings=AMPLIFYING)) == []


UNBOUNDED = NetworkBracket.of(Bound.unbounded("the product of the layers overflows"))


@pytest.mark.parametrize("text", ["", "[require]\nmin_samples = 1"])
def test_a_network_without_a_bound_is_never_green(judged, text):
    judgement = judged(text, global_=UNBOUNDED)
    assert (judgement.verdict, judgement.exit_code) == ("incomplete", 3)
    (finding,) = judgement.findings
    assert (finding.rule, finding.level) == ("LIP103", "error")
    assert "overflows" in finding.message
    # Judged again it is said once; of a network with a bound it is not said.
    assert rules(judged(text, global_=UNBOUNDED, findings=judgement.findings)) == ["LIP103"]
    assert rules(judged(text, findings=judgement.findings)) == []


def test_a_layer_without_a_bound_is_reason_enough(judged):
    judgement = judged("", global_=UNBOUNDED, findings=(rule("LIP101", "error"),))
    assert (rules(judgement), judgement.verdict) == (["LIP101"], "incomplete")
    forged = judged("", global_=UNBOUNDED, findings=(rule("LIP101", "note"),))
    assert (forged.verdict, forged.exit_code) == ("incomplete", 3)


def test_an_earlier_judgement_does_not_count(judged):
    old = (rule("LIP401"), rule("LIP402"), rule("LIP403", "note"), rule("LIP303"))
    assert rules(judged(LIMIT.format(99), findings=old, budgets=(sample.budget("fail"),))) == ["LIP303"]


def test_an_unclear_guess_leaves_budgets_undecided(judged):
    changes = {"preprocessing": assumed(clear=False), "findings": (rule("LIP305"),)}
    judgement = judged(LIMIT.format(99) + "[require]\nmin_samples = 1", **changes)
    assert [o.outcome for o in judgement.outcomes] == ["inconclusive", "pass"]
    assert (judgement.verdict, judgement.exit_code) == ("incomplete", 3)
    (finding,) = judgement.findings
    assert (finding.rule, finding.level) == ("LIP306", "error")
    assert judged("", **changes).findings == (rule("LIP305"),)


def test_a_clear_guess_is_judged_unless_strictly(judged):
    changes = {"preprocessing": assumed(clear=True)}
    assert judged(LIMIT.format(99), **changes).verdict == "pass"
    judgement = judged(LIMIT.format(1), strict=True, **changes)
    assert (judgement.verdict, judgement.exit_code) == ("incomplete", 3)
    (finding,) = judgement.findings
    assert finding.rule == "LIP306"
    assert finding.advice == "state it: --mean 0.1307 --std 0.3081 --layout chw"


def test_a_preprocessing_nobody_knows_is_said_once(judged):
    changes = {"preprocessing": assumed(clear=False), "findings": (rule("LIP304", "error"),)}
    assert rules(judged(LIMIT.format(99), **changes)) == ["LIP304"]


def test_a_misspelt_layer_is_an_error(judged):
    with pytest.raises(
        UsageError, match=r"lipaudit\.toml:1: budget 'lipschitz\[convv\*\]': no layer"
    ) as caught:
        judged(LIMIT.format(1) + 'layers = ["convv*"]', layers=tuple(map(sample.conv, range(3))))
    assert "conv" in caught.value.hint


@pytest.mark.parametrize("text", ["", LIMIT.format(1), LIMIT.format(99)])
@pytest.mark.parametrize("clear", [None, True, False])
def test_judging_twice_is_judging_once(policy, text, clear):
    changes = {"findings": (*AMPLIFYING, rule("LIP303"))}
    if clear is not None:
        changes["preprocessing"] = assumed(clear)
    if clear is False:
        changes["findings"] += (rule("LIP305"),)
    run = sample.report().run
    once = judge(policy(text), sample.evidence(**changes), TODAY).report(sample.evidence(**changes), run)
    assert judge(policy(text), once.evidence, TODAY).report(once.evidence, run) == once


def test_a_green_judgement_after_a_red_one(policy):
    red = judge(policy(LIMIT.format(1)), sample.evidence(), TODAY).report(
        sample.evidence(), sample.report().run
    )
    assert red.verdict == "fail"
    green = judge(policy(LIMIT.format(99)), red.evidence, TODAY).report(red.evidence, red.run)
    assert (green.verdict, green.exit_code) == ("pass", 0)
    assert green.evidence.policy.name == "lipaudit.toml"
    assert green.evidence_sha256 != red.evidence_sha256


def test_an_interrupted_audit_is_not_judged_and_nothing_is_advised(judged):
    text = (
        '[[budget]]\nid = "l"\nmetric = "lipschitz"\nlayers = ["conv*", "none"]\nmax = 1\n'
        '[[budget]]\nid = "r"\nmetric = "lipschitz"\nbaseline = "missing.json"\nmax_increase = 0\n'
        '[[waiver]]\nbudget = "l"\nlayers = ["none"]\nreason = "r"\nowner = "o"\n'
        "expires = 2999-01-01\n"
    )
    found = (rule("LIP307", "error"), *AMPLIFYING)
    judgement = judged(text, findings=found)
    assert {(o.outcome, o.message, o.layers, o.baseline) for o in judgement.outcomes} == {
        ("inconclusive", "not judged: interrupted", (), None)
    }
    assert rules(judgement) == ["LIP307"]
    report = judgement.report(sample.evidence(findings=found), sample.report().run)
    assert [row for row in policy_rows(report.evidence) if "not judged" not in row[1]] == []
    assert list(remedies(report.evidence)) == []
