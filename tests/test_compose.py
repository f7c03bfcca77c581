"""Whole networks: bounds against Jacobians of the module, forward errors against exact arithmetic."""

import math
import random
from fractions import Fraction

import mpmath
import pytest
import torch
from jacobian import largest_slope, probes
from networks import random_network, steep_points
from oracles import exact_conv_matrix
from sample_kind import Call
from small_graph import bound_of, lifted, raw_graph, simplified
from torch import nn

from lipaudit.analyze import analyze, combined
from lipaudit.bound import Bound
from lipaudit.certify.attack import Ascent, ascend
from lipaudit.certify.forward_error import with_error
from lipaudit.compose import compose
from lipaudit.graph.node import Combine, Gain
from lipaudit.passes import simplify


def test_sums_add_and_stacks_combine_by_the_root_of_squares():
    values = [0.1, 3.7, 1e-9]
    gains = tuple(Bound(g, "test") for g in (1.5, 0.3, 7.0))
    parts = [Fraction(g.value) * Fraction(v) for g, v in zip(gains, values, strict=True)]
    summed, stacked = (combined(Gain(gains, how), values) for how in (Combine.SUM, Combine.STACK))
    assert sum(parts) <= Fraction(summed) <= sum(parts) * (1 + Fraction(1, 2**50))
    squares = sum(p * p for p in parts)
    assert squares <= Fraction(stacked) ** 2 <= squares * (1 + Fraction(1, 2**50))


def test_unbounded_layers_are_named_with_their_reasons():
    total = bound_of(raw_graph(lambda x: torch.exp(x) + torch.sign(x), 1, 3))
    assert total.value == math.inf
    assert "exp" in total.note
    assert "sign" in total.note


def test_an_unbounded_branch_that_is_never_read_does_no_harm():
    def function(x):
        torch.exp(x)
        return 2 * x

    assert bound_of(simplified(function, 1, 3)).value == pytest.approx(2, rel=1e-9)


def test_an_overflowing_product_is_unbounded_and_says_so():
    parts = [Call(lambda x: torch.tanh(x) * 1e200) for _ in range(3)]
    total = bound_of(raw_graph(nn.Sequential(*parts), 1, 2))
    assert total.value == math.inf
    assert "overflow" in total.note


def test_running_bounds_are_those_of_the_prefixes():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    graph = raw_graph(module, 1, 3)
    running = compose(graph, analyze(graph)).running
    first = float(torch.linalg.matrix_norm(module[0].weight, 2).detach())
    assert running["input"] == 1
    assert running[graph.nodes[0].name] == pytest.approx(first, rel=1e-9)
    assert running[graph.nodes[0].name] >= first * (1 - 1e-15)
    assert running[graph.nodes[1].name] == running[graph.nodes[0].name]


@pytest.mark.parametrize("seed", range(100, 112))
def test_no_ascent_climbs_above_the_bound(seed):
    module, shape = random_network(seed)
    graph = simplify(raw_graph(module, *shape))
    layers = analyze(graph)
    bound = compose(graph, layers).total.value
    points = probes(shape, count=1, seed=seed)[:4]
    points = points + 1e-9 * torch.arange(points[0].numel()).reshape(points[0].shape)
    found = ascend(with_error(graph, layers), points, Ascent(3, 10))
    assert found.value <= bound
    assert largest_slope(module, steep_points(module, points, steps=6)) * (1 - 1e-7) <= bound


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1400))
def test_many_more_networks(seed):
    module, shape = random_network(seed)
    graph = raw_graph(module, *shape)
    simple = simplify(graph)
    bound = bound_of(simple).value
    # Both may be norms of one linear region, each proved to a few units in the ninth digit.
    assert bound <= bound_of(graph).value * (1 + 1e-8)
    points = probes(shape, count=2, seed=seed)
    points = points + 1e-9 * torch.arange(points[0].numel()).reshape(points[0].shape)
    assert largest_slope(module, points) * (1 - 1e-7) <= bound
    assert largest_slope(module, steep_points(module, points[:4])) * (1 - 1e-7) <= bound


