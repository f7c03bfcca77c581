"""Layers keep their names: a budget, a waiver or a baseline on a layer means this very layer.

The networks consist of layers with norms of their own, so that a number under a neighbour's name is seen.
"""

import math
from fractions import Fraction

import pytest
import torch
from networks import random_network
from sample_kind import Call
from small_graph import raw_graph
from torch import nn

from lipaudit.analyze import analyze
from lipaudit.data.layer_zero import prepend
from lipaudit.load.preprocessing import Preprocessing
from lipaudit.ops.activation import Elementwise
from lipaudit.ops.arithmetic import Affine
from lipaudit.ops.conv import Convolution
from lipaudit.ops.linear import Linear
from lipaudit.ops.shape import Relayout
from lipaudit.passes import simplify

STD = Fraction(1, 4)
PLAIN = Preprocessing()
NORMALIZED = Preprocessing(mean=(Fraction(1, 2),), std=(STD,))
IMAGE = (1, 2, 4, 4)


def scaled(layer, factor):
    layer.weight.data *= factor
    return layer


class Parts(nn.Module):
    """Modules one after the other, by name."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        for part in self.children():
            x = part(x)
        return x


def batch_norm(channels, factor):
    layer = nn.BatchNorm2d(channels)
    layer.running_var.copy_(torch.rand(channels) + 0.5)
    layer.running_mean.copy_(torch.rand(channels))
    layer.weight.data = factor * (1 + torch.rand(channels))
    return layer


def swapped():
    return Call(lambda x: x.permute(0, 2, 3, 1))


NETWORKS = {
    "flat first": lambda: Parts(
        flat=nn.Flatten(), fc1=scaled(nn.Linear(32, 8), 2), act=nn.ReLU(), fc2=scaled(nn.Linear(8, 4), 5)
    ),
    "several moves first": lambda: Parts(
        permuted=swapped(),
        squeezed=nn.Flatten(2),
        flat=nn.Flatten(),
        fc1=scaled(nn.Linear(32, 8), 2),
        act=nn.ReLU(),
        fc2=scaled(nn.Linear(8, 4), 5),
    ),
    "convolutions": lambda: Parts(
        conv1=scaled(nn.Conv2d(2, 3, 3, padding=1), 3),
        act1=nn.ReLU(),
        conv2=scaled(nn.Conv2d(3, 2, 3), 7),
        act2=nn.ReLU(),
        flat=nn.Flatten(),
        fc=scaled(nn.Linear(8, 4), 11),
    ),
    "batch norm behind": lambda: Parts(
        conv1=scaled(nn.Conv2d(2, 3, 3, padding=1), 3),
        bn1=batch_norm(3, 2),
        act1=nn.ReLU(),
        conv2=scaled(nn.Conv2d(3, 2, 3), 7),
        bn2=batch_norm(2, 0.5),
        flat=nn.Flatten(),
        fc=scaled(nn.Linear(8, 4), 11),
    ),
    "batch norm before": lambda: Parts(
        bn=batch_norm(2, 3),
        permuted=swapped(),
        squeezed=nn.Flatten(2),
        flat=nn.Flatten(),
        fc1=scaled(nn.Linear(32, 8), 2),
        act=nn.ReLU(),
        fc2=scaled(nn.Linear(8, 4), 5),
    ),
    "names of patterns": lambda: nn.Sequential(
        nn.Flatten(1), nn.Flatten(1), scaled(nn.Linear(32, 8), 2), nn.ReLU(), scaled(nn.Linear(8, 4), 5)
    ),
}
FOLDED = {
    "batch norm behind": {"conv1": ["conv1", "bn1"], "conv2": ["conv2", "bn2"]},
    "batch norm before": {"fc1": ["bn", "permuted", "squeezed", "flat", "fc1"]},
}
"""What a layer's number is of, where that is more than the layer."""
KINDS = {
    nn.Linear: Linear,
    nn.Conv2d: Convolution,
    nn.Flatten: Relayout,
    Call: Relayout,
    nn.ReLU: Elementwise,
}


def norm(function, *shape):
    """‖f‖ of an affine map, from a dense decomposition."""
    point = torch.zeros(shape, dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(function, point).reshape(-1, math.prod(shape))
    return float(torch.linalg.matrix_norm(matrix, 2))


def shape_before(parts, name):
    x = torch.zeros(IMAGE, dtype=torch.float64)
    for label, part in parts.items():
        if label == name:
            break
        x = part(x)
    return x.shape


@pytest.mark.parametrize("preprocessing", [PLAIN, NORMALIZED], ids=["plain", "normalized"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_number_stands_under_its_layers_name(name, preprocessing):
    torch.manual_seed(11)
    module = NETWORKS[name]().double().eval()
    parts = dict(module.named_children())
    graph = simplify(prepend(raw_graph(module, *IMAGE), preprocessing, None, "chw"))
    found = {layer.node.name: layer for layer in analyze(graph)}
    weighted = [label for label, part in parts.items() if isinstance(part, nn.Linear | nn.Conv2d)]
    assert set(weighted) <= set(found)
    for label, layer in found.items():
        assert isinstance(layer.node.op, KINDS[type(parts[label])]), label
        if label not in weighted:
            assert layer.upper.value == 1.0
            continue
        chain = FOLDED.get(name, {}).get(label, [label])
        wanted = norm(nn.Sequential(*(parts[step] for step in chain)), *shape_before(parts, chain[0]))
        if label == weighted[0] and preprocessing is NORMALIZED:
            wanted /= float(STD)
        assert wanted * (1 - 1e-12) <= layer.upper.value <= wanted * (1 + 1e-5), label


@pytest.mark.parametrize("seed", range(0, 12, 2))
def test_what_is_still_of_its_kind_is_still_the_layer_of_that_name(seed):
    module, shape = random_network(seed)
    raw = prepend(raw_graph(module, *shape), NORMALIZED, None, "chw")
    for node in simplify(raw):
        was = raw.node(node.name)
        assert was is not None
        assert was.origin == node.origin
        if isinstance(node.op, Linear | Convolution | Affine):
            assert type(was.op) is type(node.op), node.name


@pytest.mark.parametrize("factor_first", [False, True])
def test_a_batch_norm_with_a_factor_beside_it_keeps_its_name(factor_first):
    pair = {"b": batch_norm(2, 5), "mul": Call(lambda x: 21 * x)}
    pair = dict(reversed(pair.items())) if factor_first else pair
    graph = simplify(raw_graph(Parts(act1=nn.ReLU(), **pair, act2=nn.ReLU()), *IMAGE))
    (node,) = (node for node in graph if isinstance(node.op, Affine))
    assert (node.name, node.op.name) == ("b", "batch_norm")
