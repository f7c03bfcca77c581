"""Concatenations of moves: permutations, or √copies; parts of several tensors stay parts."""

import math

import pytest
import torch
from small_graph import checked_bound, op_names, raw_graph, simplified
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from lipaudit.passes.join_moves import join_moves

SHAPE = (1, 2, 4, 4)


def corners(x):
    return [x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]


def rolled(x):
    x = torch.cat([x[..., -1:], x[..., :-1]], -1)
    return torch.cat([x[..., 2:, :], x[..., :2, :]], -2)


ONE = {
    "space to depth": lambda x: torch.cat(corners(x), 1),
    "space to depth, stacked": lambda x: torch.stack(corners(x), 2).flatten(1, 2),
    "rolls": rolled,
    "halves exchanged": lambda x: torch.cat([x[:, 1:], x[:, :1]], 1),
    "channels beside zeros": lambda x: torch.cat([x, torch.zeros_like(x)], 1),
    "channels beside ones": lambda x: torch.cat([torch.ones(1, 3, 4, 4, dtype=x.dtype), x[:, :1]], 1),
    "flipped parts": lambda x: torch.cat([x[:, :1].flip(2), x[:, 1:].transpose(2, 3)], 1),
    "half of it": lambda x: torch.cat(corners(x)[:2], 1),
}
MANY = {
    "twice": (lambda x: torch.cat([x, x], 1), 2),
    "itself and a part": (lambda x: torch.cat([x, x[:, :1]], 1), 2),
    "circular borders": (lambda x: torch.cat([x[..., -1:], x, x[..., :1]], -1), 2),
    "overlapping slices": (lambda x: torch.cat([x[..., :3], x[..., 1:]], 1), 2),
    "three times, stacked": (lambda x: torch.stack([x.flip(1), x, x], 1).flatten(1, 2), 3),
    "circular corners": (
        lambda x: torch.cat([torch.cat([x[..., i, -1:], x[..., i, :]], -1) for i in (-1, 0, 1, 2, 3)], -1),
        4,
    ),
}


@pytest.mark.parametrize("name", ONE)
def test_parts_that_hold_each_cell_once_have_norm_one(name):
    graph = simplified(ONE[name], *SHAPE)
    assert "concat" not in op_names(graph)
    assert checked_bound(ONE[name], graph).value == 1


@pytest.mark.parametrize("name", MANY)
def test_repeated_cells_are_counted(name):
    function, copies = MANY[name]
    graph = join_moves(raw_graph(function, *SHAPE))
    assert checked_bound(function, graph).value == pytest.approx(math.sqrt(copies), rel=1e-15)


APART = {
    "another tensor": lambda x: torch.cat([x, torch.relu(x)], 1),
    "one part scaled": lambda x: torch.cat([x[:, :1], 2 * x[:, 1:]], 1),
    "of one tensor each": lambda x: torch.cat([torch.tanh(x)[:, :1], torch.relu(x)[:, 1:]], 1),
}


@pytest.mark.parametrize("name", APART)
def test_parts_of_several_tensors_stay_parts(name):
    graph = join_moves(raw_graph(APART[name], *SHAPE))
    assert "join" not in op_names(graph)
    checked_bound(APART[name], graph)


def test_what_lies_before_keeps_its_own_norm():
    def function(x):
        return torch.cat(corners(F.pad(torch.tanh(x), (1, 1, 1, 1))), 1)

    graph = simplified(function, *SHAPE)
    assert op_names(graph) == ["tanh", "pad", "join"]
    assert checked_bound(function, graph).value == 1


def test_other_readers_of_the_parts_keep_them():
    def function(x):
        parts = corners(x)
        return torch.cat(parts, 1).sum(1) + parts[0].sum(1)

    checked_bound(function, simplified(function, *SHAPE))
