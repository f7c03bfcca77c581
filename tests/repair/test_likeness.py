"""Two graphs are the same if every constant is."""

from dataclasses import replace

import pytest
import torch

from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import Node, Unsupported
from lipaudit.ops.arithmetic import Affine
from lipaudit.ops.conv import Convolution
from lipaudit.ops.linear import Linear
from lipaudit.repair.likeness import differing
from lipaudit.spectral.maps import Conv


def closed_over(tensor, factor=2.0):
    def run(x):
        return factor * x + tensor

    return run


def graph(**other):
    """One op of each kind; those that are named are others."""
    ops = {
        "fc": Linear(torch.ones(3, 3).double(), torch.ones(3).double()),
        "conv": Convolution(Conv(torch.ones(1, 1, 3, 3).double(), (4, 4))),
        "scale": Affine(torch.ones(3).double(), torch.zeros(3).double()),
        "other": Unsupported("aten.foo", "no rule", closed_over(torch.ones(3).double())),
    } | other
    nodes = tuple(Node(name, op, (INPUT,), (1, 3)) for name, op in ops.items())
    return LayerGraph((1, 3), nodes, "other")


def test_a_copy_is_the_same():
    assert differing(graph(), graph()) == ()


@pytest.mark.parametrize(
    "changed",
    [
        {"fc": Linear(torch.ones(3, 3).double() + 2.0**-52, torch.ones(3).double())},
        {"fc": Linear(torch.ones(3, 3).double(), torch.ones(3).double() - 2.0**-53)},
        {"fc": Linear(torch.ones(3, 3).double())},
        {"conv": Convolution(Conv(torch.ones(1, 1, 3, 3).double(), (4, 4), padding_mode="circular"))},
        {"scale": Affine(torch.ones(3).double(), torch.tensor([0.0, 0.0, 1e-300], dtype=torch.float64))},
        {"other": Unsupported("aten.foo", "no rule", closed_over(torch.tensor([1.0, 1.0, 0.5]).double()))},
        {"other": Unsupported("aten.foo", "no rule", closed_over(torch.ones(3).double(), 3.0))},
        {"other": Unsupported("aten.foo", "no rule", lambda x: x)},
        {"more": Affine(torch.ones(3).double(), torch.zeros(3).double())},
    ],
)
def test_whatever_differs_is_named(changed):
    assert differing(graph(), graph(**changed)) == tuple(changed)
    assert differing(graph(**changed), graph()) == tuple(changed)


def test_wiring_and_output_count():
    one = graph()
    nodes = tuple(replace(node, inputs=("fc",)) if node.name == "scale" else node for node in one)
    assert differing(one, replace(one, nodes=nodes)) == ("scale",)
    assert differing(one, replace(one, output="fc")) == ("other",)


def test_slack_is_given_by_name():
    near = Affine(torch.ones(3).double(), torch.full((3,), 1e-13).double())
    assert differing(graph(), graph(scale=near), {"scale": 1e-12}) == ()
    assert differing(graph(), graph(scale=near), {"fc": 1e-12}) == ("scale",)
