"""The fit alone, against least squares by another program."""

import pytest
import torch

from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import Node, Origin
from lipaudit.ops.arithmetic import Affine
from lipaudit.ops.conv import Convolution
from lipaudit.repair.bias_fit import fit_biases
from lipaudit.repair.stored_bias import StoredBias, stretches
from lipaudit.spectral.maps import Conv

CHANNELS, SIDE = 3, 4


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def conv_and_norm(scale):
    """conv → batch norm, with a bias in front of the scale."""
    shape = (1, CHANNELS, SIDE, SIDE)
    conv = Convolution(
        Conv(random(CHANNELS, 2, 3, 3), (SIDE, SIDE), padding=[(1, 1)] * 2), random(CHANNELS, 1, 1)
    )
    norm = Affine(torch.tensor(scale).double().reshape(1, -1, 1, 1), random(1, CHANNELS, 1, 1, seed=2))
    origin = Origin("test", "")
    nodes = (Node("conv", conv, (INPUT,), shape, origin), Node("norm", norm, ("conv",), shape, origin))
    return LayerGraph((1, 2, SIDE, SIDE), nodes, "norm")


def bias_of(graph, dtype=torch.float64):
    (stretch,) = stretches(graph)
    bias = graph.node("conv").op.bias
    return StoredBias(stretch, "conv", "b", bias.flatten().to(dtype), bias.shape, stretch.gain(0))


def test_bias_and_scale_are_least_squares():
    graph, inputs = conv_and_norm([2.0, -0.5, 0.0]), random(7, 2, SIDE, SIDE, seed=3)
    weight = random(CHANNELS, 2, 3, 3) * 0.3 + 0.2 * random(CHANNELS, 2, 3, 3, seed=4)
    bias = bias_of(graph)
    assert bias.stretch.end == "norm"
    fit = fit_biases(graph, {"conv": weight}, [bias], inputs)["b"]

    def outputs(kernel, added):
        y = torch.nn.functional.conv2d(inputs, kernel, added, padding=1)
        norm = graph.node("norm").op
        return y * norm.scale + norm.shift

    old, new = outputs(graph.node("conv").op.map.weight, bias.stored), outputs(weight, bias.stored)
    # z + g∘δ − s·y = 0: columns −y and one per channel, by LAPACK.
    columns = [-old.flatten()]
    for channel in range(CHANNELS):
        column = torch.zeros_like(old)
        column[:, channel] = graph.node("norm").op.scale[0, channel, 0, 0]
        columns.append(column.flatten())
    solved = torch.linalg.lstsq(torch.stack(columns, 1), -new.flatten()[:, None], driver="gelsd").solution[
        :, 0
    ]
    assert fit.scale == pytest.approx(float(solved[0]), rel=1e-9)
    assert 0.1 < fit.scale < 0.6
    assert torch.allclose(fit.tensor - bias.stored, solved[1:], atol=1e-9)
    assert fit.tensor[2] == bias.stored[2]  # behind a factor 0 nothing can be moved


@pytest.mark.parametrize("factor", [-1.0, 0.0])
def test_what_does_not_follow_keeps_its_bias(factor):
    graph = conv_and_norm([2.0, -0.5, 1.0])
    weight, inputs = factor * random(CHANNELS, 2, 3, 3), random(7, 2, SIDE, SIDE, seed=3)
    assert fit_biases(graph, {"conv": weight}, [bias_of(graph)], inputs) == {}


def test_nothing_changed_is_nothing_fitted():
    graph = conv_and_norm([2.0, -0.5, 1.0])
    assert fit_biases(graph, {}, [bias_of(graph)], random(7, 2, SIDE, SIDE)) == {}


def test_a_bias_that_its_type_does_not_hold_stays():
    graph = conv_and_norm([1e-9, 1e-9, 1e-9])
    norm = graph.node("norm").op
    assert bool(norm.shift.any())
    weight = graph.node("conv").op.map.weight * 0.5
    # Half of the shift behind the factor would have to come from a bias of about 1e8.
    assert (
        fit_biases(graph, {"conv": weight}, [bias_of(graph, torch.float16)], random(7, 2, SIDE, SIDE)) == {}
    )


class Above:
    """x > level, a mask."""

    def __init__(self, level):
        self.level = level

    def forward(self, x):
        return x > self.level


class Chosen:
    """x where the mask is, else x/10."""

    def forward(self, mask, x):
        return torch.where(mask, x, 0.1 * x)


@pytest.mark.parametrize(("level", "scale"), [(0.0, 0.5), (0.7, 1.0)])
def test_masks_of_signs_let_a_factor_through(level, scale):
    graph = conv_and_norm([2.0, -0.5, 1.0])
    shape, origin = graph.shape_of("norm"), Origin("test", "")
    more = (
        Node("mask", Above(level), ("norm",), shape, origin),
        Node("chosen", Chosen(), ("mask", "norm"), shape, origin),
    )
    graph = LayerGraph(graph.input_shape, (*graph.nodes, *more), "chosen")
    weight = graph.node("conv").op.map.weight * 0.5
    fit = fit_biases(graph, {"conv": weight}, [bias_of(graph)], random(7, 2, SIDE, SIDE))["b"]
    assert fit.scale == pytest.approx(scale)


@pytest.mark.parametrize(("factor", "follows"), [(1e-3, True), (1e-10, True), (1e-17, False), (0.0, False)])
def test_a_tiny_scale_is_one_as_long_as_it_is_no_rounding(factor, follows):
    graph, inputs = conv_and_norm([2.0, -0.5, 1.0]), random(7, 2, SIDE, SIDE)
    fits = fit_biases(graph, {"conv": graph.node("conv").op.map.weight * factor}, [bias_of(graph)], inputs)
    assert ("b" in fits) == follows
    if follows:
        assert fits["b"].scale == pytest.approx(factor, rel=1e-4)
