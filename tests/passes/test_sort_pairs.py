"""MaxMin: where it is a permutation, and where its premises fail."""

import math

import pytest
import torch
from jacobian import largest_slope, probes
from sample_kind import Call
from small_graph import checked_bound, op_names, raw_graph
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from lipaudit.passes import simplify
from lipaudit.passes.merge_moves import merge_moves
from lipaudit.passes.sort_pairs import sort_pairs


def maxmin(a, b, x):
    a, b = a(x), b(x)
    return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)


def swapped(a, b):
    return torch.cat([torch.minimum(a, b), torch.maximum(b, a)], 1)


def stacked(a, b):
    return torch.stack([torch.maximum(a, b), torch.minimum(a, b)], 2).flatten(1)


def extremes(x, **options):
    return torch.cat([x.amax(1, **options), x.amin(1, **options)], 1)


SORTED = {
    "halves": lambda x: maxmin(lambda x: x[:, :3], lambda x: x[:, 3:], x),
    "every other": lambda x: maxmin(lambda x: x[:, ::2], lambda x: x[:, 1::2], x),
    "flipped half": lambda x: maxmin(lambda x: x[:, :3].flip(1), lambda x: x[:, 3:], x),
    "minimum first": lambda x: swapped(*x.chunk(2, 1)),
    "stacked": lambda x: stacked(*x.chunk(2, 1)),
    "view and reduce": lambda x: extremes(x.view(1, 2, 3)),
    "reduce with keepdim": lambda x: extremes(x.view(1, 2, 3), keepdim=True),
    "minus the maximum of negatives": lambda x: torch.cat(
        [torch.maximum(x[:, :3], x[:, 3:]), -torch.maximum(-x[:, :3], -x[:, 3:])], 1
    ),
    "minus both": lambda x: torch.cat(
        [-torch.minimum(-x[:, :3], -x[:, 3:]), -torch.maximum(-x[:, 3:], -x[:, :3])], 1
    ),
    "minus the reduction of negatives": lambda x: torch.cat(
        [x.view(1, 2, 3).amax(1), -(-x.view(1, 2, 3)).amax(1)], 1
    ),
    "views behind minus": lambda x: torch.cat(
        [x.view(1, 2, 3).amax(1)[:, None], -((-x.view(1, 2, 3)).amax(1)[:, None])], 1
    ),
    "parts of a larger tensor": lambda x: maxmin(lambda x: x[:, 1:3], lambda x: x[:, 4:], x),
}
TWICE = {
    "slices": lambda x: torch.cat([torch.maximum(x[:, :3], x[:, 3:]), torch.minimum(x[:, :3], x[:, 3:])], 1),
    "views": lambda x: torch.cat([x.view(1, 2, 3).amax(1), x.view(1, 2, 3).amin(1)], 1),
}
UNSORTED = {
    "overlap": (lambda x: maxmin(lambda x: x[:, :4], lambda x: x[:, 2:], x), math.sqrt(2)),
    "overlap by one": (lambda x: maxmin(lambda x: x[:, :3], lambda x: x[:, 2:5], x), None),
    "copies": (lambda x: maxmin(lambda x: x[:, [0, 0]], lambda x: x[:, [1, 2]], x), math.sqrt(2)),
    "one against itself": (lambda x: maxmin(lambda x: x, lambda x: x, x), math.sqrt(2)),
    "broadcast": (lambda x: maxmin(lambda x: x[:, :1], lambda x: x[:, 1:], x), None),
    "two maxima": (
        lambda x: torch.cat([torch.maximum(x[:, :3], x[:, 3:]), torch.maximum(x[:, :3], x[:, 3:])], 1),
        math.sqrt(2),
    ),
    "other pairs": (
        lambda x: torch.cat(
            [torch.maximum(x[:, :3], x[:, 3:]), torch.minimum(x[:, :3], x[:, 3:].flip(1))], 1
        ),
        None,
    ),
    "scaled half": (lambda x: maxmin(lambda x: x[:, :3], lambda x: 3 * x[:, 3:], x), 3.0),
    "group of one": (lambda x: torch.cat([x[:, :, None].amax(2), x[:, :, None].amin(2)], 1), math.sqrt(2)),
    "minus the maximum": (
        lambda x: torch.cat([x.view(1, 2, 3).amax(1), -x.view(1, 2, 3).amax(1)], 1),
        math.sqrt(2),
    ),
    "minus the minimum of negatives": (
        lambda x: torch.cat([torch.maximum(x[:, :3], x[:, 3:]), -torch.minimum(-x[:, :3], -x[:, 3:])], 1),
        math.sqrt(2),
    ),
    "one negative": (
        lambda x: torch.cat([torch.maximum(x[:, :3], x[:, 3:]), -torch.maximum(-x[:, :3], x[:, 3:])], 1),
        None,
    ),
    "minus a multiple": (
        lambda x: torch.cat([x.view(1, 2, 3).amax(1), -2 * (-x.view(1, 2, 3)).amax(1)], 1),
        2.0,
    ),
    "minus and an offset": (
        lambda x: torch.cat([x.view(1, 2, 3).amax(1), 1 - (-x.view(1, 2, 3) * 2).amax(1)], 1),
        2.0,
    ),
    "other axes": (
        lambda x: torch.cat([x.view(1, 2, 3).amax(1), x.view(1, 2, 3).amin(2)], 1),
        None,
    ),
    "three parts": (
        lambda x: torch.cat(
            [torch.maximum(x[:, :3], x[:, 3:]), torch.minimum(x[:, :3], x[:, 3:]), x[:, :3]], 1
        ),
        None,
    ),
}


