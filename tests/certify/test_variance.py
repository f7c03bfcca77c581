"""Batch activation variance: against numpy, against known constants, and no growth where there is none."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import random_network
from small_graph import simplified
from torch import nn

from lipaudit.analyze import Plan, analyze
from lipaudit.blocks import find_claims
from lipaudit.bound import Bound
from lipaudit.certify.variance import batch_variance, sample_count
from lipaudit.compose import compose
from lipaudit.errors import Falsified
from lipaudit.graph.node import Gain


def spreads(graph, samples):
    layers = analyze(graph, Plan())
    claims = compose(graph, layers, find_claims(graph, layers, Plan())).claims
    return {spread.name: spread for spread in batch_variance(graph, layers, samples, claims)}


def draw(count, *shape, seed=0):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_numpy(batch):
    return float(np.asarray(batch).reshape(len(batch), -1).var(axis=0, ddof=1).sum())


def test_variances_are_those_of_numpy():
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4)).double()
    samples = draw(9, 2, 5, 5)
    found = [spread.variance for spread in spreads(simplified(module, 1, 2, 5, 5), samples).values()]
    values = [samples]
    for layer in module:
        values.append(layer(values[-1]).detach())
    assert found == pytest.approx([by_numpy(value) for value in values], rel=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 0.5, 1.0, 3.0, 1e30])
def test_an_orthogonal_map_times_a_number_grows_by_that_number(scale):
    module = nn.Linear(6, 6, bias=False).double()
    module.weight.data = scale * torch.linalg.qr(draw(6, 6))[0]
    found = list(spreads(simplified(module, 1, 6), draw(20, 6, seed=1)).values())[-1].growth.value
    assert scale * (1 - 1e-12) <= found <= scale * (1 + 1e-14)


def test_growth_inside_a_branch_is_that_of_the_branch():
    """x + f(x) is measured from x, not from the branch beside it."""

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4, bias=False)
            self.inner.weight.data = 5 * torch.eye(4, dtype=torch.float64)

        def forward(self, x):
            return x - 0.4 * self.inner(x)

    graph = simplified(Residual(), 1, 4)
    found = spreads(graph, draw(12, 4))
    last = found[graph.output]
    assert last.source == "input"
    assert last.growth.value == pytest.approx(1.0, rel=1e-9)
    assert any(s.growth is not None and s.growth.value > 1.99 for s in found.values() if s is not last)


@pytest.mark.parametrize("seed", range(30))
def test_no_growth_beyond_what_is_proved(seed):
    """Falsified would be raised; besides, growth over the whole network is that of its outputs."""
    module, shape = random_network(seed)
    module = module.double()
    graph = simplified(module, *shape)
    samples = draw(8, *shape[1:], seed=seed)
    found = spreads(graph, samples)
    with torch.no_grad():
        outputs = torch.cat([module(x.unsqueeze(0)) for x in samples])
    last = found[graph.output]
    assert last.variance == pytest.approx(by_numpy(outputs), rel=1e-6, abs=1e-20)
    layers = analyze(graph, Plan())
    total = compose(graph, layers, find_claims(graph, layers, Plan())).total.value
    assert math.sqrt(by_numpy(outputs) / by_numpy(samples)) <= total * (1 + 1e-9)


def test_equal_samples_and_constant_layers_prove_nothing():
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    graph = simplified(module, 1, 3)
    same = torch.ones(5, 3, dtype=torch.float64) / 3
    for spread in spreads(graph, same).values():
        assert spread.variance == pytest.approx(0, abs=1e-28)
        assert spread.growth is None or spread.growth.value < 1e-6


def test_infinite_activations_have_no_variance():
    module = nn.Linear(2, 2).double()
    module.weight.data = torch.full((2, 2), 1e308, dtype=torch.float64)
    last = list(spreads(simplified(module, 1, 2), 1e3 * draw(4, 2)).values())[-1]
    assert (last.variance, last.growth) == (None, None)


def test_a_gain_below_the_growth_is_refuted():
    module = nn.Linear(3, 3).double()
    graph = simplified(module, 1, 3)
    (layer,) = analyze(graph, Plan())
    lying = replace(layer, gain=Gain((Bound(layer.upper.value * 1e-3, "a lie"),), layer.gain.combine))
    with pytest.raises(Falsified, match="batch variance"):
        batch_variance(graph, [lying], draw(10, 3))


def test_a_batch_is_as_large_as_memory_allows_and_at_least_two():
    graph = simplified(nn.Linear(3, 3).double(), 1, 3)
    assert [sample_count(graph, n) for n in (0, 1, 2, 63, 1000)] == [0, 0, 2, 63, 64]
    large = simplified(nn.Sequential(nn.Upsample(scale_factor=100)).double(), 1, 1, 40, 40)
    assert sample_count(large, 1000) == 0
