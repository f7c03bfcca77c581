"""What is proved of layers with structure: 1 where the family promises it, the truth where it is broken."""

import pytest
import torch
from jacobian import largest_slope, probes
from lipschitz_broken import broken
from lipschitz_zoo import layers, networks
from random_blocks import Block
from small_graph import bounded, raw_graph

from lipaudit.blocks import RULES
from lipaudit.passes import simplify

FAMILIES = ("CPL", "dense CPL", "SLL", "dense SLL", "SOC", "dense SOC", "sandwich", "folded sandwich")
STRUCTURED = {
    net.name: net for steps in (0, 4) for net in layers(steps) if net.name.split(",")[0] in FAMILIES
}
NETWORKS = {net.name: net for net in networks(2) if net.name in ("CPL", "SLL", "SOC", "Sandwich", "residual")}
BROKEN = {case.name: case for case in broken()}


def audited(module, shape):
    return bounded(simplify(raw_graph(module, *shape)))


def test_the_table():
    assert [rule.name for rule in RULES] == [
        "skew polynomial",
        "linear region",
        "convex potential",
        "sandwich",
        "averaged",
        "semidefinite",
    ]
    assert all(rule.summary for rule in RULES)


@pytest.mark.parametrize("name", STRUCTURED)
def test_layers_of_a_family_are_one_lipschitz(name):
    net = STRUCTURED[name]
    module = net.make().double()
    found = audited(module, net.shape)
    assert largest_slope(module, probes(net.shape, count=1)) * (1 - 1e-9) <= found.total.value <= 1.001
    assert found.claims


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_a_family_are_too(name):
    net = NETWORKS[name]
    module = net.make().double()
    found = audited(module, net.shape)
    assert largest_slope(module, probes(net.shape, count=1)) * (1 - 1e-9) <= found.total.value
    assert found.total.value <= net.most * 1.001


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_caught_with_the_right_number(name):
    case = BROKEN[name]
    slope = case.slope()
    found = audited(case.module.double(), case.shape).total.value
    assert slope * (1 - 1e-9) <= found
    if case.exact and "reflects" not in name and "changed" not in name and "gelu" not in name:
        assert found <= slope * 1.0012


@pytest.mark.parametrize("seed", range(0, 60, 2))
def test_no_slope_of_a_random_block_beats_its_bound(seed):
    module = Block(seed).double()
    found = audited(module, module.shape)
    assert largest_slope(module, probes(module.shape, count=2)) * (1 - 1e-9) <= found.total.value


def test_each_claim_says_what_it_takes_to_prove_it_again():
    for name in ("CPL, sub", "SOC, divide", "sandwich"):
        net = STRUCTURED[name]
        for claim in audited(net.make().double(), net.shape).claims:
            assert len(claim.stored["weights_sha256"]) == 64
            assert claim.plain > claim.bound.value
            assert all(
                torch.isfinite(torch.tensor(v)).all() for v in claim.stored.values() if isinstance(v, tuple)
            )
