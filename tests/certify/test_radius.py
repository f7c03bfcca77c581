"""Radii and pair constants: directed rounding against fractions, and every rival counted."""

import math
import random
from fractions import Fraction

import pytest
import torch
from jacobian import jacobian_norm, probes
from sample_kind import Call
from small_graph import raw_graph, simplified
from torch import nn

from lipaudit.analyze import analyze
from lipaudit.certify.curve import certified_counts
from lipaudit.certify.forward_error import with_error
from lipaudit.certify.pairwise import pair_constants
from lipaudit.certify.radius import certified_radii
from lipaudit.compose import compose

INF, NAN = math.inf, math.nan


def radii(logits, labels, constants, error=0.0):
    rows = torch.tensor(logits, dtype=torch.float64)
    return certified_radii(
        rows,
        torch.full((len(rows),), error, dtype=torch.float64),
        torch.tensor(labels),
        torch.as_tensor(constants, dtype=torch.float64),
    )


def uniform(classes, value):
    return torch.full((classes, classes), value, dtype=torch.float64).fill_diagonal_(0.0)


def test_the_nearest_rival_in_radius_need_not_be_the_runner_up():
    constants = uniform(3, 1.0)
    constants[0, 2] = constants[2, 0] = 100.0
    found = radii([[5.0, 4.0, 0.0]], [0], constants)
    assert found.radius.item() == pytest.approx(5 / 100)
    assert found.radius.item() <= 5 / 100
    assert found.margin.item() <= 1.0


def test_constants_are_read_in_the_row_of_the_prediction():
    constants = uniform(3, 1.0)
    constants[1, 0] = 4.0
    assert radii([[0.0, 2.0, -9.0]], [1], constants).radius.item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ([1.0, 1.0, 0.0], 0),
        ([1.0, 1.0, 0.0], 1),
        ([0.0, 1.0, 0.0], 0),
        ([NAN, 1.0, 0.0], 1),
        ([NAN, NAN, NAN], 0),
        ([INF, 1.0, 0.0], 0),
        ([1.0, -INF, 0.0], 0),
        ([INF, INF, 0.0], 0),
    ],
)
def test_ties_mistakes_and_what_is_not_finite_get_zero(row, label):
    assert radii([row], [label], uniform(3, 1.0)).radius.item() == 0.0


def test_the_error_is_subtracted_before_dividing():
    assert radii([[1.0, 0.0]], [0], uniform(2, 2.0), error=0.2).radius.item() <= (1 - math.sqrt(2) * 0.2) / 2
    for error in (1.0, INF, NAN):
        assert radii([[1.0, 0.0]], [0], uniform(2, 2.0), error=error).radius.item() == 0.0


def test_an_unbounded_constant_certifies_nothing():
    assert radii([[9.0, 0.0, 0.0]], [0], uniform(3, INF)).radius.item() == 0.0
    constants = uniform(3, 1.0)
    constants[0, 2] = INF
    assert radii([[9.0, 0.0, -1e9]], [0], constants).radius.item() == 0.0
    assert radii([[9.0]], [1], [[INF]]).radius.item() == 0.0


def test_a_constant_gap_certifies_everything():
    assert radii([[9.0, 0.0]], [0], uniform(2, 0.0)).radius.item() == INF
    assert radii([[9.0, 9.0]], [0], uniform(2, 0.0)).radius.item() == 0.0
    assert radii([[0.0, 9.0]], [0], uniform(2, 0.0)).radius.item() == 0.0


@pytest.mark.parametrize(
    ("logit", "label", "radius"), [(3.0, 1, 1.5), (-3.0, 0, 1.5), (3.0, 0, 0), (-3.0, 1, 0), (0.0, 0, 0)]
)
def test_one_logit_is_a_margin_of_its_own(logit, label, radius):
    found = radii([[logit]], [label], [[2.0]])
    assert found.radius.item() == pytest.approx(radius)
    assert found.radius.item() <= radius


def test_radii_are_rounded_down():
    rng = random.Random(0)
    for _ in range(300):
        row = [rng.gauss(0, 1) * 10.0 ** rng.choice([0, -8, 6]) for _ in range(4)]
        constants = uniform(4, 0.0)
        for i in range(4):
            for j in range(4):
                if i != j:
                    constants[i, j] = abs(rng.gauss(0, 1)) * 10.0 ** rng.choice([0, -3, 3])
        error = abs(rng.gauss(0, 1)) * 10.0 ** rng.choice([-16, -9])
        label = max(range(4), key=row.__getitem__)
        found = Fraction(radii([row], [label], constants, error).radius.item())
        root = Fraction(14142135623730950488, 10**19)
        for j in range(4):
            if j != label:
                gap = Fraction(row[label]) - Fraction(row[j]) - root * Fraction(error)
                assert found <= max(0, gap) / Fraction(float(constants[label, j]))


