"""Identities disappear, and nothing else does."""

import random

import pytest
import torch
from jacobian import outputs, probes
from networks import Branch, MaxMin
from sample_kind import Call
from small_graph import checked_bound, op_names, raw_graph, simplified
from torch import nn

from lipaudit.passes.drop_identities import drop_identities

IMAGES = (1, 2, 3, 3)


def test_identities_disappear_and_nothing_else_does():
    def function(x):
        return x.clone().reshape(1, 2, 3, 3).contiguous().flip(1).transpose(2, 3)

    graph = drop_identities(raw_graph(function, *IMAGES))
    assert len(graph.nodes) == 2
    checked_bound(function, graph)


def test_residual_and_sorted_networks_stay_what_they_are():
    rng = random.Random(0)
    for _ in range(5):
        torch.manual_seed(rng.randrange(1000))
        inner = nn.Sequential(nn.Linear(6, 6), MaxMin(1), nn.Linear(6, 6))
        module = nn.Sequential(Branch(inner, lambda x, y: x - 0.5 * y), MaxMin(1)).double()
        graph = simplified(module, 1, 6)
        assert op_names(graph).count("max_min") == 2
        checked_bound(module, graph)


TRUTH = {
    "scaled": lambda x: (x > 0).to(x.dtype) * 2.5 + x,
    "complement": lambda x: x * (1 - (x > 0).double()),
    "reshaped": lambda x: (x > 0).reshape(-1).to(x.dtype).reshape(x.shape) * 0.3,
    "whole numbers": lambda x: x.argmax(1, keepdim=True).to(x.dtype) * 0.5 + x,
}


@pytest.mark.parametrize("name", TRUTH)
def test_a_cast_of_truth_values_is_no_identity(name):
    points = probes((1, 6))
    graph = simplified(TRUTH[name], 1, 6)
    torch.testing.assert_close(graph.run(points).flatten(1), outputs(Call(TRUTH[name]), points))
