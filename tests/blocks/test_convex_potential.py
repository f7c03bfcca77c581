"""The rule for convex potentials: 1 where the maps are each other's transpose, honest or silent where not."""

import math

import pytest
import torch
from lipschitz_broken import broken
from lipschitz_nets import CPL_CONV_SPELLINGS, cpl_conv
from small_graph import raw_graph

from lipaudit.analyze import Plan, Prover, analyze
from lipaudit.blocks import convex_potential
from lipaudit.blocks.claim import Part
from lipaudit.blocks.region import region
from lipaudit.blocks.wiring import wiring
from lipaudit.graph.graph import INPUT
from lipaudit.passes import simplify

BROKEN = {case.name: case for case in broken()}


def part_of(module, shape):
    graph = simplify(raw_graph(module.double(), *shape))
    gains = {layer.node.name: layer.gain for layer in analyze(graph)}
    found = region(graph, INPUT, graph.output, 100)
    own = {node.name: gains[node.name] for node in found.nodes}
    return Part(graph, found, wiring(graph, found), own, math.inf, math.inf, Prover("auto", Plan()), 1e9)


@pytest.mark.parametrize("spelling", CPL_CONV_SPELLINGS)
def test_every_spelling_of_the_block_is_one(spelling):
    part = part_of(cpl_conv(1, spelling=spelling), (1, 3, 6, 6))
    assert convex_potential.RULE.prove(part).value == pytest.approx(1, abs=1e-6)


CHANGED = (
    "channels of the second weight exchanged",
    "second weight mirrored",
    "second weight shifted",
    "second weight changed by an ulp",
    "some factors negative",
    "a convolution where its adjoint should be",
)
SILENT = (
    "CPL with the other sign",
    "output shifted by a cell",
    "circular before, zeros behind",
    "from a moved tensor",
    "beside a moved tensor",
    "subtracted twice",
    "gelu",
)


@pytest.mark.parametrize("name", CHANGED)
def test_another_weight_is_measured(name):
    """What the second weight lacks of being the transpose is part of the number."""
    case = BROKEN[name]
    found = convex_potential.RULE.prove(part_of(case.module, case.shape))
    assert found is None or found.value >= case.slope() * (1 - 1e-12)


def test_an_ulp_is_seen():
    """Beyond the exact block's number by no more than what one last bit can do, and by more than nothing."""
    case = BROKEN["second weight changed by an ulp"]
    exact = {name: value.clone() for name, value in case.module.named_parameters()}
    changed = convex_potential.RULE.prove(part_of(case.module, case.shape)).value
    case.module.get_parameter("v").data = exact["w"].double()
    plain = convex_potential.RULE.prove(part_of(case.module, case.shape)).value
    assert plain < changed < plain + 1e-5


@pytest.mark.parametrize("name", SILENT)
def test_where_a_premise_is_missing_the_rule_is_silent(name):
    case = BROKEN[name]
    assert convex_potential.RULE.prove(part_of(case.module, case.shape)) is None


def test_two_parts_side_by_side_are_not_one():
    """x − Wᵀrelu(Wx) of one tensor, where x is not what W reads."""
    torch.manual_seed(0)
    weight = torch.randn(4, 4, dtype=torch.float64)

    class Crossed(torch.nn.Module):
        def forward(self, x):
            a, b = x[:, :4], x[:, 4:]
            return a - torch.relu(b @ weight.T) @ weight

    part = part_of(Crossed(), (1, 8))
    assert convex_potential.RULE.prove(part) is None
