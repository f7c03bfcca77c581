"""What a rule proved it confirms from what it stored, and from nothing less."""

from __future__ import annotations

import functools
import json
import math

import pytest
import torch
from jacobian import largest_slope, probes
from lipschitz_zoo import layers, networks
from small_graph import raw_graph
from torch import nn

from lipaudit.analyze import Plan, Prover, analyze
from lipaudit.attest.ledger import Ledger
from lipaudit.attest.norms import Certified
from lipaudit.blocks import RULES, confirmed, find_claims
from lipaudit.blocks.claim import Part
from lipaudit.blocks.region import between, region
from lipaudit.blocks.wiring import wiring
from lipaudit.graph.graph import INPUT
from lipaudit.passes import simplify
from lipaudit.report.certificate import certificate_records

NAMES = ("CPL, sub", "CPL, scale in the kernel", "dense CPL, linear", "dense SLL", "SLL, scale apart",
         "SOC, divide", "dense SOC, divide", "sandwich", "folded sandwich")  # fmt: skip
CASES = {net.name: net for net in layers() if net.name in NAMES}
WHOLE = {net.name: net for net in networks(0) if net.name in ("residual", "Sandwich")}
HOSTILE = (None, 0, -1.0, 1e308, 5e-324, "x", "0x1p0", True, (), ((),), (1.0,), ((1.0,),), (math.nan,))
"""What may stand in a report where a rule stored its choice."""


def as_read(stored):
    """Through JSON and back, lists as tuples."""

    def tuples(value):
        return tuple(map(tuples, value)) if isinstance(value, list) else value

    return {key: tuples(value) for key, value in json.loads(json.dumps(stored)).items()}


@functools.cache
def audited(net):
    graph = simplify(raw_graph(net.make().double(), *net.shape))
    found = analyze(graph, Plan(profile="fast"))
    return graph, found, find_claims(graph, found, Plan(profile="fast"))


def again(graph, found, claim, stored=None):
    norms = Certified(certificate_records(claim.certificates, stored=False), "block", Ledger(), 2**31)
    ends = (claim.source, claim.end)
    result = confirmed(graph, found, ends, claim.bound.method, stored or as_read(claim.stored), norms)
    assert stored or not norms.ledger.differences
    assert stored or norms.asked == len(claim.certificates)
    return result


@pytest.mark.parametrize("name", [*CASES, *WHOLE])
def test_claims_are_confirmed_with_the_same_number(name):
    graph, found, claims = audited({**CASES, **WHOLE}[name])
    assert claims
    for claim in claims:
        result = again(graph, found, claim)
        assert result is not None
        assert result.bound == claim.bound
        assert result.names == claim.names
        assert result.plain == claim.plain


def test_of_huge_weights_no_rule_claims_what_it_would_not_confirm():
    """The true constant is 1; multipliers and ρ of the product's size are beyond what is written down."""

    def diagonal(last):
        layer = nn.Linear(4, 4, bias=False)
        layer.weight.data = torch.diag(torch.tensor([1.0, 1.0, 1.0, last]))
        return layer

    layers = [diagonal(last) for last in (0, 1e38, 0, 1e38, 0, 1e38, 0)]
    module = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
    graph = simplify(raw_graph(module.double(), 4))
    found = analyze(graph, Plan(profile="fast"))
    claims = find_claims(graph, found, Plan(profile="fast"))
    assert claims
    for claim in claims:
        assert again(graph, found, claim).bound == claim.bound


@pytest.mark.parametrize("name", ["CPL, sub", "sandwich", "residual"])
def test_no_choice_whatever_confirms_a_number_below_the_slope(name):
    net = {**CASES, **WHOLE}[name]
    module = net.make().double()
    graph, found, claims = audited(net)
    (claim,) = claims
    assert (claim.source, claim.end) == (INPUT, graph.output)
    slope = largest_slope(module, probes(net.shape, count=2)) * (1 - 1e-9)
    stored = as_read(claim.stored)
    for key, value in stored.items():
        edits = list(HOSTILE)
        if isinstance(value, tuple):
            edits += [tuple(_scaled(v, f) for v in value) for f in (1e-30, 0.5, 0.99, 1.01, 2.0, 1e30)]
            edits += [value[:-1], (*value, *value)]
        if key == "rho":
            edits += [(float.fromhex(value) * f).hex() for f in (1e-9, 0.5, 0.999, 1.001)]
        for edit in edits:
            norms = Prover("auto", Plan(profile="fast"))
            result = confirmed(
                graph, found, (claim.source, claim.end), claim.bound.method, {**stored, key: edit}, norms
            )
            assert result is None or result.bound.value >= slope


def _scaled(value, factor):
    return tuple(_scaled(v, factor) for v in value) if isinstance(value, tuple) else value * factor


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_every_rule_confirms_what_it_proves(rule):
    """Also where another rule would have won."""
    fired = 0
    for net in (CASES["CPL, sub"], CASES["SOC, divide"], CASES["sandwich"], *WHOLE.values()):
        graph, found, _ = audited(net)
        part = region(graph, INPUT, graph.output, 200)
        gains = {layer.node.name: layer.gain for layer in found}
        plain = between(part, gains)
        prover = Prover("auto", Plan(profile="fast"))
        proved = rule.prove(Part(graph, part, wiring(graph, part), gains, plain, math.inf, prover, 1e9))
        if proved is None:
            continue
        fired += 1
        norms = Certified(certificate_records(prover.certificates, stored=False), "", Ledger(), 2**31)
        result = rule.confirm(
            Part(graph, part, wiring(graph, part), gains, plain, math.inf, norms, math.inf),
            as_read(proved.stored),
        )
        assert result is not None
        assert result.value == proved.value
        assert dict(result.stored) == dict(proved.stored)
    assert fired or rule.name == "linear region"


def test_parts_and_rules_that_are_none_are_not_confirmed():
    graph, found, claims = audited(CASES["dense SLL"])
    (claim,) = claims
    norms = Prover("auto", Plan(profile="fast"))
    for ends, rule in (
        ((claim.source, "nowhere"), claim.bound.method),
        (("nowhere", claim.end), claim.bound.method),
        ((claim.end, claim.source), claim.bound.method),
        ((claim.end, claim.end), claim.bound.method),
        ((claim.source, claim.end), "trust me"),
    ):
        assert confirmed(graph, found, ends, rule, as_read(claim.stored), norms) is None


def test_bounds_that_no_certificate_supports_are_infinite():
    graph, found, claims = audited(CASES["dense SLL"])
    (claim,) = claims
    ledger = Ledger()
    norms = Certified((), "block", ledger, 2**31)
    assert confirmed(graph, found, (claim.source, claim.end), claim.bound.method, claim.stored, norms) is None
    assert ledger.differences
