"""The rule for convex potentials: 1 where the maps are each other's transpose, honest or silent where not."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from lipschitz_broken import broken
from lipschitz_nets import CPL_CONV_SPELLINGS, cpl_conv
from small_graph import raw_graph
from torch import nn

from lipaudit.analyze import Plan, Prover, analyze
from lipaudit.blocks import convex_potential
from lipaudit.blocks.claim import Part
from lipaudit.blocks.convex_potential import adjoint_pair
from lipaudit.blocks.region import region
from lipaudit.blocks.wiring import wiring
from lipaudit.graph.graph import INPUT
from lipaudit.layers import CPLConv2d, CPLLinear, SLLConv2d, SLLLinear, freeze
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


# Nothing missing: exactly 1

STORED = {
    "CPL": (lambda phi: CPLLinear(5, 5, hidden_features=7, activation=phi), (1, 5)),
    "SLL": (lambda phi: SLLLinear(5, 5, activation=phi), (1, 5)),
    "CPL convolution": (lambda phi: CPLConv2d(2, 2, 3, activation=phi), (1, 2, 6, 6)),
    "SLL convolution": (lambda phi: SLLConv2d(2, 2, 3, activation=phi), (1, 2, 6, 6)),
}
SLOPES = (nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.Hardsigmoid())


def stored(family, phi, factor=1.0):
    """A frozen block, its scales changed by a factor."""
    torch.manual_seed(1)
    make, shape = STORED[family]
    block = freeze(make(phi), torch.randn(shape))
    block.scale.data.mul_(factor)
    return block, shape


@pytest.mark.parametrize("family", STORED)
@pytest.mark.parametrize("phi", SLOPES, ids=lambda phi: type(phi).__name__)
def test_a_stored_block_has_constant_one_to_the_last_bit(family, phi):
    part = part_of(*stored(family, phi))
    found = convex_potential.RULE.prove(part)
    assert found.value == 1.0
    assert convex_potential.RULE.confirm(part, found.stored).value == 1.0


@pytest.mark.parametrize("family", STORED)
def test_what_is_taken_for_exact_is_exact(family):
    """G = −WᵀR in rational numbers, where the block is the float32 one."""
    block, shape = stored(family, nn.ReLU())
    pair = adjoint_pair(part_of(block, shape).wires)
    assert convex_potential._exact_root(pair) is not None
    W = [[[Fraction(w) for w in row] for row in tap] for tap in pair.W.tolist()]
    G = [[[Fraction(g) for g in row] for row in tap] for tap in pair.G.tolist()]
    scale = [Fraction(s) for s in block.scale.flatten().tolist()]
    for one, other in zip(W, G, strict=True):
        for s, row, back in zip(scale, one, other, strict=True):
            assert [-s * w for w in row] == back


def perturbed_scale(block):
    block.scale.data[0] *= 1 + 2.0**-40  # no number of 24 bits: its products round


def perturbed_weight(block):
    block.weight.data.flatten()[0] *= 1 + 2.0**-40


@pytest.mark.parametrize("change", [perturbed_scale, perturbed_weight])
def test_of_wider_numbers_the_rounding_is_counted(change):
    block, shape = stored("SLL", nn.ReLU())
    block = block.double()
    change(block)
    assert 1 < convex_potential.RULE.prove(part_of(block, shape)).value < 1 + 1e-9


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-6, 1.01, 1.5, 4.0])
@pytest.mark.parametrize("family", ["CPL", "SLL"])
def test_it_is_never_below_what_the_corners_reach(family, factor):
    """relu's slopes of 0 and 1 give I − WᵀSDW, D any corner: the largest norm of all is reached."""
    block, shape = stored(family, nn.ReLU(), factor)
    value = convex_potential.RULE.prove(part_of(block, shape)).value
    W, s = block.weight.double(), block.scale.double()
    corners = itertools.product((0.0, 1.0), repeat=len(W))
    reached = max(
        float(
            torch.linalg.matrix_norm(
                torch.eye(W.shape[1]).double() - W.T @ torch.diag(s * torch.tensor(d).double()) @ W, 2
            )
        )
        for d in corners
    )
    assert value >= reached * (1 - 1e-14)
    if value == 1.0:
        assert reached <= 1 + 1e-14


def test_another_scaling_is_not_taken_for_the_exact_one():
    part = part_of(*stored("SLL", nn.ReLU()))
    found = convex_potential.RULE.prove(part)
    near = tuple(math.nextafter(r, 2) for r in found.stored["scaling"])
    confirmed = convex_potential.RULE.confirm(part, {**found.stored, "scaling": near})
    assert 1 < confirmed.value < 1 + 1e-12
