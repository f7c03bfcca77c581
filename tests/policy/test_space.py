"""Budgets on distances are judged in the unit they are meant in, and in no other."""

from datetime import date

import pytest
import sample_report as sample

from lipaudit.data import FILE_SPACE, PIXEL_SPACE
from lipaudit.policy import Policy, judge, parse_budgets, with_flags
from lipaudit.policy.space import SPACES, is_identity, space_of
from lipaudit.subject import INPUT_SPACE

METRICS = {
    "lipschitz": '[[budget]]\nmetric = "lipschitz"\nmax = 20\n',
    "layers": '[[budget]]\nmetric = "lipschitz"\nmax = 20\nlayers = ["*"]\n',
    "certified": '[[budget]]\nmetric = "certified_accuracy"\neps = "36/255"\nmin = 0.5\n',
}
OTHERS = {
    "slack": '[[budget]]\nmetric = "slack"\nmax = 10\n',
    "clean": '[[budget]]\nmetric = "clean_accuracy"\nmin = 0.5\n',
}


def how(space, **changes):
    return {
        "preprocessing": sample.evidence().preprocessing.model_copy(update={"threat_space": space, **changes})
    }


DAY = date(2026, 1, 1)
PLAIN = {"scale": "1", "mean": (), "std": ()}


def test_the_names_are_those_of_reports():
    assert SPACES == {"pixel": PIXEL_SPACE, "input": INPUT_SPACE, "file": FILE_SPACE}


@pytest.mark.parametrize("text", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize("space", [INPUT_SPACE, FILE_SPACE, "somewhere"])
def test_in_another_unit_nothing_is_decided(judged, text, space):
    judgement = judged(text, **how(space))
    (outcome,) = judgement.outcomes
    assert (judgement.verdict, judgement.exit_code, outcome.outcome) == ("inconclusive", 1, "inconclusive")
    assert f"distances are in {space}, the budget is meant in pixel [0,1]" in outcome.message
    assert all(row.outcome == "inconclusive" for row in outcome.layers)


@pytest.mark.parametrize("text", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize(("name", "space"), SPACES.items())
def test_unless_the_policy_says_so(judged, text, name, space):
    judgement = judged(f'{text}[require]\nthreat_space = "{name}"\n', **how(space))
    assert [outcome.outcome for outcome in judgement.outcomes] == ["pass", "pass"]
    assert (space in judgement.outcomes[0].message) == (name != "pixel")


@pytest.mark.parametrize("text", METRICS.values(), ids=METRICS)
def test_a_unit_that_is_asked_for_and_not_there(judged, text):
    judgement = judged(f'{text}[require]\nthreat_space = "input"\n')
    assert [outcome.outcome for outcome in judgement.outcomes] == ["inconclusive", "fail"]


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_ratios_and_counts_have_no_unit(judged, text):
    assert judged(text, **how(FILE_SPACE)).verdict == "pass"


@pytest.mark.parametrize("text", METRICS.values(), ids=METRICS)
def test_where_pixels_enter_as_they_are_there_is_one_unit(judged, text):
    same = how(INPUT_SPACE, **PLAIN)
    judgement = judged(text, **same)
    assert judgement.verdict == "pass"
    assert judgement.findings == ()
    assert judged(text, **how(FILE_SPACE, **PLAIN)).verdict == "inconclusive"
    zero = {"scale": "1", "mean": ("0",), "std": ("1", "1.0")}
    assert is_identity(how("x", **zero)["preprocessing"])
    for part in ({"scale": "1/255"}, {"mean": ("0.1",)}, {"std": ("0.5",)}):
        assert not is_identity(how("x", **(PLAIN | part))["preprocessing"])


def test_flags_are_meant_in_the_space_of_their_command_line():
    evidence = sample.evidence(**how(INPUT_SPACE))
    for behind, outcomes in ((False, {"inconclusive"}), (True, {"pass"})):
        flags = parse_budgets(max_lipschitz="20", min_certified=["36/255:0.5"], behind=behind)
        judgement = judge(with_flags(Policy(), flags), evidence, DAY)
        assert {outcome.outcome for outcome in judgement.outcomes} == outcomes
        assert [(f.rule, f.level) for f in judgement.findings] == [("LIP309", "note")]


def test_a_space_that_nobody_knows_is_none():
    assert space_of(how("feet")["preprocessing"]) is None
    assert space_of(how("pixel [0,1] after resize 256")["preprocessing"]) == "pixel"
