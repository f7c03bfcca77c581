"""Ratchets: no worse than before but for a step, where the two can be compared at all."""

import pathlib
from fractions import Fraction

import pytest
import sample_report as sample

from lipaudit.bound import Bound, Estimate
from lipaudit.report.canonical import digest_of, sealed
from lipaudit.report.model import NetworkBracket, Tally

PLACE = pathlib.Path("/somewhere/base.json")
RISE = '[[budget]]\nmetric = "{}"\nbaseline = "base.json"\nmax_increase = "2%"\n'
FALL = '[[budget]]\nmetric = "{}"\nbaseline = "base.json"\nmax_decrease = "1%"\n'


@pytest.fixture
def against(judged):
    """Judge `now` by a baseline that differs from the hand-made report by `changes`."""

    def of(text, changes, **now):
        (outcome,) = judged(text, baselines={PLACE: sealed(sample.report(**changes))}, **now).outcomes
        return outcome

    return of


def network(upper, lower):
    below = None if lower is None else Estimate(lower, "w")
    return {"global_": NetworkBracket.of(Bound(upper, "m", "why"), below)}


@pytest.mark.parametrize(
    ("upper", "lower", "outcome"),
    [
        (10.0, 1.0, "pass"),
        (10.2, 1.0, "pass"),  # exactly 2 %
        (10.2000001, 1.0, "inconclusive"),
        (20.0, 10.2, "inconclusive"),
        (20.0, 10.3, "fail"),
        (float("inf"), 1.0, "inconclusive"),
    ],
)
def test_lipschitz(against, upper, lower, outcome):
    found = against(RISE.format("lipschitz"), network(10.0, 5.0), **network(upper, lower))
    assert found.outcome == outcome
    assert found.limit == "10.2"
    assert found.baseline.value == 10.0
    assert found.baseline.name == "base.json"
    assert found.baseline.evidence_sha256 == digest_of(sample.evidence(**network(10.0, 5.0)))


@pytest.mark.parametrize("text", [RISE.format("lipschitz"), FALL.format("clean_accuracy")])
def test_an_incomplete_audit_is_nothing_to_compare_with(against, text):
    assert against(text, {}).outcome == "pass"
    found = against(text, {"findings": (sample.finding("error"),)})
    assert found.outcome == "inconclusive"
    assert "not comparable with base.json: its own audit is incomplete" in found.message
    assert against(text, network(float("inf"), 1.0)).outcome == "inconclusive"


def test_the_limit_is_exact(against):
    """2 % above 0.1 is no double: 0.102 is below its nearest one."""
    found = against(RISE.format("lipschitz"), network(0.1, 0.1), **network(0.102, 0.1))
    exact = Fraction(0.1) * Fraction(51, 50)
    assert (found.outcome == "pass") == (Fraction(0.102) <= exact)


@pytest.mark.parametrize(("upper", "outcome"), [(10.2, "pass"), (10.3, "inconclusive")])
def test_slack(against, upper, outcome):
    elsewhere = {"preprocessing": sample.evidence().preprocessing.model_copy(update={"threat_space": "x"})}
    found = against(RISE.format("slack"), network(10.0, 1.0) | elsewhere, **network(upper, 1.0))
    assert found.outcome == outcome


def test_a_baseline_without_a_bound_decides_nothing(against):
    found = against(RISE.format("lipschitz"), network(float("inf"), 1.0), **network(1.0, 1.0))
    assert found.outcome == "inconclusive"
    assert "its own audit is incomplete" in found.message


@pytest.mark.parametrize(
    ("count", "outcome"), [(9812, "pass"), (9712, "pass"), (9711, "fail"), (10_000, "pass")]
)
def test_clean_accuracy_in_percentage_points(against, count, outcome):
    now = sample.robustness(clean_accuracy=Tally(count=count, n=10_000), curve=())
    found = against(FALL.format("clean_accuracy"), {}, robustness=now)
    assert found.outcome == outcome
    assert found.limit == "97.12 %"


