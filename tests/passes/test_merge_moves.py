"""Moves written twice become one, so that MaxMin is seen in its usual spelling; others stay apart."""

import pytest
import torch
from samples import Call

from lipaudit.analyze import analyze
from lipaudit.compose import compose
from lipaudit.load.export import export_module
from lipaudit.load.translate import translate
from lipaudit.ops.shape import Relayout
from lipaudit.passes import simplify
from lipaudit.passes.merge_moves import merge_moves

POINTS = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def raw(function, shape=(1, 6)):
    return translate(export_module(Call(function).eval(), torch.zeros(shape, dtype=torch.float64), "t"))


def moves(graph):
    return sum(isinstance(node.op, Relayout) for node in graph)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.cat([torch.maximum(x[:, :3], x[:, 3:]), torch.minimum(x[:, :3], x[:, 3:])], 1),
        lambda x: torch.cat([x.view(1, 2, 3).amax(1), x.view(1, 2, 3).amin(1)], 1),
    ],
)
def test_max_min_with_slices_written_twice(function):
    graph = simplify(raw(function))
    assert compose(graph, analyze(graph)).total.value == 1
    assert torch.equal(graph.run(POINTS), torch.cat([function(x[None]) for x in POINTS])[:, None, :])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, :3] - x[:, 1:4],
        lambda x: x.view(1, 2, 3).sum(1) - x.view(1, 3, 2).transpose(1, 2).sum(1),
        lambda x: torch.nn.functional.pad(x, (1, 1), value=1.0) - torch.nn.functional.pad(x, (1, 1)),
    ],
)
def test_different_moves_stay_apart(function):
    graph = raw(function)
    assert moves(merge_moves(graph)) == moves(graph)
    assert torch.equal(merge_moves(graph).run(POINTS), graph.run(POINTS))
