"""Numbers near the ends of float64: squares and quotients that underflow, constants known up to rounding."""

from fractions import Fraction

import pytest
import torch
from samples import Call
from small_graph import bound_of, raw_graph
from torch import nn

from lipaudit.analyze import analyze
from lipaudit.certify.forward_error import with_error
from lipaudit.passes import simplify


@pytest.mark.parametrize("factor", [1e-200, 1e-160, 1e-100, 1e-80, 1.0, 1e80, 1e150])
def test_a_witness_never_exceeds_the_bound_whatever_the_scale(factor):
    for graph in (
        raw_graph(Call(lambda x: x * factor), 1, 4),
        raw_graph(Call(lambda x: x.sum(1) * factor), 1, 4),
    ):
        for layer in analyze(graph):
            assert layer.lower is None or layer.lower.value <= layer.upper.value


def test_a_batch_norm_whose_scale_underflows_has_no_bound():
    norm = nn.BatchNorm1d(2).double().eval()
    norm.weight.data.fill_(5e-324)
    norm.running_var.fill_(4.9)
    assert not bound_of(simplify(raw_graph(norm, 1, 2))).is_finite
    norm.weight.data.fill_(0.0)
    assert bound_of(simplify(raw_graph(norm, 1, 2))).value == 0


def test_a_division_whose_reciprocal_underflows_has_no_bound():
    assert not bound_of(raw_graph(Call(lambda x: x / 1e308), 1, 2)).is_finite


def test_the_error_of_tiny_activations_is_not_lost():
    graph = raw_graph(nn.Linear(64, 3).double(), 1, 64)
    x = torch.full((1, 64), 1e-162, dtype=torch.float64)
    values = graph.nodes[0].op.weight
    graph.nodes[0].op.bias.zero_()
    _, error = with_error(graph, analyze(graph))(x)
    exact = [sum(Fraction(w) * Fraction(1e-162) for w in row) for row in values.tolist()]
    found = graph.run(x)[0].flatten().tolist()
    distance = sum((Fraction(a) - b) ** 2 for a, b in zip(found, exact, strict=True))
    assert distance <= Fraction(float(error)) ** 2


@pytest.mark.parametrize("divisor", [6, 7, 19, 49, 1000])
def test_a_rounded_factor_of_a_composed_activation_is_rounded_up(divisor):
    graph = simplify(raw_graph(Call(lambda x: x * (x + 3).clamp(0, 6) / divisor), 1, 2))
    assert Fraction(bound_of(graph).value) >= Fraction(9, divisor)
    assert bound_of(graph).value <= 9 / divisor * (1 + 1e-12)


def test_an_operation_without_output_has_gain_zero():
    (layer,) = analyze(raw_graph(Call(lambda x: x[:, 4:]), 1, 4))
    assert layer.upper.value == layer.lower.value == 0
