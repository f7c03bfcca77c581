"""No attack changes a class inside a radius; the program's own attacks find planted falsehoods."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from networks import MaxMin, random_network
from small_graph import simplified
from torch import nn

from lipaudit.analyze import analyze
from lipaudit.bound import Bracket
from lipaudit.certify.attack import Ascent, ascend, attack_balls
from lipaudit.certify.dataset import certify
from lipaudit.certify.forward_error import with_error
from lipaudit.certify.pairwise import pair_constants
from lipaudit.compose import compose
from lipaudit.data import Dataset
from lipaudit.errors import Falsified, Incomplete
from lipaudit.graph.node import Gain, Unsupported


def dataset(images, labels):
    indices = torch.arange(len(images))
    return Dataset("test", images, labels, indices, len(images), "the file's own units", "0" * 64, None)


def certified(graph, images, labels):
    layers = analyze(graph)
    constants = pair_constants(graph, compose(graph, layers))
    return certify(graph, layers, dataset(images, labels), constants), with_error(graph, layers)


def plane_network(seed):
    """From the plane to a few classes."""
    torch.manual_seed(seed)
    width = [2, 6, 8][seed % 3]
    middle = [nn.ReLU(), MaxMin(1), nn.Tanh(), nn.GELU(), nn.LeakyReLU(-0.5)][seed % 5]
    parts = [nn.Linear(2, width), middle, nn.Linear(width, 1 + seed % 4)]
    if seed % 2 and seed % 4:
        parts.append(nn.Softmax(1))
    module = nn.Sequential(*parts).double()
    for p in module.parameters():
        p.data.mul_(1 + seed % 3)
    return module


def decided(module, x):
    """The class of each row, and whether it is decided by more than rounding."""
    with torch.no_grad():
        z = module(x)
    if z.shape[1] == 1:
        return (z[:, 0] > 0).long(), z[:, 0].abs() > 1e-12
    top = z.topk(2, dim=1).values
    return z.argmax(1), top[:, 0] - top[:, 1] > 1e-12


@pytest.mark.parametrize("seed", range(24))
def test_no_point_of_the_plane_inside_a_radius_has_another_class(seed):
    module = plane_network(seed)
    images = 2 * torch.randn(40, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels, _ = decided(module[:3], images)
    run, _ = certified(simplified(module, 1, 2), images, labels)
    angles = torch.linspace(0, 2 * math.pi, 121, dtype=torch.float64)
    circle = torch.stack([angles.cos(), angles.sin()], 1)
    assert bool((run.radii.radius > 0).any()) or seed % 4 == 0
    for image, label, radius in zip(images, labels, run.radii.radius, strict=True):
        if not 0 < radius < math.inf:
            continue
        for share in (0.5, 0.9, 1 - 1e-12):
            predicted, clear = decided(module[:3], image + share * radius * circle)
            assert bool((predicted[clear] == label).all())


def test_the_radius_of_a_linear_classifier_is_the_distance_to_its_boundary():
    torch.manual_seed(0)
    module = nn.Linear(3, 4).double()
    images = torch.randn(20, 3, dtype=torch.float64)
    labels = module(images).argmax(1)
    run, _ = certified(simplified(module, 1, 3), images, labels)
    for image, label, radius in zip(images, labels, run.radii.radius, strict=True):
        z, w = module(image).detach(), module.weight.detach()
        gaps = [(z[label] - z[j]) / (w[label] - w[j]).norm() for j in range(4) if j != label]
        assert float(radius) == pytest.approx(float(min(gaps)), rel=1e-9)
        assert float(radius) <= float(min(gaps)) * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(200, 212))
def test_random_networks_resist_their_own_attack(seed):
    module, shape = random_network(seed)
    graph = simplified(module, *shape)
    images = torch.randn(30, *shape[1:], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    classes = graph.run(images).flatten(1)
    labels = classes.argmax(1) if classes.shape[1] > 1 else (classes[:, 0] > 0).long()
    run, evaluate = certified(graph, images, labels)
    good = (run.radii.radius > 0) & torch.isfinite(run.radii.radius)
    found, hits = attack_balls(evaluate, images[good], labels[good], run.radii.radius[good], 20)
    assert hits == []
    assert found.samples == int(good.sum())


def test_inflated_radii_are_broken():
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    images = torch.randn(20, 3, dtype=torch.float64)
    labels = module(images).argmax(1)
    run, evaluate = certified(simplified(module, 1, 3), images, labels)
    assert attack_balls(evaluate, images, labels, run.radii.radius, 20)[1] == []
    assert len(attack_balls(evaluate, images, labels, 30 * run.radii.radius, 20)[1]) > 3


def test_one_logit_is_attacked_towards_its_sign():
    module = nn.Linear(2, 1, bias=False).double()
    images = torch.tensor([[1.0, 0.5], [-1.0, 0.3]], dtype=torch.float64)
    labels = (module(images)[:, 0] > 0).long()
    run, evaluate = certified(simplified(module, 1, 2), images, labels)
    assert attack_balls(evaluate, images, labels, run.radii.radius, 20)[1] == []
    assert attack_balls(evaluate, images, labels, run.radii.radius * 1.01, 20)[1] == [0, 1]


@dataclass(frozen=True, slots=True, eq=False)
class Liar:
    """An op that promises half of its gain."""

    op: object

    @property
    def name(self):
        return "liar"

    def forward(self, *xs):
        return self.op.forward(*xs)

    def gain(self, shapes, spectral):
        (bound,) = self.op.gain(shapes, spectral).per_input
        return Gain.of(0.5 * bound.value, "lie")

    def error(self, shapes, norms, out):
        return self.op.error(shapes, norms, out)


def lying(graph, index):
    nodes = list(graph.nodes)
    nodes[index] = replace(nodes[index], op=Liar(nodes[index].op))
    return replace(graph, nodes=tuple(nodes))


@pytest.mark.parametrize("module", [nn.Linear(4, 3), nn.Conv2d(1, 2, 3, padding=1)], ids=["linear", "conv2d"])
def test_ascent_refutes_a_bound_that_is_too_small(module):
    torch.manual_seed(4)
    shape = (1, 4) if isinstance(module, nn.Linear) else (1, 1, 5, 5)
    graph = lying(simplified(module.double(), *shape), 0)
    layers = tuple(replace(layer, lower=None) for layer in analyze(graph))
    bound = compose(graph, layers).total
    points = torch.rand(3, *shape[1:], dtype=torch.float64)
    below = ascend(with_error(graph, layers), points, Ascent())
    with pytest.raises(Falsified):
        Bracket(bound, below)


def test_an_attack_refutes_radii_from_a_gain_that_is_too_small():
    torch.manual_seed(5)
    module = nn.Linear(2, 2, bias=False).double()
    graph = lying(simplified(module, 1, 2), 0)
    images = torch.randn(10, 2, dtype=torch.float64)
    labels = module(images).argmax(1)
    run, evaluate = certified(graph, images, labels)
    # The liar hides the rows of its weight: half of √2·L may still be above a pair's true constant.
    _, hits = attack_balls(evaluate, images, labels, 3 * run.radii.radius, 20)
    assert hits


def test_ascent_reaches_the_norm_of_a_linear_map():
    torch.manual_seed(6)
    graph = simplified(nn.Linear(5, 4).double(), 1, 5)
    layers = analyze(graph)
    below = ascend(with_error(graph, layers), torch.rand(2, 5, dtype=torch.float64), Ascent(30, 0))
    bound = compose(graph, layers).total.value
    assert 0.999 * bound <= below.value <= bound


def test_certification_does_not_depend_on_how_samples_are_split(monkeypatch):
    torch.manual_seed(7)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3)).double()
    images = torch.randint(0, 256, (23, 1, 5, 5), dtype=torch.uint8)
    labels = torch.randint(0, 3, (23,))
    graph = simplified(module, 1, 1, 5, 5)
    whole, _ = certified(graph, images, labels)
    monkeypatch.setattr("lipaudit.certify.dataset.CHUNK_CELLS", 200)
    seen = []
    layers = analyze(graph)
    constants = pair_constants(graph, compose(graph, layers))
    split = certify(graph, layers, dataset(images, labels), constants, seen.append)
    assert sum(len(part.radius) for part in seen) == 23
    assert len(seen) > 1
    torch.testing.assert_close(split.radii.radius, whole.radii.radius, rtol=1e-12, atol=0)
    assert torch.equal(split.radii.predicted, whole.radii.predicted)


def test_a_network_that_cannot_run_is_incomplete():
    graph = simplified(nn.Linear(2, 2).double(), 1, 2)
    broken = replace(graph.nodes[0], op=Unsupported("aten.mystery.default", "unknown"))
    graph = replace(graph, nodes=(broken,))
    with pytest.raises(Incomplete, match="mystery"):
        certified(graph, torch.zeros(1, 2, dtype=torch.float64), torch.zeros(1, dtype=torch.int64))
