"""Every pass on random networks: the same function, no larger a bound, and no Jacobian beats it."""

from functools import cache

import pytest
import torch
from jacobian import largest_slope, outputs, probes
from networks import random_network, steep_points
from small_graph import bound_of, lifted, raw_graph

from lipaudit.graph.node import Unsupported
from lipaudit.passes import PASSES, simplify

SEEDS = range(40)
NARROW = 1 + 1e-9


@cache
def network(seed):
    module, shape = random_network(seed)
    graph = raw_graph(module, *shape)
    return module, graph, bound_of(graph).value


def same_outputs(module, graph, points):
    """Whether outputs agree within the forward error, and bound the module's own error by as much again."""
    wanted = outputs(module, points)
    found, error = lifted(graph)(points)
    allowed = 2 * error + 1e-13 * wanted.norm(dim=1)
    return bool(((wanted - found).norm(dim=1) <= allowed).all())


@pytest.mark.parametrize("seed", SEEDS[::2])
def test_simplified_networks_are_the_same_function_with_a_bound_nothing_beats(seed):
    module, graph, before = network(seed)
    simple = simplify(graph)
    assert not any(isinstance(node.op, Unsupported) for node in simple)
    points = probes(graph.input_shape, count=2, seed=seed)
    after = bound_of(simple).value
    assert same_outputs(module, simple, points)
    assert after <= before * NARROW
    points = points + 1e-9 * torch.arange(points[0].numel()).reshape(points[0].shape)
    # Derivatives of torch's hardsigmoid and leaky relu are float32 numbers.
    assert largest_slope(module, points) * (1 - 1e-7) <= after
    assert largest_slope(module, steep_points(module, points[:4])) * (1 - 1e-7) <= after


@pytest.mark.parametrize("rewrite", PASSES, ids=lambda p: p.__name__)
@pytest.mark.parametrize("first", [0, pytest.param(20, marks=pytest.mark.slow)])
def test_each_pass_alone_keeps_the_function_and_the_bound(rewrite, first):
    for seed in range(first, first + 10):
        module, graph, before = network(seed)
        changed = rewrite(graph)
        if changed is graph:
            continue
        assert same_outputs(module, changed, probes(graph.input_shape, count=1, seed=seed)), seed
        assert bound_of(changed).value <= before * NARROW, seed
        assert changed.input_shape == graph.input_shape
        assert changed.shape_of(changed.output) == graph.shape_of(graph.output)


def test_the_random_networks_reach_every_pass():
    fired = set()
    for seed in SEEDS:
        _, graph, _ = network(seed)
        for rewrite in PASSES:
            changed = rewrite(graph)
            if len(changed.nodes) != len(graph.nodes):
                fired.add(rewrite.__name__)
            graph = changed
    assert fired >= {rewrite.__name__ for rewrite in PASSES} - {
        "peel_softmax",
        "merge_moves",
        "collect_terms",  # replaces nodes, one for one
        "join_moves",
        "half_planes",
        "local_response",
        "frequency_blocks",
    }


def test_passes_are_idempotent():
    for seed in SEEDS:
        simple = simplify(network(seed)[1])
        again = simplify(simple)
        assert [n.name for n in again] == [n.name for n in simple]
