"""Computed weights are written down as torch computes them, or refused where they have no one value."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

from lipaudit.errors import InputRefused
from lipaudit.load.freeze import freeze, is_computed


class Double(nn.Module):
    def forward(self, weight):
        return 2 * weight


class Noise(nn.Module):
    def forward(self, weight):
        return weight + torch.rand_like(weight)


class Count(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, weight):
        self.calls += 1
        return weight * self.calls


class OnlyTraining(nn.Module):
    def forward(self, weight):
        return weight + torch.rand_like(weight) if self.training else weight


def chained():
    layer = parametrizations.spectral_norm(parametrizations.weight_norm(nn.Linear(4, 3)))
    parametrize.register_parametrization(layer, "weight", Double())
    return layer


def old(*wraps):
    layer = nn.Linear(4, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for wrap in wraps:
            layer = wrap(layer)
    return layer


def registered(parametrization, layer=None):
    layer = nn.Linear(4, 3) if layer is None else layer
    parametrize.register_parametrization(layer, "weight", parametrization)
    return layer


LAYERS = {
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(4, 3)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(4, 3)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(4, 3)),
    "orthogonal by exponentials": lambda: parametrizations.orthogonal(
        nn.Linear(4, 4), orthogonal_map="matrix_exp"
    ),
    "chained": chained,
    "old spectral norm": lambda: old(spectral_norm),
    "old weight norm": lambda: old(weight_norm),
    "convolution": lambda: parametrizations.weight_norm(nn.Conv2d(1, 2, 3), dim=1),
    "double": lambda: registered(Double()),
    "quiet in eval mode": lambda: registered(OnlyTraining()),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_weight_stays(name):
    torch.manual_seed(0)
    layer = LAYERS[name]()
    x = torch.randn(5, 1, 6, 6) if isinstance(layer, nn.Conv2d) else torch.randn(5, 4)
    layer(x)  # a step of power iteration, if any
    layer.eval()
    with torch.no_grad():
        expected, notes = layer(x), []
        assert is_computed(layer)
        freeze(layer, notes)
        assert not is_computed(layer)
        torch.testing.assert_close(layer(x), expected)
        assert torch.equal(layer(x), layer(x))
    assert "parametrised weights" in notes[0]


def test_a_shared_module_is_frozen_once():
    layer = LAYERS["weight norm"]()
    notes = []
    freeze(nn.Sequential(layer, nn.ReLU(), layer).eval(), notes)
    assert notes[0].startswith("1 parametrised")


@pytest.mark.parametrize("part", [Noise(), Count()], ids=["noise", "counter"])
def test_a_weight_without_one_value_is_refused(part):
    with torch.no_grad(), pytest.raises(InputRefused, match=r"'weight' in a .*Linear gives another weight"):
        freeze(registered(part).eval(), [])
