"""Softplus as torch's exporter writes it, and what only looks like it."""

import pytest
import torch
from small_graph import bounded, raw_graph, simplified
from torch.nn import functional as F  # noqa: N812 - torch's own convention


def op_names(function):
    return [node.op.name for node in simplified(function, 1, 3)]


@pytest.mark.parametrize("limit", [14.0, 20.0, 30.0])
def test_a_guarded_softplus_is_one_activation(limit):
    def guarded(x):
        return torch.where(x > limit, x, F.softplus(x))

    graph = simplified(guarded, 1, 3)
    assert [node.op.name for node in graph] == ["softplus"]
    assert graph.nodes[0].op.parameters[0] == 1.0
    x = torch.tensor([[limit - 1e-9, limit + 1e-9, -3.0]], dtype=torch.float64)
    off = (graph.run(x)[0] - guarded(x)).norm()
    size = torch.linalg.vector_norm(x)
    assert off <= graph.nodes[0].op.error(((1, 3),), (size,), size)
    assert bounded(graph).total.value == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.where(x > 13.0, x, F.softplus(x)),
        lambda x: torch.where(x > 20.0, F.softplus(x), x),
        lambda x: torch.where(x < 20.0, x, F.softplus(x)),
        lambda x: torch.where(torch.tensor(20.0, dtype=x.dtype) > x, x, F.softplus(x)),
        lambda x: torch.where(x > 20.0, 2 * x, F.softplus(x)),
        lambda x: torch.where(2 * x > 40.0, x, F.softplus(3 * x)),
        lambda x: torch.where(x > 20.0, x, torch.relu(x)),
        lambda x: torch.where(x > torch.tensor([20.0, 1.0, 2.0], dtype=x.dtype), x, F.softplus(x)),
        lambda x: torch.where(x.flip(1) > 20.0, x, F.softplus(x)),
    ],
)
def test_what_only_looks_like_it_is_left(function):
    assert op_names(function) != ["softplus"]
    x = torch.linspace(-40, 40, 24, dtype=torch.float64).reshape(8, 3)
    graph = raw_graph(function, 1, 3)
    assert torch.equal(simplified(function, 1, 3).run(x), graph.run(x))