@pytest.mark.parametrize(("count", "outcome"), [(7012, "pass"), (6912, "pass"), (6911, "inconclusive")])
def test_certified_accuracy(against, count, outcome):
    text = FALL.format("certified_accuracy") + 'eps = "12/85"\n'  # 36/255
    now = sample.robustness(curve=(sample.point("36/255", count, 9700),))
    assert against(text, {}, robustness=now).outcome == outcome


def test_a_baseline_without_the_radius_decides_nothing(against):
    text = FALL.format("certified_accuracy") + 'eps = "0.7"\n'
    now = sample.robustness(curve=(sample.point("0.7", 5000, 9700),))
    found = against(text, {}, robustness=now)
    assert found.outcome == "inconclusive"
    assert "stores no samples" in found.message


OTHER_SPACE = {"preprocessing": sample.evidence().preprocessing.model_copy(update={"threat_space": "input"})}
OTHER_DATA = {"dataset": sample.evidence().dataset.model_copy(update={"fingerprint_sha256": "f" * 64})}


@pytest.mark.parametrize(
    ("metric", "changes", "told"),
    [
        ("lipschitz", OTHER_SPACE, "measures distances in input"),
        ("clean_accuracy", OTHER_SPACE, "measures distances in input"),
        ("clean_accuracy", OTHER_DATA, "other samples"),
        ("clean_accuracy", {"dataset": None, "robustness": None}, "no data set"),
    ],
)
def test_what_cannot_be_compared_decides_nothing(against, metric, changes, told):
    text = (RISE if metric == "lipschitz" else FALL).format(metric)
    found = against(text, changes)
    assert found.outcome == "inconclusive"
    assert "not comparable with base.json" in found.message
    assert told in found.message


def test_lipschitz_does_not_ask_for_the_same_data(against):
    assert against(RISE.format("lipschitz"), OTHER_DATA).outcome == "pass"


def test_a_baseline_that_was_not_given_decides_nothing(judged):
    (found,) = judged(RISE.format("lipschitz")).outcomes
    assert found.outcome == "inconclusive"
    assert found.baseline is None


def test_layers_are_compared_by_name(against):
    text = RISE.format("lipschitz") + 'layers = ["conv*"]\n'
    rows = tuple(map(sample.conv, range(3)))
    found = against(text, {"layers": rows[:2]}, layers=rows)
    assert [row.outcome for row in found.layers] == ["pass", "pass", "inconclusive"]
    assert "no such layer" in found.message
    assert found.baseline.value is None


def test_a_layer_that_is_gone_is_named(against):
    text = RISE.format("lipschitz") + 'layers = ["conv*"]\n'
    assert against(text, {}).outcome == "pass"
    found = against(text, {}, layers=sample.evidence().layers[:2])
    assert found.outcome == "inconclusive"
    assert "conv2 is in the baseline and not in this report" in found.message
    assert [(row.layer, row.outcome) for row in found.layers] == [
        ("conv0", "pass"), ("conv1", "pass"), ("conv2", "inconclusive"), ("conv3", "inconclusive"),
    ]  # fmt: skip
    # What is new in it has nothing to be compared with either.
    assert against(text, {"layers": sample.evidence().layers[:2]}).outcome == "inconclusive"


@pytest.mark.parametrize(
    "text", [RISE.format("lipschitz"), RISE.format("slack"), FALL.format("clean_accuracy")]
)
def test_what_may_have_been_edited_is_nothing_to_compare_with(judged, text):
    old = sample.report()
    (sound,) = judged(text, baselines={PLACE: sealed(old)}).outcomes
    (found,) = judged(text, baselines={PLACE: old}).outcomes
    assert (sound.outcome, found.outcome) == ("pass", "inconclusive")
    assert "not comparable with base.json: it carries no digest" in found.message
