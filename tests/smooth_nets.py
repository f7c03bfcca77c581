"""Networks of one hidden layer with a smooth activation, in many shapes, and what is certified of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from small_graph import simplified
from torch import Tensor, nn

from lipaudit.analyze import Plan, analyze
from lipaudit.blocks import find_claims
from lipaudit.certify.curvature import PATIENT, Curvature, curvature
from lipaudit.certify.dataset import Certification, certify
from lipaudit.certify.forward_error import with_error
from lipaudit.certify.pairwise import pair_constants
from lipaudit.compose import compose
from lipaudit.data import Dataset
from lipaudit.graph.graph import LayerGraph

__all__ = ["Certified", "Scaled", "certified", "curved", "dataset", "decided", "dense_net", "smooth_net"]


class Scaled(nn.Module):
    """A diagonal map with a shift, as a preprocessing is."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(shape) / 3)
        self.register_buffer("std", torch.rand(shape) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


ACTIVATIONS = (
    lambda: nn.Softplus(1.0, 60.0),
    lambda: nn.Softplus(4.0, 60.0),
    nn.Sigmoid,
    nn.Tanh,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    lambda: nn.GELU(approximate="tanh"),
    nn.LogSigmoid,
)


def dense_net(seed: int, inputs: int = 5, units: int = 7, classes: int = 3, scale: float = 1.0) -> nn.Module:
    torch.manual_seed(seed)
    act = ACTIVATIONS[seed % len(ACTIVATIONS)]()
    net = nn.Sequential(nn.Linear(inputs, units), act, nn.Linear(units, classes)).double()
    for p in net.parameters():
        p.data.mul_(3 * scale)
    return net.requires_grad_(False)


def smooth_net(seed: int) -> tuple[nn.Module, tuple[int, ...]]:
    """One of ten shapes, and the shape of an input (leading 1 included)."""
    torch.manual_seed(seed)
    act = ACTIVATIONS[seed // 10 % len(ACTIVATIONS)]()
    linear, conv = nn.Linear, nn.Conv2d
    kinds = (
        lambda: ((5,), linear(5, 7), act, linear(7, 3)),
        lambda: ((2, 4, 4), conv(2, 3, 3, padding=1), act, nn.Flatten(), linear(48, 4)),
        lambda: ((1, 6, 6), conv(1, 4, 3, stride=2), act, nn.AvgPool2d(2), nn.Flatten(), linear(4, 3)),
        lambda: (
            (2, 4, 4),
            conv(2, 4, 3, padding=1, padding_mode="circular"),
            nn.BatchNorm2d(4),
            act,
            nn.Flatten(),
            linear(64, 3),
        ),
        lambda: ((1, 5, 5), Scaled(1), nn.Flatten(), linear(25, 6), act, linear(6, 1)),
        lambda: (
            (2, 5, 5),
            conv(2, 4, 3, padding=2, groups=2, dilation=2),
            act,
            nn.Flatten(),
            linear(100, 3),
        ),
        lambda: ((6,), linear(6, 5), linear(5, 8), act, linear(8, 4), linear(4, 2)),
        lambda: ((3, 3, 3), nn.ConvTranspose2d(3, 2, 3, stride=2), act, nn.Flatten(), linear(98, 3)),
        lambda: ((1, 5, 5), nn.ReflectionPad2d(1), conv(1, 3, 3, stride=2), act, nn.Flatten(), linear(27, 3)),
        lambda: ((4,), act, linear(4, 3)),
    )
    shape, *parts = kinds[seed % 10]()
    net = nn.Sequential(*parts)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.3, 2.0)
            module.weight.data.normal_()
    for p in net.parameters():
        p.data.mul_(2.0)
    return net.double().eval().requires_grad_(False), (1, *shape)


@dataclass(frozen=True)
class Certified:
    """What is certified, with the curvature and without."""

    graph: LayerGraph
    bent: Curvature
    plain: Certification
    both: Certification
    patient: Certification


def curved(net: nn.Module, shape: tuple[int, ...]) -> tuple[LayerGraph, Curvature | None]:
    graph = simplified(net, *shape)
    layers = analyze(graph)
    return graph, curvature(graph, layers, compose(graph, layers))


def dataset(images: Tensor, labels: Tensor) -> Dataset:
    indices = torch.arange(len(images))
    return Dataset("test", images, labels, indices, len(images), "the file's own units", "0" * 64, None)


def decided(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        z = net(x)
    return (z[:, 0] > 0).long() if z.shape[1] == 1 else z.argmax(1)


def certified(net: nn.Module, images: Tensor) -> Certified:
    """Every image with the network's own answer as its label."""
    graph = simplified(net, 1, *images.shape[1:])
    plan = Plan()
    layers = analyze(graph, plan)
    bound = compose(graph, layers, find_claims(graph, layers, plan))
    constants = pair_constants(graph, bound)
    data = dataset(images, decided(net, images))
    with torch.no_grad():
        bent = curvature(graph, layers, bound)
    assert bent is not None
    several = [None, bent, replace(bent, search=PATIENT)]
    runs = [certify(graph, layers, data, constants, claims=bound.claims, bent=b) for b in several]
    return Certified(graph, bent, *runs)


def evaluated(graph: LayerGraph):
    return torch.vmap(lambda x: with_error(graph, analyze(graph))(x.unsqueeze(0)))


def cells(shape: tuple[int, ...]) -> int:
    return math.prod(shape)
