"""Every op against the module it came from: same outputs, and a gain that nothing beats.

The module is the authority: torch runs it and differentiates it, one sample at a time.
"""

import math

import pytest
import torch
from jacobian import jacobian, largest_slope, outputs, probes, quotient, steepest_pairs
from samples import SAMPLES, graph_of, layers_of

from lipaudit.bound import Bracket
from lipaudit.certify.forward_error import with_error
from lipaudit.compose import compose
from lipaudit.graph.graph import batched
from lipaudit.graph.node import Gain, Unsupported

pytestmark = pytest.mark.xdist_group("exported samples")

ALL = sorted(SAMPLES)
ROUGH = 1e-7
"""How far torch's derivative kernels with float32 constants err, relatively."""


def points_for(sample, seed=0):
    points = probes(sample.shape, count=1 if math.prod(sample.shape) > 100 else 3, seed=seed)
    # torch spreads slopes over ties in its own way: distinct entries have one derivative.
    return points + 1e-9 * torch.arange(points[0].numel()).reshape(points[0].shape)


def bound_of(name):
    return compose(graph_of(name), layers_of(name)).total.value


@pytest.mark.parametrize("name", ALL)
def test_the_graph_computes_what_the_module_computes(name):
    sample, graph = SAMPLES[name], graph_of(name)
    assert not any(isinstance(node.op, Unsupported) for node in graph)
    points = probes(sample.shape)
    expected, found = outputs(sample.module, points), graph.run(points)
    assert tuple(found.shape[1:]) == graph.shape_of(graph.output)
    torch.testing.assert_close(found.reshape(len(points), -1), expected, rtol=1e-12, atol=1e-12)
    one = graph.values(points[:1])
    shapes = {key: tuple(value.shape) for key, value in one.items() if key != "input"}
    assert shapes == {node.name: node.shape for node in graph}


@pytest.mark.parametrize("name", [n for n in ALL if not SAMPLES[n].linear])
def test_no_jacobian_and_no_pair_of_points_beats_the_bound(name):
    sample = SAMPLES[name]
    points, bound = points_for(sample), bound_of(name)
    assert math.isfinite(bound)
    few = points[:: max(1, len(points) // 6)]
    assert largest_slope(sample.module, points) * (1 - ROUGH * sample.rough) <= bound
    assert quotient(sample.module, *steepest_pairs(sample.module, few[:3])) <= bound
    assert quotient(sample.module, few, points_for(sample, seed=1)[: len(few)]) <= bound


@pytest.mark.parametrize("name", [n for n in ALL if SAMPLES[n].linear])
def test_linear_ops_are_bounded_by_the_norm_of_their_matrix(name):
    sample, bound = SAMPLES[name], bound_of(name)
    matrix = jacobian(sample.module, probes(sample.shape)[:1])
    norm = float(torch.linalg.matrix_norm(matrix, ord=2))
    assert norm * (1 - 1e-13) <= bound
    assert bound <= norm * (1 + (1e-6 if sample.exact else 1.0))
    ends = probes(sample.shape), probes(sample.shape, seed=1)
    assert quotient(sample.module, *ends) <= bound


@pytest.mark.parametrize("name", [n for n in ALL if SAMPLES[n].true is not None])
def test_known_constants_are_met_from_above(name):
    true = SAMPLES[name].true
    assert true * (1 - 1e-15) <= bound_of(name) <= max(1.0, true) * (1 + 1e-12)


@pytest.mark.parametrize("name", ALL)
def test_each_layer_has_a_bracket_and_one_bound_per_input(name):
    for layer in layers_of(name):
        assert isinstance(layer.gain, Gain)
        assert len(layer.gain.per_input) == len(layer.node.inputs)
        assert layer.lower is not None
        Bracket(layer.upper, layer.lower)


@pytest.mark.parametrize("name", ALL)
def test_the_forward_error_is_small_and_covers_what_the_module_rounds_differently(name):
    sample, graph = SAMPLES[name], graph_of(name)
    points = probes(sample.shape, count=1)
    evaluate = with_error(graph, layers_of(name))
    found, error = torch.vmap(lambda x: evaluate(x.unsqueeze(0)))(points)
    assert error.shape == (len(points),)
    assert bool((error >= 0).all())
    scale = 1 + points.flatten(1).norm(dim=1) + found.norm(dim=1)
    assert bool((error <= 1e-8 * scale).all())
    assert bool(((outputs(sample.module, points) - found).norm(dim=1) <= 2 * error + 1e-300).all())


@pytest.mark.parametrize("name", ALL)
def test_ops_run_batched_and_are_differentiated_without_a_warning(name):
    graph, shape = graph_of(name), SAMPLES[name].shape
    points = torch.rand((2, *shape[1:]), dtype=torch.float64)
    value, pull = torch.func.vjp(batched(lambda x: graph.values(x)[graph.output].flatten()), points)
    (slope,) = pull(torch.ones_like(value))
    assert bool(torch.isfinite(slope).all())