def test_certified_counts_compare_exact_fractions():
    eps = Fraction(36, 255)
    below, above = float(eps), math.nextafter(float(eps), 1)
    if Fraction(below) > eps:
        below, above = math.nextafter(below, 0), below
    assert Fraction(below) < eps < Fraction(above)
    points = certified_counts(
        [0.0, below, above, 0.5, INF], [eps, Fraction(1, 2), Fraction(0), Fraction(10**400)]
    )
    assert [p.count for p in points] == [3, 1, 4, 1]
    assert {p.n for p in points} == {5}
    assert [p.eps for p in points] == [eps, Fraction(1, 2), Fraction(0), Fraction(10**400)]


def test_a_radius_of_exactly_eps_does_not_count():
    assert certified_counts([0.25, 0.25], [Fraction(1, 4)])[0].count == 0
    assert certified_counts([], [Fraction(1, 4)])[0].count == 0


def constants_of(graph):
    layers = analyze(graph)
    bound = compose(graph, layers)
    return *pair_constants(graph, bound), bound


@pytest.mark.parametrize("folded", [False, True])
def test_pair_constants_are_row_distances_times_the_features_rounded_up(folded):
    torch.manual_seed(0)
    last = nn.Linear(5, 4).double()
    last.weight.data[1] = last.weight.data[0] * (1 + 2**-45)
    scale = torch.rand(5, dtype=torch.float64) + 0.5
    head = [Call(lambda x, c: x * c, c=scale), last] if folded else [last]
    # Slopes of GELU leave [0, 1]: nothing better than the rows is known.
    module = nn.Sequential(nn.Linear(3, 5), nn.GELU(), *head).double()
    graph = simplified(module, 1, 3)
    table, how, bound = constants_of(graph)
    features = Fraction(bound.running[graph.nodes[-1].inputs[0]])
    weights = [[Fraction(v) for v in row] for row in last.weight.tolist()]
    if folded:
        weights = [[v * Fraction(float(c)) for v, c in zip(row, scale, strict=True)] for row in weights]
    for y in range(4):
        for j in range(4):
            squares = sum((a - b) ** 2 for a, b in zip(weights[y], weights[j], strict=True)) * features**2
            assert Fraction(float(table[y, j])) ** 2 >= squares
            assert float(table[y, j]) <= bound.total.value * 1.4142135623730952
    assert how.startswith("‖w_y")
    assert torch.equal(table, table.T)


def test_pair_constants_hold_for_the_difference_of_logits():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3), nn.Softmax(1)).double()
    graph = simplified(module, 1, 4)
    table, _, _ = constants_of(graph)
    for y in range(3):
        for j in range(3):
            if y == j:
                continue
            pair = Call(lambda x, y=y, j=j: module[:3](x)[:, y] - module[:3](x)[:, j])
            steepest = max(jacobian_norm(pair, p[None]) for p in probes((1, 4)))
            assert steepest <= float(table[y, j])


def test_without_a_last_linear_layer_root_two_times_the_bound_is_taken():
    graph = raw_graph(lambda x: torch.tanh(3 * x), 1, 4)
    table, how, bound = constants_of(graph)
    assert how == "√2·L"
    wanted = Fraction(bound.total.value) ** 2 * 2
    assert all(Fraction(float(table[0, j])) ** 2 >= wanted for j in range(1, 4))
    assert table.diagonal().tolist() == [0.0] * 4


def test_tokens_of_a_linear_layer_are_not_mistaken_for_classes():
    torch.manual_seed(2)
    graph = simplified(nn.Linear(3, 2).double(), 1, 2, 3)
    table, how, _ = constants_of(graph)
    assert table.shape == (4, 4)
    assert how == "√2·L"


def test_one_logit_has_the_bound_itself():
    graph = simplified(nn.Linear(3, 1).double(), 1, 3)
    table, how, bound = constants_of(graph)
    assert table.tolist() == [[bound.total.value]]
    assert "single" in how


def test_an_unbounded_network_has_unbounded_pairs():
    module = nn.Sequential(Call(torch.exp), nn.Linear(3, 4)).double()
    table, _, _ = constants_of(simplified(module, 1, 3))
    assert bool(torch.isinf(table[0, 1:]).all())


@pytest.mark.parametrize(
    "function",
    [
        lambda h: torch.where(h > 0.5, h, torch.nn.functional.softplus(h)),
        lambda h: torch.where(torch.logical_not(h > 0.5), h, -h),
        lambda h: h.to(torch.int32).to(h.dtype),
    ],
)
def test_what_compares_or_counts_has_values_and_an_unknown_error(function):
    graph = simplified(Call(function), 1, 4)
    values, error = with_error(graph, analyze(graph))(torch.rand(1, 4, dtype=torch.float64))
    assert values.isfinite().all()
    assert error == INF
