"""Activations in pieces: what is recognised, and what only looks like it."""

import math

import mpmath
import pytest
import torch
from jacobian import largest_slope
from sample_kind import Call
from small_graph import bound_of, checked_bound, exported_graph, raw_graph
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from lipaudit.ops.activation import Elementwise
from lipaudit.passes import simplify
from lipaudit.passes.compose_activations import compose_activations


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TWENTY = torch.tensor(20.0)
WHOLE = {
    "silu": (lambda x: x * torch.sigmoid(x), 1.0998393201288669),
    "silu other order": (lambda x: torch.sigmoid(x) * x, 1.0998393201288669),
    "swish": (lambda x: x * torch.sigmoid(2.5 * x), 1.0998393201288669),
    "mish": (lambda x: x * torch.tanh(F.softplus(x)), 1.0884981612517279),
    "tanhshrink": (lambda x: x - torch.tanh(x), 1.0),
    "softsign": (lambda x: x / (1 + x.abs()), 1.0),
    "hardswish": (lambda x: x * F.hardsigmoid(x), 1.5),
    "hardswish in pieces": (lambda x: x * F.relu6(x + 3) / 6, 1.5),
    "hardswish clamped": (lambda x: x * (x + 3).clamp(0, 6) / 6, 1.5),
    "gelu": (lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))), 1.128904145185155),
    "gelu other order": (lambda x: x * (0.5 + 0.5 * torch.erf(x * 0.7)), 1.128904145185155),
    "gelu of another width": (lambda x: (1 + torch.erf(x * 0.7)) * (0.5 * x), 1.128904145185155),
}
PIECES = {
    "mish of another beta": lambda x: x * torch.tanh(F.softplus(x, beta=5)),
    "mish of another threshold": lambda x: x * torch.tanh(F.softplus(x, threshold=25)),
    "product of two": lambda x: x[:, :2] * torch.sigmoid(x[:, 2:]),
    "negative beta": lambda x: x * torch.sigmoid(-2 * x),
    "shifted sigmoid": lambda x: x * torch.sigmoid(x + 1),
    "beta per entry": lambda x: (
        x * torch.sigmoid(x * torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
    ),
    "sum of x and tanh": lambda x: x + torch.tanh(x),
    "twice tanh": lambda x: x - 2 * torch.tanh(x),
    "tanh of another": lambda x: x - torch.tanh(2 * x),
    "softsign with another offset": lambda x: x / (0.01 + x.abs()),
    "softsign with a negative offset": lambda x: x / (x.abs() - 1),
    "softsign of another": lambda x: x / (1 + x.flip(1).abs()),
    "hard swish, no clamp at six": lambda x: x * (x + 3).clamp(0, 60) / 6,
    "hard swish, other offset": lambda x: x * F.relu6(x + 30) / 6,
    "relu squared": lambda x: torch.relu(x) * x,
    "tanh gate": lambda x: x * torch.tanh(x),
    "gelu, wrong offset": lambda x: 0.5 * x * (5 + torch.erf(x)),
    "gelu, negative scale": lambda x: 0.5 * x * (1 + torch.erf(-x)),
    "elu gate": lambda x: x * torch.sigmoid(F.elu(x, 3.0)),
    "leaky gate": lambda x: x * torch.tanh(F.leaky_relu(x, 2.0)),
    "softshrink that jumps": lambda x: torch.where(x.abs() > 0.5, x - 0.2 * torch.sign(x), x * 0),
    "softplus the other way round": lambda x: torch.where(torch.gt(TWENTY, x), x, F.softplus(x)),
    "softplus that jumps": lambda x: torch.where(x > 5.0, x, F.softplus(x)),
    "softplus of another": lambda x: torch.where(x > 20.0, x, F.softplus(2 * x)),
    "softplus above its argument": lambda x: torch.where(x > 20.0, F.softplus(x), x),
    "softplus, wrong beta": lambda x: torch.where(2 * x > 20.0, x, F.softplus(2 * x) / 2.1),
    "softplus, negative beta": lambda x: torch.where(-2 * x > 20.0, x, F.softplus(-2 * x) / -2),
    "softplus of another above": lambda x: torch.where(x > 20.0, x + 1, F.softplus(x)),
    "broadcast product": lambda x: (x[:, :, None] * torch.sigmoid(x)[:, None, :]).flatten(1)[:, :4],
}


@pytest.mark.parametrize("name", WHOLE)
def test_activations_in_pieces_are_recognised(name):
    function, slope = WHOLE[name]
    graph = simplify(raw_graph(function, 1, 4))
    assert len(graph.nodes) == 1
    assert checked_bound(function, graph, count=20).value == pytest.approx(slope, rel=1e-14)
    assert bound_of(graph).value >= slope


def test_softshrink_as_torch_decomposes_it_is_recognised():
    graph = simplify(exported_graph(nn.Softshrink(0.3), 1, 4))
    assert checked_bound(nn.Softshrink(0.3), graph).value == 1


@pytest.mark.parametrize("name", PIECES)
def test_what_is_none_of_the_table_is_not_taken_for_it(name):
    graph = simplify(raw_graph(PIECES[name], 1, 4))
    assert not any(type(node.op).__name__ == "Composed" for node in graph) or math.isfinite(
        bound_of(graph).value
    )
    points = 4 * drawn(60, 4)
    bound = bound_of(compose_activations(raw_graph(PIECES[name], 1, 4)))
    assert largest_slope(Call(PIECES[name]), points) * (1 - 1e-9) <= bound.value
    if bound.value < math.inf:
        checked_bound(PIECES[name], graph)
    else:
        assert bound.note


# What rises by at most its argument

RISING = {
    "softsign": lambda x: x / (1 + x.abs()),
    "tanhshrink": lambda x: x - torch.tanh(x),
    "softplus": lambda x: torch.where(x > 20.0, x, F.softplus(x)),
    "softplus, compared with a tensor": lambda x: torch.where(x > TWENTY, x, F.softplus(x)),
    "softplus of beta": lambda x: torch.where(3.7 * x > 20.0, x, F.softplus(3.7 * x) / 3.7),
    "softplus of another threshold": lambda x: torch.where(0.3 * x > 35.0, x, F.softplus(0.3 * x) / 0.3),
}


@pytest.mark.parametrize("name", RISING)
def test_slopes_between_0_and_1_are_known(name):
    function = RISING[name]
    graph = simplify(raw_graph(function, 1, 4))
    (node,) = graph
    assert isinstance(node.op, Elementwise)
    assert node.op.monotone01
    assert checked_bound(function, graph, count=20).value == 1
    x = torch.linspace(-200, 200, 4001, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(function(x).sum(), x)
    assert 0 <= float(slope.min()) <= float(slope.max()) <= 1


@pytest.mark.parametrize("beta", [0.01, 0.3, 1.0, 3.7, 50.0])
@pytest.mark.parametrize("threshold", [14.0, 20.0, 30.0, 1e4])
def test_the_jump_of_a_softplus_in_pieces_is_counted(beta, threshold):
    """Nothing that is written differs from the true function by more than the op says, in 60 digits."""

    def function(x):
        return torch.where(beta * x > threshold, x, F.softplus(beta * x) / beta)

    (node,) = simplify(raw_graph(function, 1, 4))
    mpmath.mp.dps = 60
    near = [threshold * (1 + k * 1e-9) / beta for k in range(-3, 4)] + [
        20 * (1 + k * 1e-9) / beta for k in range(-3, 4)
    ]
    for x in [*near, -50.0, -1 / beta, 0.0, 1 / beta, 5.0]:
        b, exact = mpmath.mpf(beta), mpmath.mpf(x)
        true = mpmath.log1p(mpmath.exp(b * exact)) / b
        written = exact if b * exact > threshold else true  # torch's own inner jump
        if 20 < b * exact <= threshold:
            written = exact
        assert abs(written - true) <= node.op.jump
        assert abs(float(node.op.forward(torch.tensor(x, dtype=torch.float64))) - true) <= 16 * 2**-53 * (
            abs(x) + true
        )
    assert node.op.jump <= 2e-6 / beta


def test_a_threshold_that_no_value_reaches_is_left_alone():
    graph = simplify(raw_graph(lambda x: torch.where(x > 1e30, x, F.softplus(x)), 1, 4))
    assert bound_of(graph).value == math.inf
