"""The graph itself: order, uses, batches, devices."""

import math

import pytest
import torch
from networks import random_network
from samples import SAMPLES
from small_graph import bound_of, exported_graph, raw_graph, seeded_like, simplified
from torch import nn

from lipaudit.analyze import analyze
from lipaudit.certify.dataset import certify
from lipaudit.certify.pairwise import pair_constants
from lipaudit.compose import compose
from lipaudit.data import Dataset
from lipaudit.graph.graph import INPUT
from lipaudit.graph.node import Op, Unsupported
from lipaudit.passes import simplify
from lipaudit.passes.edit import edited, single_use


def residual():
    torch.manual_seed(0)
    linear = nn.Linear(4, 4).double()
    return raw_graph(lambda x: torch.relu(linear(x)) + x, 1, 4)


def test_nodes_are_found_by_name_and_every_op_keeps_the_protocol():
    graph = residual()
    assert [n.name for n in graph] == [n.name for n in graph.nodes]
    assert graph.node(INPUT) is None
    assert graph.node("nothing") is None
    assert graph.shape_of(INPUT) == (1, 4)
    for node in graph:
        assert graph.node(node.name) is node
        assert isinstance(node.op, Op)


def test_uses_count_readers_and_the_output():
    graph = residual()
    assert graph.uses(INPUT) == 2
    assert graph.uses(graph.output) == 1
    assert not single_use(graph, INPUT)
    assert not single_use(graph, graph.output)
    assert single_use(graph, graph.nodes[0].name)


def test_a_batch_is_run_sample_by_sample():
    """Also for graphs that mix what a batch axis would hold."""

    def function(x):
        return (x.mean(0) + x.sum((0, 1)))[None] + x.t().flatten()

    graph = raw_graph(function, 1, 4)
    batch = seeded_like(graph, 5)
    found = graph.run(batch)
    for x, y in zip(batch, found, strict=True):
        torch.testing.assert_close(y, function(x[None]), rtol=1e-14, atol=1e-14)


def test_edited_drops_what_nobody_reads_and_refuses_disorder():
    graph = residual()
    first, last = graph.nodes[0], graph.nodes[-1]
    cut = edited(graph, output=first.name, note="cut")
    assert [n.name for n in cut] == [first.name]
    assert cut.notes == ("cut",)
    around = edited(graph, aliases={first.name: INPUT})
    assert first.name not in [n.name for n in around]
    with pytest.raises(AssertionError, match="before it exists"):
        edited(graph, {first.name: type(first)(first.name, first.op, (last.name,), first.shape)})


def test_moving_to_the_same_device_changes_nothing():
    graph = residual()
    assert graph.to("cpu") is graph


def test_unsupported_ops_keep_their_place_between_supported_ones():
    graph = exported_graph(lambda x: torch.relu(torch.exp(torch.relu(x))), 1, 3)
    assert [isinstance(n.op, Unsupported) for n in graph] == [False, True, False]
    assert bound_of(graph).value == math.inf


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def certified(graph, device):
    layers = analyze(graph)
    bound = compose(graph, layers)
    table, how = pair_constants(graph, bound)
    images = seeded_like(graph, 9).to("cpu")
    labels = torch.zeros(9, dtype=torch.int64)
    data = Dataset("x", images, labels, torch.arange(9), 9, "the file's own units", "0" * 64, None)
    return bound, certify(graph, layers, data, (table.to(device), how)).radii


@cuda
@pytest.mark.parametrize("seed", range(300, 320))
def test_a_gpu_bounds_and_certifies_as_the_cpu_does(seed):
    module, shape = random_network(seed)
    raw = raw_graph(module, *shape)
    here, there = simplify(raw), simplify(raw.to("cuda"))
    bound, radii = certified(here, "cpu")
    other, moved = certified(there, "cuda")
    assert other.total.value == pytest.approx(bound.total.value, rel=1e-9)
    torch.testing.assert_close(moved.radius, radii.radius, rtol=1e-6, atol=1e-9)
    x = seeded_like(here, 3)
    torch.testing.assert_close(there.run(x.to("cuda")).cpu(), here.run(x), rtol=1e-9, atol=1e-9)


@cuda
@pytest.mark.parametrize("name", sorted(SAMPLES)[::3])
def test_every_op_runs_on_a_gpu(name):
    sample = SAMPLES[name]
    here = raw_graph(sample.module, *sample.shape)
    there = here.to("cuda")
    x = seeded_like(here, 2)
    torch.testing.assert_close(there.run(x.to("cuda")).cpu(), here.run(x), rtol=1e-10, atol=1e-10)
    assert bound_of(there).value == pytest.approx(bound_of(here).value, rel=1e-9)
    assert simplified(sample.module, *sample.shape).output
