"""Constants of activations against suprema computed with 40 digits, and against dense sampling."""

import math

import mpmath
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_graph import bound_of, raw_graph
from torch import nn
from torch.nn import functional

from lipaudit.errors import InputRefused
from lipaudit.graph.node import Unsupported
from lipaudit.ops.activation import CONSTANTS, SIXTH_UP

GRID = torch.cat(
    [torch.linspace(-12, 12, 4001), torch.logspace(-8, 2, 60), -torch.logspace(-8, 2, 60)]
).double()


def gelu(x):
    return x * mpmath.ncdf(x)


def gelu_tanh(x):
    inner = mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)
    return x * (1 + mpmath.tanh(inner)) / 2


def silu(x):
    return x / (1 + mpmath.exp(-x))


def mish(x):
    return x * mpmath.tanh(mpmath.log1p(mpmath.exp(x)))


def largest_slope(function, near):
    """sup |f'| where f'' vanishes close to `near`."""
    with mpmath.workdps(40):
        top = mpmath.findroot(lambda x: mpmath.diff(function, x, 2), near)
        return mpmath.diff(function, top)


SUPREMA = {
    "gelu": lambda: largest_slope(gelu, 1.41),
    "gelu_tanh": lambda: largest_slope(gelu_tanh, 1.4185),
    "silu": lambda: largest_slope(silu, 2.39936),
    "mish": lambda: largest_slope(mish, 1.49057),
    "selu": lambda: (
        mpmath.mpf("1.0507009873554804934193349852946") * mpmath.mpf("1.6732632423543772848170429916717")
    ),
    "erf": lambda: 2 / mpmath.sqrt(mpmath.pi),
}


@pytest.mark.parametrize("name", sorted(CONSTANTS))
def test_irrational_constants_are_the_supremum_rounded_up(name):
    with mpmath.workdps(40):
        exact = SUPREMA[name]()
        assert mpmath.mpf(CONSTANTS[name]) >= exact
        assert mpmath.mpf(CONSTANTS[name]) <= exact * (1 + mpmath.mpf(2) ** -51)


@pytest.mark.parametrize("function", [gelu, gelu_tanh, silu, mish])
def test_the_root_of_the_second_derivative_is_the_global_maximum(function):
    name = function.__name__
    slopes = [abs(mpmath.diff(function, x / 16)) for x in range(-200, 200)]
    assert max(slopes) <= CONSTANTS[name]


def test_a_sixth_is_rounded_up():
    assert SIXTH_UP * 6 >= 1
    assert mpmath.mpf(SIXTH_UP) > mpmath.mpf(1) / 6


def steepest(module, grid=GRID):
    """The largest difference quotient between neighbours of a grid and between random pairs, rounded down."""
    grid = grid.sort().values
    shuffled = grid[torch.randperm(len(grid), generator=torch.Generator().manual_seed(1))]
    best = 0.0
    for a, b in ((grid[1:], grid[:-1]), (grid, shuffled)):
        fa, fb = module(a).double(), module(b).double()
        rounding = 1e-15 * (fa.abs() + fb.abs() + a.abs() + b.abs())
        far = (a - b).abs() > 1e-7
        quotients = ((fa - fb).abs() - rounding) / (a - b).abs()
        best = max(best, float(quotients[far].max()))
    return best


positive = st.floats(0.01, 20)
real = st.floats(-20, 20).map(lambda v: 0.0 if abs(v) < 1e-3 else v)


def elu(alpha, scale, inner):
    return lambda x: torch.ops.aten.elu(x, alpha, scale, inner)


@st.composite
def activations(draw):
    low, high = sorted((draw(real), draw(real)))
    assume(low < high)
    build = {
        "elu": lambda: nn.ELU(low),
        "aten elu": lambda: elu(low, high, draw(positive)),
        "celu": lambda: nn.CELU(draw(positive)),
        "leaky": lambda: nn.LeakyReLU(low),
        "softplus": lambda: nn.Softplus(draw(positive), draw(st.floats(20, 100))),
        "hardtanh": lambda: nn.Hardtanh(low, high),
        "threshold": lambda: nn.Threshold(low, low),
        "prelu": lambda: nn.PReLU(init=low),
    }
    return build[draw(st.sampled_from(sorted(build)))]()


