"""Heads that keep the order of the logits, and heads that do not."""

import pytest
import torch
from jacobian import probes
from small_graph import bound_of, checked_bound, raw_graph

from lipaudit.passes.peel_softmax import peel_softmax

PEELED = {
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(-1),
    "sigmoid": torch.sigmoid,
    "softmax, then a view": lambda x: x.softmax(1).reshape(1, 2, 2),
}
KEPT = {
    "one entry": (lambda x: x[:, :1].softmax(1), (1, 4)),
    "each row": (lambda x: x.view(1, 2, 2).softmax(2), (1, 4)),
    "over the batch": (lambda x: x.softmax(0), (1, 4)),
    "scaled after": (lambda x: -x.softmax(1), (1, 4)),
    "permuted after": (lambda x: x.softmax(1).flip(1), (1, 4)),
    "sliced after": (lambda x: x.softmax(1)[:, 1:], (1, 4)),
    "logsumexp": (lambda x: x.logsumexp(1, keepdim=True), (1, 4)),
    "tanh": (torch.tanh, (1, 4)),
    "negated sigmoid": (lambda x: 1 - torch.sigmoid(x), (1, 4)),
}


@pytest.mark.parametrize("name", PEELED)
def test_a_last_softmax_is_peeled_and_the_order_stays(name):
    raw = raw_graph(PEELED[name], 1, 4)
    graph = peel_softmax(raw)
    assert bound_of(graph).value == 1
    assert len(graph.notes) == 1
    points = probes((1, 4), count=20)
    kept, peeled = raw.run(points).flatten(1), graph.run(points).flatten(1)
    assert torch.equal(kept.argmax(1), peeled.argmax(1))


@pytest.mark.parametrize("name", KEPT)
def test_other_heads_stay(name):
    function, shape = KEPT[name]
    graph = peel_softmax(raw_graph(function, *shape))
    assert not graph.notes
    checked_bound(function, graph)
