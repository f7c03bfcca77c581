"""A value added to itself is one factor: its norm is the factors' sum, and it folds."""

import pytest
import torch
from small_graph import bound_of, checked_bound, op_names, raw_graph, simplified
from torch import nn

from lipaudit.passes.collect_terms import collect_terms

SHAPE = (1, 2, 3)
SUMS = {
    "doubled": (lambda x: x + x, 2.0),
    "three times": (lambda x: torch.add(x, x, alpha=2), 3.0),
    "with a factor that is rounded": (lambda x: torch.add(x, x, alpha=0.1), 1.1),
    "cancelled": (lambda x: x - x, 0.0),
    "nearly cancelled": (lambda x: torch.sub(x, x, alpha=1 - 2**-30), 2**-30),
}


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_with_itself_is_a_factor(name):
    function, norm = SUMS[name]
    graph = collect_terms(raw_graph(function, *SHAPE))
    assert [len(node.inputs) for node in graph] == [1]
    bound = checked_bound(function, graph).value
    assert norm * (1 - 1e-12) <= bound <= norm * (1 + 1e-12)
    assert bound <= bound_of(raw_graph(function, *SHAPE)).value * (1 + 1e-12)


def test_it_folds_into_the_layer_before_it():
    torch.manual_seed(0)

    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(3, 4)

        def forward(self, x):
            y = self.dense(x)
            return y + y

    module = Doubled()
    graph = simplified(module, 1, 3)
    assert op_names(graph) == ["linear"]
    norm = 2 * float(torch.linalg.matrix_norm(module.dense.weight.detach().double(), 2))
    assert norm <= checked_bound(module, graph).value <= norm * (1 + 1e-9)


def test_different_values_stay_a_sum():
    graph = raw_graph(lambda x: x + x.relu(), *SHAPE)
    assert collect_terms(graph) is graph
