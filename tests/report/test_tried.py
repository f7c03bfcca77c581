"""What methods said reaches the report: bounds as evidence, rounded up, and seconds beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sample_report as sample
from small_graph import simplified
from torch import nn

from lipaudit.analyze import Layer, Plan, analyze
from lipaudit.bound import Bound, Bracket, Estimate
from lipaudit.graph.node import Gain
from lipaudit.report import tried
from lipaudit.report.model import Layer as Row
from lipaudit.spectral import Attempt, Proof


def proof(*attempts, seconds=0.5):
    bounds = [a.bound for a in attempts if a.bound is not None]
    return Proof(Bracket(min(bounds, key=lambda b: b.value), Estimate(0.0, "w")), attempts, seconds)


def said(name, value, seconds=1.0):
    return Attempt(name, Bound(value, name), seconds)


FIRST = proof(
    said("a", 1 / 3, 0.25), Attempt("b", None, note="not tried: too dear"), Attempt("c", None, 0.125, "x")
)
SECOND = proof(said("a", 0.5, 0.25), said("b", 2.0), Attempt("c", None, 0.25, "y"))


def layer(*proofs):
    (node,) = simplified(nn.Linear(2, 2).double(), 1, 2).nodes
    return Layer(node, Gain.of(1.0, "a"), Bound(1.0, "a"), None, proofs)


def test_one_map_one_bound_per_method():
    a, b, c = tried.methods_tried([FIRST])
    assert (a.method, a.maps, a.upper.status, a.note) == ("a", 1, "proved", "")
    assert 1 / 3 <= a.upper.value <= 1 / 3 + 1e-9
    assert (b.maps, b.upper.status, b.note) == (0, "not_analysed", "not tried: too dear")
    assert (c.maps, c.note) == (0, "x")


def test_of_several_maps_the_largest_bound_and_all_reasons_are_told():
    a, b, c = tried.methods_tried([FIRST, SECOND])
    assert (a.maps, a.upper.value) == (2, 0.5)
    assert (b.maps, b.upper.value, b.note) == (1, 2.0, "not tried: too dear")
    assert (c.maps, c.note) == (0, "x; y")


def test_seconds_are_summed_and_what_did_not_run_has_none():
    one, none = layer(FIRST, SECOND), layer()
    assert tried.seconds_spent([one]) == {one.node.name: {"a": 0.5, "b": 1.0, "c": 0.375, "witness": 1.0}}
    assert tried.seconds_spent([none]) == {}


def test_a_method_that_fell_silent_is_one_note_for_all_its_layers():
    one = layer(FIRST)
    seven = [replace(one, node=replace(one.node, name=f"conv{i}")) for i in range(7)]
    (found,) = tried.fallback_findings(seven, Plan((("*", "c"),)))
    assert (found.rule, found.level) == ("LIP102", "note")
    assert found.message.startswith("c proved nothing about 7 layers (")
    assert "…" in found.message
    assert tried.fallback_findings([layer(FIRST)], Plan((("*", "a"),))) == ()
    assert tried.fallback_findings([layer(FIRST)], Plan()) == ()
    (found,) = tried.fallback_findings([layer(), layer()], Plan((("l*", "a"),)))
    assert "changes nothing" in found.message
    assert tried.fallback_findings([layer(), layer(FIRST)], Plan((("l*", "a"),))) == ()


def test_lines_tell_bounds_or_reasons_with_seconds():
    row = Row.of("x\x1b", "conv2d", Bound(1.0, "a"), None, Bound(1.0, "a"))
    row = row.model_copy(update={"tried": tried.methods_tried([FIRST])})
    report = sample.report(layers=(row,))
    run = report.run.model_copy(update={"layers": {row.name: {"a": 0.25}}})
    lines = list(tried.tried_lines(report.model_copy(update={"run": run})))
    assert len(lines) == 3
    assert "0.25 s" in lines[0]
    assert "a  ≤ 0.33334" in lines[0]
    assert "too dear" in lines[1]
    assert " s " not in lines[1]
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("method", ["auto", "dense"])
def test_evidence_is_the_same_twice(method):
    graph = simplified(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double(), 1, 5)
    one, two = (
        [tried.methods_tried(found.proofs) for found in analyze(graph, Plan.of([method], "fast", 2**28))]
        for _ in range(2)
    )
    assert one == two
