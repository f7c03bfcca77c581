"""Dominators and regions, against every path spelt out."""

import random

import pytest
import torch

from lipaudit.blocks.region import chain_of, dominators, region
from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import Node
from lipaudit.ops.arithmetic import Sum

SEEDS = range(40)


def random_graph(seed):
    rng = random.Random(seed)
    names, nodes = [INPUT], []
    for i in range(rng.randint(1, 9)):
        inputs = tuple(rng.choice(names) for _ in range(rng.randint(1, 3)))
        nodes.append(Node(f"n{i}", Sum((1.0,) * len(inputs)), inputs, (1, 2)))
        names.append(f"n{i}")
    return LayerGraph((1, 2), tuple(nodes), names[-1])


def paths(graph, name):
    if name == INPUT:
        return [[INPUT]]
    return [[*path, name] for i in graph.node(name).inputs for path in paths(graph, i)]


@pytest.mark.parametrize("seed", SEEDS)
def test_dominators_are_what_all_paths_share(seed):
    graph = random_graph(seed)
    above = dominators(graph)
    for node in graph:
        shared = set.intersection(*(set(path) for path in paths(graph, node.name))) - {node.name}
        assert set(chain_of(above, node.name)) == shared
        order = [INPUT, *(n.name for n in graph)]
        assert above[node.name] == max(shared, key=order.index)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_region_computes_its_end_from_its_source_alone(seed):
    graph = random_graph(seed)
    above = dominators(graph)
    values = graph.values(torch.randn(1, 2, dtype=torch.float64))
    for node in graph:
        for source in chain_of(above, node.name):
            found = region(graph, source, node.name, most=50)
            here = {source: values[source]}
            for inner in found.nodes:
                here[inner.name] = inner.op.forward(*(here[i] for i in inner.inputs))
            assert torch.equal(here[node.name], values[node.name])
            assert found.end.name == node.name


def test_a_value_that_does_not_dominate_has_no_region():
    nodes = (
        Node("a", Sum((1.0,)), (INPUT,), (1, 2)),
        Node("b", Sum((1.0,)), ("a",), (1, 2)),
        Node("c", Sum((1.0, 1.0)), ("a", "b"), (1, 2)),
    )
    graph = LayerGraph((1, 2), nodes, "c")
    assert region(graph, "b", "c", most=50) is None
    assert region(graph, "a", "c", most=50) is not None
    assert region(graph, "a", "c", most=1) is None
