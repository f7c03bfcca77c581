"""Lipschitz and slack budgets: pass needs a proof, fail needs a witness, all else is inconclusive."""

import math
from fractions import Fraction

import pytest
import sample_report as sample
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.bound import Bound, Estimate
from lipaudit.errors import UsageError
from lipaudit.policy import CeilingBudget, Limit
from lipaudit.report.model import Layer, NetworkBracket

VALUES = st.floats(min_value=0, max_value=1e300, allow_nan=False)


def network(upper, lower):
    below = None if lower is None else Estimate(lower, "w")
    return sample.evidence(global_=NetworkBracket.of(Bound(upper, "m", "why"), below))


def judge(limit, upper, lower, metric="lipschitz"):
    budget = CeilingBudget("id", metric, Limit(Fraction(limit), str(limit)))
    return budget.judge(network(upper, lower), {})


@given(VALUES, VALUES, VALUES)
def test_outcomes_follow_the_unrounded_bracket(limit, a, b):
    """What passes or fails by the rounded ends does so by the true ones."""
    lower, upper = min(a, b), max(a, b)
    outcome = judge(limit, upper, lower).outcome
    if outcome == "pass":
        assert upper <= limit
    elif outcome == "fail":
        assert lower > limit
    else:
        assert upper * (1 + 2e-8) >= limit
        assert lower * (1 - 2e-8) <= limit


@pytest.mark.parametrize(
    ("upper", "lower", "outcome"),
    [
        (20.0, 1.0, "pass"),
        (math.nextafter(20.0, 30), 1.0, "inconclusive"),
        (30.0, 20.0, "inconclusive"),
        (30.0, 20.0000001, "fail"),
        (math.inf, 1.0, "inconclusive"),
        (math.inf, 21.0, "fail"),
        (30.0, None, "inconclusive"),
        (1.0, None, "pass"),
    ],
)
def test_below_inside_and_above_the_bracket(upper, lower, outcome):
    judged = judge(20, upper, lower)
    assert judged.outcome == outcome
    assert judged.limit == "20"
    assert judged.evidence["lower"] == lower
    assert judged.message


def test_a_limit_is_not_rounded_to_a_double():
    """The double nearest to 0.1 lies above it."""
    assert judge("1/10", 0.1, None).outcome == "inconclusive"
    below = judge("1/10", 0.09999, None)
    assert below.outcome == "pass"
    assert Fraction(below.message.split()[2]) <= Fraction(1, 10)


def test_what_is_said_contradicts_no_outcome():
    failed = judge(1, 3.0, 1.0000001)
    assert failed.outcome == "fail"
    assert Fraction(failed.message.split()[0]) > 1


@pytest.mark.parametrize(
    ("upper", "lower", "outcome"),
    [
        (20.0, 10.0, "pass"),  # exactly 2
        (20.1, 10.0, "inconclusive"),
        (1e9, 1.0, "inconclusive"),  # a tighter method may exist
        (20.0, None, "inconclusive"),
        (math.inf, 1.0, "inconclusive"),
        (1.0, 0.0, "inconclusive"),
        (0.0, 0.0, "pass"),
    ],
)
def test_slack_never_fails(upper, lower, outcome):
    assert judge(2, upper, lower, "slack").outcome == outcome


@given(VALUES, VALUES)
def test_slack_passes_only_where_the_ends_are_close(a, b):
    lower, upper = min(a, b), max(a, b)
    outcome = judge(2, upper, lower, "slack").outcome
    assert outcome != "fail"
    if outcome == "pass":
        assert Fraction(upper) <= 2 * Fraction(lower)


def layer(name, upper, lower):
    below = None if lower is None else Estimate(lower, "w")
    return Layer.of(name, "conv2d", Bound(upper, "m", "why"), below, Bound(1.0, "m"))


LAYERS = (
    layer("conv1", 1.0, 0.5),
    layer("conv2", 3.0, 2.5),
    layer("conv[3]", 3.0, 1.0),
    layer("fc", 99.0, 99.0),
    layer("conv4", math.inf, None),
)


def test_layers_are_judged_one_by_one(judged):
    (outcome,) = judged(
        '[[budget]]\nmetric = "lipschitz"\nlayers = ["conv*"]\nmax = 2', layers=LAYERS
    ).outcomes
    assert outcome.id == "lipschitz[conv*]"
    assert outcome.outcome == "fail"
    assert [(row.layer, row.outcome) for row in outcome.layers] == [
        ("conv1", "pass"),
        ("conv2", "fail"),
        ("conv[3]", "inconclusive"),
        ("conv4", "inconclusive"),
    ]
    assert [row.lower for row in outcome.layers] == [0.5, 2.5, 1.0, None]
    assert "1 of 4 layers exceed it (conv2)" in outcome.message


def test_slack_of_layers(judged):
    text = '[[budget]]\nmetric = "slack"\nlayers = ["conv1", "conv2", "fc"]\nmax = 1.5'
    (outcome,) = judged(text, layers=LAYERS).outcomes
    assert [(row.layer, row.outcome) for row in outcome.layers] == [
        ("conv1", "inconclusive"),
        ("conv2", "pass"),
        ("fc", "pass"),
    ]
    assert outcome.outcome == "inconclusive"


def test_one_good_layer_is_not_enough(judged):
    text = '[[budget]]\nmetric = "lipschitz"\nlayers = ["conv1"]\nmax = 2'
    assert judged(text, layers=LAYERS).verdict == "pass"
    text = text.replace('"conv1"', '"conv1", "conv4"')
    assert judged(text, layers=LAYERS).verdict == "inconclusive"


def test_brackets_are_themselves_and_no_name_hides_another(judged):
    names = ("conv[1]", "conv1", "conv?", "convx")
    layers = tuple(
        Layer.of(name, "conv2d", Bound(upper, "m"), None, Bound(1.0, "m"))
        for name, upper in zip(names, (3, 1, 1, 3), strict=True)
    )
    for pattern, meant in (("conv[1]", ["conv[1]"]), ("conv?", ["conv1", "conv?", "convx"])):
        text = f'[[budget]]\nmetric = "lipschitz"\nmax = 2\nlayers = ["{pattern}"]\n'
        (outcome,) = judged(text, layers=layers).outcomes
        assert [row.layer for row in outcome.layers] == meant
        assert outcome.outcome == "inconclusive"
    with pytest.raises(UsageError, match=r"no layer is called 'conv\[1x\]'") as caught:
        judged('[[budget]]\nmetric = "lipschitz"\nmax = 2\nlayers = ["conv[1x]"]\n', layers=layers)
    assert "[ and ] are themselves" in caught.value.hint
