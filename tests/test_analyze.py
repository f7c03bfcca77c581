"""Layers' brackets: witnesses below bounds, refusals that name the layer."""

import math

import pytest
import torch
from networks import random_network
from small_graph import raw_graph, simplified
from torch import nn

from lipaudit.analyze import Plan, analyze
from lipaudit.bound import Bracket
from lipaudit.errors import InputRefused, UsageError
from lipaudit.graph.node import Combine
from lipaudit.rounding import coarse_up
from lipaudit.spectral import METHODS


@pytest.mark.parametrize("seed", range(400, 420))
def test_witnesses_stay_below_bounds(seed):
    module, shape = random_network(seed)
    for layer in analyze(simplified(module, *shape)):
        assert layer.upper.is_finite
        assert layer.lower is not None
        Bracket(layer.upper, layer.lower)


def test_a_dense_layer_is_bracketed_tightly():
    torch.manual_seed(0)
    (layer,) = analyze(simplified(nn.Linear(20, 10).double(), 1, 20))
    assert Bracket(layer.upper, layer.lower).slack < 1 + 1e-6


@pytest.mark.parametrize("method", [m.name for m in METHODS])
def test_every_method_may_be_asked_for_and_bounds(method):
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)).double()
    graph = simplified(module, 1, 1, 4, 4)
    best = analyze(graph)
    for layer, reference in zip(analyze(graph, Plan.of([method], "balanced", 2**31)), best, strict=True):
        assert reference.lower.value <= layer.upper.value < math.inf


def three_layers():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)).double()
    return simplified(module, 1, 1, 4, 4)


def plan(*methods):
    return Plan.of(methods, "balanced", 2**31)


def test_a_layer_tells_what_every_method_proved():
    first, *_, last = analyze(three_layers())
    for layer in (first, last):
        (proof,) = layer.proofs
        assert {a.method for a in proof.attempts} == {m.name for m in METHODS}
        proved = {a.method: a.bound.value for a in proof.attempts if a.bound is not None}
        assert coarse_up(min(proved.values())) == proof.bracket.above.value == layer.upper.value
        assert all((a.bound is None) == bool(a.note) for a in proof.attempts)
        assert all(value >= proof.bracket.below.value for value in proved.values())
        assert "fft" not in proved
    assert analyze(three_layers())[1].proofs == ()


def test_layers_may_be_given_methods_of_their_own():
    graph = three_layers()
    conv, linear = graph.nodes[0].name, graph.nodes[-1].name

    def methods(*texts):
        layers = analyze(graph, plan(*texts))
        return layers[0].upper.method, layers[-1].upper.method

    assert methods("schur", f"{conv}=reshape") == ("reshape", "schur")
    assert methods(f"{conv}=reshape", "schur") == ("schur", "schur")
    assert methods(f"{linear}=schur")[1] == "schur"
    assert methods("schur", "*=auto") == methods()
    assert methods("?=schur", f"[{conv}]=reshape") == ("reshape", "schur")


def test_a_method_without_a_statement_is_told_beside_the_best_of_the_others():
    graph = three_layers()
    usual, *_ = analyze(graph)
    layer, *_ = analyze(graph, plan("fft"))
    assert layer.upper == usual.upper
    (proof,) = layer.proofs
    first, *rest = proof.attempts
    assert (first.method, first.bound) == ("fft", None)
    assert "circular" in first.note
    assert "fft" not in {a.method for a in rest}
    assert "fft" in {a.method for a in usual.proofs[0].attempts}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["gramm"], "no spectral method"),
        (["0=embeding"], "did you mean embedding"),
        (["=dense"], "layer's name is missing"),
        (["conv9=dense"], "no layer is called so"),
    ],
)
def test_methods_that_cannot_be_meant_are_usage(texts, words):
    with pytest.raises(UsageError) as caught:
        analyze(three_layers(), plan(*texts))
    assert words in str(caught.value)
    assert caught.value.hint


def test_a_misspelt_layer_is_told_with_its_likely_name():
    with pytest.raises(UsageError) as caught:
        Plan((("layr1.conv*", "dense"),)).check(["relu", "layer1.conv1", "layer1.conv2"])
    assert "layer1.conv1" in caught.value.hint
    assert "relu" not in caught.value.hint


def test_too_little_memory_and_unknown_profiles_are_usage():
    for profile, memory in (("balanced", 1000), ("slow", 2**31)):
        with pytest.raises(UsageError):
            Plan.of([], profile, memory)


def test_progress_is_told_of_every_layer():
    calls = []
    graph = raw_graph(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)), 1, 3)
    analyze(graph, advance=calls.append)
    assert len(calls) == 3


def test_several_inputs_are_joined_by_their_combination():
    (summed,) = analyze(raw_graph(lambda x: torch.add(x, x, alpha=2), 1, 3))
    assert summed.gain.combine is Combine.SUM
    assert summed.upper.value == pytest.approx(math.sqrt(5))
    assert summed.upper.value**2 >= 5
    (stacked,) = analyze(raw_graph(lambda x: torch.cat([x, x]), 1, 3))
    assert stacked.gain.combine is Combine.STACK
    assert stacked.upper.value == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_broken_weights_are_refused_or_unbounded_with_a_reason(value):
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Conv1d(1, 1, 2)).double()
    module[2].weight.data[0, 0, 1] = value
    try:
        layers = analyze(raw_graph(nn.Sequential(nn.Unflatten(1, (1, 3)), module), 1, 3))
    except InputRefused:
        return
    assert any(layer.upper.value == math.inf and "NaN" in layer.upper.note for layer in layers)


def test_a_zero_layer_has_bound_zero():
    module = nn.Linear(3, 2).double()
    module.weight.data.zero_()
    (layer,) = analyze(raw_graph(module, 1, 3))
    assert layer.upper.value == 0
    assert layer.lower.value == 0