@pytest.mark.parametrize("name", SORTED)
def test_max_min_of_disjoint_cells_has_gain_one(name):
    graph = simplify(raw_graph(SORTED[name], 1, 6))
    assert "max_min" in op_names(graph)
    assert checked_bound(SORTED[name], graph).value == 1


@pytest.mark.parametrize("name", TWICE)
def test_slices_spelled_twice_are_one(name):
    assert checked_bound(TWICE[name], simplify(raw_graph(TWICE[name], 1, 6))).value == 1


DIFFERENT = {
    "fills": lambda x: torch.cat([F.pad(x, (1, 0), value=1.0), F.pad(x, (1, 0), value=2.0)], 1),
    "orders": lambda x: torch.cat([x[:, [0, 1, 2]], x[:, [0, 2, 1]]], 1),
    "sources": lambda x: torch.cat([x[:, :3], torch.tanh(x)[:, :3]], 1),
    "shapes": lambda x: torch.cat([x.view(1, 2, 3).sum(1), x.view(1, 3, 2).sum(2)], 1),
    "one shape, other axes": lambda x: torch.cat([x.view(1, 6).t().flatten()[:3], x[0, 3:]])[None],
    "chains": lambda x: torch.cat([x[:, 1:][:, 1:], x[:, 1:][:, :4], x[:, 1:][:, 1:]], 1),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_moves_that_differ_stay_apart(name):
    raw = raw_graph(DIFFERENT[name], 1, 6)
    points = probes((1, 6), count=2)
    assert torch.equal(merge_moves(raw).run(points), raw.run(points))
    checked_bound(DIFFERENT[name], simplify(raw))


@pytest.mark.parametrize("name", UNSORTED)
def test_max_min_without_the_premises_is_no_permutation(name):
    function, least = UNSORTED[name]
    raw = raw_graph(function, 1, 6)
    graph = sort_pairs(raw)
    assert "max_min" not in op_names(graph)
    bound = checked_bound(function, simplify(raw))
    assert least is None or bound.value >= least * (1 - 1e-15)


def test_overlapping_pairs_really_exceed_one():
    function, _ = UNSORTED["overlap"]
    assert largest_slope(Call(function), torch.tensor([[0.0, 1.0, 5.0, 5.1, -3.0, -3.1]])) > 1.4


def test_a_maximum_that_is_read_twice_keeps_its_other_reader():
    def function(x):
        top = torch.maximum(x[:, :3], x[:, 3:])
        return torch.cat([torch.cat([top, torch.minimum(x[:, :3], x[:, 3:])], 1), top], 1)

    graph = simplify(raw_graph(function, 1, 6))
    assert checked_bound(function, graph).value >= math.sqrt(2)