# --- forward error against exact rational arithmetic


def dense_step(rng, size):
    """A linear layer whose sums cancel, as a module and as an exact function."""
    rows = rng.randint(2, 5)
    weight = torch.tensor([[wild(rng) for _ in range(size)] for _ in range(rows)], dtype=torch.float64)
    bias = torch.tensor([wild(rng) for _ in range(rows)], dtype=torch.float64)
    layer = nn.Linear(size, rows).double()
    layer.weight.data.copy_(weight)
    layer.bias.data.copy_(bias)
    return layer, rows, lambda x: matrix_times(as_rows(weight), x, list(map(Fraction, bias.tolist())))


def wild(rng):
    return rng.gauss(0, 1) * 10.0 ** rng.choice([0, 0, 0, -6, 5])


def as_rows(weight):
    return [[Fraction(v) for v in row] for row in weight.tolist()]


def matrix_times(rows, x, bias):
    return [sum((a * b for a, b in zip(row, x, strict=True)), c) for row, c in zip(rows, bias, strict=True)]


def diagonal_step(rng, size):
    scale, shift = ([wild(rng) for _ in range(size)] for _ in range(2))
    a, b = (torch.tensor(v, dtype=torch.float64) for v in (scale, shift))
    kind = rng.choice(["times", "over", "from"])
    module = {
        "times": Call(lambda x, a, b: x * a + b, a=a, b=b),
        "over": Call(lambda x, a, b: x / a - b, a=a, b=b),
        "from": Call(lambda x, a, b: torch.sub(b, x * a, alpha=3), a=a, b=b),
    }[kind]
    formula = {
        "times": lambda x, s, t: x * s + t,
        "over": lambda x, s, t: x / s - t,
        "from": lambda x, s, t: t - 3 * x * s,
    }[kind]
    exact = [(Fraction(s), Fraction(t)) for s, t in zip(scale, shift, strict=True)]
    return module, size, lambda x: [formula(v, s, t) for v, (s, t) in zip(x, exact, strict=True)]


def relu_step(_, size):
    return nn.ReLU(), size, lambda x: [max(v, Fraction(0)) for v in x]


def residual_step(rng, size):
    weight = torch.tensor([[wild(rng) for _ in range(size)] for _ in range(size)], dtype=torch.float64)
    rows = as_rows(weight)
    zero = [Fraction(0)] * size

    def exact(x):
        return [a - b / 2 for a, b in zip(x, matrix_times(rows, x, zero), strict=True)]

    return Call(lambda x, w: x - 0.5 * (x @ w.T), w=weight), size, exact


def exact_network(seed):
    rng = random.Random(seed)
    size = start = rng.randint(2, 5)
    modules, steps = [], []
    for _ in range(rng.randint(2, 7)):
        module, size, step = rng.choice([dense_step, diagonal_step, diagonal_step, relu_step, residual_step])(
            rng, size
        )
        modules.append(module)
        steps.append(step)
    return nn.Sequential(*modules).double(), start, steps


def covered(found, error, wanted):
    """‖found − wanted‖ ≤ error, exactly."""
    squares = sum((Fraction(v) - w) ** 2 for v, w in zip(found.tolist(), wanted, strict=True))
    return squares <= Fraction(float(error)) ** 2


@pytest.mark.parametrize("seed", range(30))
def test_forward_errors_cover_the_difference_to_exact_arithmetic(seed):
    module, start, steps = exact_network(seed)
    raw = raw_graph(module, 1, start)
    points = torch.cat([probes((1, start), count=2, seed=seed), 1e-9 * probes((1, start), count=1)])
    for graph in (raw, simplify(raw)):
        outputs, errors = lifted(graph)(points)
        for point, found, error in zip(points, outputs, errors, strict=True):
            x = list(map(Fraction, point.tolist()))
            for step in steps:
                x = step(x)
            assert covered(found, error, x)


