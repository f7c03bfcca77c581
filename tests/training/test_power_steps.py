"""Singular vectors kept from call to call: no part of a map is ever lost, however long it was a weak one."""

from __future__ import annotations

import copy

import pytest
import torch
from oracles import spectral_norm
from torch import nn
from training_nets import linear_matrix

import lipaudit

CALLS = 200
"""A part of half the strength has vanished from a float32 vector long before."""


def told(penalty, calls):
    """Its only bound after so many calls."""
    with torch.no_grad():
        for _ in range(calls):
            penalty()
        (found,) = penalty.bounds().values()
    return float(found)


GROUPED = {
    "depthwise": lambda: (nn.Conv1d(4, 4, 3, padding=1, groups=4, bias=False), (4, 6)),
    "groups": lambda: (nn.Conv2d(4, 4, 1, groups=2, bias=False), (4, 2, 2)),
    "multiplied": lambda: (nn.Conv1d(2, 6, 3, groups=2, bias=False, padding_mode="circular"), (2, 5)),
    "transposed": lambda: (nn.ConvTranspose1d(4, 2, 3, stride=2, groups=2, bias=False), (4, 5)),
}


@pytest.mark.parametrize("kind", GROUPED)
def test_every_group_counts_as_soon_as_it_is_the_strongest(kind):
    torch.manual_seed(0)
    layer, shape = GROUPED[kind]()
    penalty = lipaudit.regularizer(layer, torch.zeros(1, *shape), bound="norm", form="sum")
    blocks = layer.weight.detach().reshape(layer.groups, -1)
    units = torch.nn.functional.normalize(blocks.clone())
    for strongest in range(layer.groups):
        scales = torch.full((layer.groups, 1), 0.1)
        scales[strongest] = 1
        blocks.copy_(units * scales)
        truth = spectral_norm(linear_matrix(copy.deepcopy(layer).double(), shape))
        assert told(penalty, 1) == pytest.approx(truth, rel=5e-2)
        assert told(penalty, CALLS) == pytest.approx(truth, rel=1e-3)


@pytest.mark.parametrize("weak", [0.5, 0.0])
@pytest.mark.parametrize("bound", ["norm", "four-way"])
def test_what_shares_no_inputs_with_the_strongest_part_comes_back(bound, weak):
    """A block diagonal matrix, and one with a block of zeros that grows later."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 6, bias=False)
    block = torch.linalg.qr(torch.randn(3, 3)).Q
    penalty = lipaudit.regularizer(layer, bound=bound, form="sum")
    for first, second in ((1.0, weak), (weak, 1.0), (1.0, weak)):
        with torch.no_grad():
            layer.weight.copy_(torch.block_diag(first * block, second * block))
        assert told(penalty, CALLS) == pytest.approx(1, rel=1e-4)


def test_pruned_filters_of_a_convolution_come_back():
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 4, 1, bias=False)
    penalty = lipaudit.regularizer(layer, torch.zeros(1, 4, 3, 3), bound="norm", form="sum")
    for scales in ((1.0, 0.4, 0.2, 0.0), (0.0, 0.4, 0.9, 0.0), (0.0, 0.0, 0.9, 1.5)):
        with torch.no_grad():
            layer.weight.copy_(torch.diag(torch.tensor(scales))[:, :, None, None])
        assert told(penalty, CALLS) == pytest.approx(max(scales), rel=1e-4)


def test_training_brings_every_channel_of_a_depthwise_convolution_down():
    torch.manual_seed(0)
    layer = nn.Conv1d(6, 6, 3, padding=1, groups=6, bias=False)
    with torch.no_grad():
        layer.weight.mul_(4)
    penalty = lipaudit.regularizer(layer, torch.zeros(1, 6, 8), bound="norm")
    told(penalty, CALLS)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        penalty().backward()
        optimizer.step()
    assert spectral_norm(linear_matrix(layer.double(), (6, 8))) < 1.1
