"""Chains of dense layers: against the written-out choices of identity and rest, and against true slopes."""

import itertools
import math

import numpy as np
import pytest
import torch
from small_graph import raw_graph
from torch import nn

from lipaudit.analyze import Plan, Prover, analyze
from lipaudit.blocks import averaged
from lipaudit.blocks.claim import Part
from lipaudit.blocks.region import between, region
from lipaudit.blocks.wiring import wiring
from lipaudit.graph.graph import INPUT
from lipaudit.passes import simplify

WIDTHS = ((3, 5, 2), (4, 4, 4, 4), (2, 7, 3, 5, 2), (6, 1, 6), (3, 3, 3, 3, 3, 3), (1, 1, 1), (5, 9, 9, 1))
ACTIVATIONS = (nn.ReLU(), nn.Tanh(), nn.Softplus(), nn.Hardtanh(), nn.ReLU6(), nn.Sigmoid())


def chain(widths, seed=0, scale=1.0):
    torch.manual_seed(seed)
    parts = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layer = nn.Linear(a, b).double()
        layer.weight.data *= scale
        parts += [layer, ACTIVATIONS[(seed + i) % len(ACTIVATIONS)]]
    return nn.Sequential(*parts[:-1])


def proved(module, width):
    graph = simplify(raw_graph(module, 1, width))
    gains = {layer.node.name: layer.gain for layer in analyze(graph, Plan())}
    part = region(graph, INPUT, graph.output, 100)
    own = {node.name: gains[node.name] for node in part.nodes}
    wires = wiring(graph, part)
    plain = between(part, gains)
    return averaged.RULE.prove(
        Part(graph, part, wires, own, plain, plain, Prover("auto", Plan()), 1e12)
    ), plain


def written_out(matrices):
    """Every choice of identity or rest at every activation: 2^-(m-1) Σ Π ‖segment‖."""
    count = len(matrices) - 1
    total = 0.0
    for choices in itertools.product((False, True), repeat=count):
        product, segment = 1.0, matrices[0]
        for is_rest, matrix in zip(choices, matrices[1:], strict=True):
            if is_rest:
                product *= np.linalg.norm(segment, 2)
                segment = matrix
            else:
                segment = matrix @ segment
        total += product * np.linalg.norm(segment, 2)
    return total / 2**count


def vertex_slopes(matrices):
    """Largest norm over activation patterns, each unit on or off."""
    best = 0.0
    widths = [len(matrix) for matrix in matrices[:-1]]
    for bits in itertools.product((0.0, 1.0), repeat=sum(widths)):
        left, product = list(bits), matrices[0]
        for matrix in matrices[1:]:
            mask, left = left[: len(product)], left[len(product) :]
            product = matrix @ (np.array(mask)[:, None] * product)
        best = max(best, np.linalg.norm(product, 2))
    return best


def weights(module):
    """Of the dense layers, times the largest slope of what stands before them."""
    found, slope = [], 1.0
    for layer in module:
        if isinstance(layer, nn.Linear):
            found.append(slope * layer.weight.detach().numpy())
        else:
            slope = 0.25 if isinstance(layer, nn.Sigmoid) else 1.0
    return found


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_sum_over_all_choices(widths, seed):
    module = chain(widths, seed)
    found, plain = proved(module, widths[0])
    wanted = written_out(weights(module))
    # Where a product of parts says less than the merged matrix (by rounding alone), the smaller one counts.
    assert wanted * (1 - 1e-12) <= found.value <= wanted * (1 + 1e-6)
    assert found.value <= plain * (1 + 1e-6)


@pytest.mark.parametrize("widths", [w for w in WIDTHS if sum(w[1:-1]) <= 12], ids=str)
@pytest.mark.parametrize(
    "scale", [1e-30, 1.0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1e-3, 1e30))]
)
def test_no_activation_pattern_beats_it(widths, scale):
    for seed in range(6):
        module = chain(widths, seed, scale)
        found, _ = proved(module, widths[0])
        assert found is not None
        assert vertex_slopes(weights(module)) <= found.value * (1 + 1e-14)


def test_two_layers_that_cancel_are_half_their_product():
    """W₂W₁ = 0 leaves ‖W₂‖‖W₁‖/2; an identity in place of the activation leaves 0."""
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    module[0].weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    module[2].weight.data = torch.tensor([[0.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    assert proved(module, 2)[0].value == pytest.approx(1.5, rel=1e-9)


def test_what_overflows_or_has_no_activation_is_left_alone():
    huge = chain((3, 3, 3, 3), scale=1e140)
    found, _ = proved(huge, 3)
    assert found is None or math.isfinite(found.value)
    linear = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).double()
    assert proved(linear, 3)[0] is None


def test_it_does_not_fire_on_anything_but_a_chain():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return x + self.outer(self.inner(x).relu())

    class Bent(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.outer(nn.functional.gelu(self.inner(x)))

    assert proved(Skip(), 3)[0] is None
    assert proved(Bent(), 3)[0] is None