@settings(max_examples=25, deadline=None)
@given(activations())
def test_no_difference_quotient_beats_the_slope_of_any_parameters(module):
    graph = raw_graph(module, 1, len(GRID))
    bound = bound_of(graph).value
    runs = graph.run(GRID[None])[0, 0]
    with torch.no_grad():
        wanted = module(GRID)
        # torch's softplus jumps at its threshold by at most e^-20/beta.
        torch.testing.assert_close(runs, wanted.double(), rtol=1e-12, atol=3e-7)
    fine = torch.cat([GRID, GRID * 1e-3])
    found = steepest(graph.nodes[0].op.forward, fine)
    assert found <= bound <= found * 1.2 + 1


NAN, INF = math.nan, math.inf
BROKEN = {
    "prelu nan": lambda: nn.PReLU(init=NAN),
    "prelu inf": lambda: nn.PReLU(init=INF),
    "prelu -inf": lambda: nn.PReLU(init=-INF),
    "leaky nan": lambda: nn.LeakyReLU(NAN),
    "leaky inf": lambda: nn.LeakyReLU(INF),
    "elu nan": lambda: nn.ELU(NAN),
    "elu inf": lambda: nn.ELU(INF),
    "elu overflow": lambda: lambda x: torch.ops.aten.elu(x, 1e200, 1e200, 1.0),
    "elu nan input scale": lambda: lambda x: torch.ops.aten.elu(x, 1.0, 1.0, NAN),
    "elu nan scale": lambda: lambda x: torch.ops.aten.elu(x, 1.0, NAN, 1.0),
    "celu nan": lambda: nn.CELU(NAN),
    "hardtanh nan": lambda: lambda x: torch.ops.aten.hardtanh(x, NAN, 1.0),
    "hardtanh nan above": lambda: lambda x: torch.ops.aten.hardtanh(x, 0.0, NAN),
    "softplus nan": lambda: nn.Softplus(NAN),
    "softplus nan threshold": lambda: nn.Softplus(1.0, NAN),
    "softplus zero": lambda: nn.Softplus(0.0),
    "threshold nan": lambda: nn.Threshold(NAN, NAN),
    "clamp nan": lambda: lambda x: x.clamp(NAN, 1.0),
    "times nan": lambda: lambda x: x * NAN,
    "times inf": lambda: lambda x: x * INF,
    "over zero": lambda: lambda x: x / 0.0,
}


def refused(module, *shape, **buffers):
    """Whether the graph is refused or unbounded with a reason; no other way out is allowed."""
    try:
        graph = raw_graph(module, *shape, **buffers)
        bound = bound_of(graph)
    except InputRefused:
        return True
    return bound.value == math.inf and bool(bound.note)


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_parameters_that_are_no_numbers_get_no_finite_bound(name):
    assert refused(BROKEN[name](), 1, 4)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("field", ["weight", "bias", "running_mean", "running_var"])
def test_batch_norm_with_broken_statistics_gets_no_finite_bound(field, value):
    module = nn.BatchNorm1d(3).double()
    getattr(module, field).data[1] = value
    found = refused(module, 1, 3)
    if field in ("weight", "running_var") and not (field == "running_var" and value == INF):
        assert found
    # A broken shift leaves slopes alone, but then no output is finite: any bound is true of no number.


@pytest.mark.parametrize("value", [NAN, INF])
def test_layer_norm_with_broken_weights_gets_no_finite_bound(value):
    module = nn.LayerNorm(4).double()
    module.weight.data[2] = value
    assert refused(module, 1, 4)


@pytest.mark.parametrize(("beta", "threshold"), [(1, 1), (1, -1), (1, 0), (2, 3), (0.5, 5), (1, -30)])
def test_a_softplus_that_jumps_is_discontinuous(beta, threshold):
    assert refused(nn.Softplus(beta, threshold), 1, 4)


def test_the_jump_of_softplus_at_its_threshold_is_in_the_forward_error():
    module = nn.Softplus(2.0, 20)
    graph = raw_graph(module, 1, 1)
    (node,) = graph.nodes
    at = torch.tensor([[10.0 + 2e-15]], dtype=torch.float64)
    gap = abs(float(node.op.forward(at)) - float(functional.softplus(at, 2.0, 20)))
    size = torch.linalg.vector_norm(at)
    assert gap > 0
    assert float(node.op.error(((1, 1),), (size,), size)) >= gap


def test_jumps_and_poles_say_what_they_are():
    reasons = {}
    for function in (
        torch.sign,
        torch.floor,
        torch.exp,
        torch.log,
        torch.sqrt,
        torch.reciprocal,
        torch.square,
    ):
        (node,) = raw_graph(function, 1, 3).nodes
        assert isinstance(node.op, Unsupported)
        reasons[function.__name__] = node.op.reason
    assert "discontinuous" in reasons["sign"]
    assert "slope" in reasons["exp"]
    assert "pole" in reasons["reciprocal"]