def test_forward_errors_of_folded_convolutions_cover_exact_arithmetic():
    generator = torch.Generator().manual_seed(0)
    for mode in ("zeros", "circular", "reflect"):
        conv = nn.Conv2d(2, 2, 2, padding=1, padding_mode=mode).double()
        weight, bias = conv.weight.detach(), conv.bias.detach()
        scale, shift = (
            1e4 * torch.randn(2, 1, 1, generator=generator, dtype=torch.float64) for _ in range(2)
        )
        module = nn.Sequential(Call(lambda x, a, b: x * a + b, a=scale, b=shift), conv)
        graph = simplified(module, 1, 2, 3, 3)
        assert len(graph.nodes) == 1
        options = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
        rows = exact_conv_matrix(weight, (3, 3), {**options, "padding_mode": mode, "transposed": False})
        biases = [Fraction(b) for b in bias.tolist() for _ in range(16)]
        points = torch.randn(4, 2, 3, 3, generator=generator, dtype=torch.float64)
        outputs, errors = lifted(graph)(points)
        for point, found, error in zip(points, outputs, errors, strict=True):
            x = [
                Fraction(v) * Fraction(float(scale[c])) + Fraction(float(shift[c]))
                for c in range(2)
                for v in point[c].flatten().tolist()
            ]
            assert covered(found, error, matrix_times(rows, x, biases))


def test_roundings_that_all_err_one_way_are_counted():
    """Each fold multiplies and adds: two roundings of the shift, here all upwards by almost u."""
    rng = random.Random(3)
    start = value = 1.0 + rng.randrange(2**26) * 2.0**-52
    exact, steps = Fraction(start), []
    for _ in range(60):
        factors = [1.0 + rng.randrange(2**25, 2**27) * 2.0**-52 for _ in range(300)]
        factor = max(factors, key=lambda a: Fraction(a * value) - Fraction(a) * Fraction(value))
        moved = factor * value
        added = 2.0**-53 + 2.0**-70
        steps.append((factor, added))
        exact = Fraction(factor) * exact + Fraction(added)
        value = moved + added

    def chain(x):
        x = x + start
        for factor, added in steps:
            x = torch.add(torch.full((2,), added, dtype=torch.float64), x, alpha=factor)
        return x

    graph = simplified(chain, 1, 2)
    outputs, errors = lifted(graph)(torch.zeros(1, 2, dtype=torch.float64))
    assert abs(Fraction(value) - exact) > 60 * Fraction(2) ** -53
    assert covered(outputs[0], errors[0], [exact, exact])


def test_batch_norm_covers_the_rounding_of_its_statistics():
    rng = random.Random(5)
    for _ in range(20):
        mean, var, weight, bias = numbers = [abs(wild(rng)) + 1e-12 for _ in range(4)]
        norm = nn.BatchNorm1d(1, eps=1e-5).double().eval()
        held = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        for tensor, number in zip(held, numbers, strict=True):
            tensor.data.fill_(number)
        double = Call(lambda x, w: x @ w, w=torch.full((1, 1), 3.0, dtype=torch.float64))
        x = mean * (1 + 1e-13)
        with mpmath.workdps(60):
            root = mpmath.sqrt(mpmath.mpf(var) + mpmath.mpf(1e-5))
            wanted = 3 * ((mpmath.mpf(x) - mpmath.mpf(mean)) * mpmath.mpf(weight) / root + mpmath.mpf(bias))
            for graph in (raw_graph(norm, 1, 1), simplified(nn.Sequential(norm, double), 1, 1)):
                factor = 1 if graph.nodes[0].op.name == "batch_norm" else 3
                found, error = lifted(graph)(torch.tensor([[x]], dtype=torch.float64))
                assert abs(mpmath.mpf(float(found)) - wanted * factor / 3) <= float(error)
                assert mpmath.mpf(bound_of(graph).value) >= factor * mpmath.mpf(weight) / root
