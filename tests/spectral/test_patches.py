"""Patches: bounds of maps with irregular borders, judged by the whole map's singular values."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from oracles import dominates, spectral_norm
from strategies import convolutions, random_convolution
from zoo import HIGH_PASS, delta, normal, ones

from lipaudit.errors import NotCovered
from lipaudit.spectral import Conv, bracket, patches, supremum
from lipaudit.spectral.banded import Axis
from lipaudit.spectral.method import Effort
from lipaudit.spectral.partition import Interior, pieces_of

PATCHES = patches.METHOD
ORACLE_ERROR = 1e-12
MODES = ("reflect", "replicate", "circular")


@pytest.fixture(params=[1, 2, 3, 5], ids=lambda steps: f"{steps} steps")
def steps(request, monkeypatch):
    """Patches of one size only, however small."""
    monkeypatch.setattr(patches, "STEPS", (request.param,))
    return request.param


def irregular(rng, **limits):
    """A random convolution with another padding than zeros."""
    while True:
        recipe = random_convolution(rng, **limits)
        if recipe.padding_mode != "zeros":
            return recipe


def test_random_maps_cut_in_every_size(steps):
    rng, covered = random.Random(steps), 0
    while covered < 10:
        recipe = irregular(rng, largest=14)
        try:
            found = PATCHES.bound(recipe.conv).value
        except NotCovered:
            continue
        covered += 1
        assert found >= spectral_norm(recipe.matrix) * (1 - ORACLE_ERROR), recipe


@pytest.mark.slow
def test_many_random_maps_cut_in_every_size(steps):
    rng = random.Random(100 + steps)
    for _ in range(250):
        recipe = irregular(rng, largest=14)
        try:
            found = PATCHES.bound(recipe.conv).value
        except NotCovered:
            continue
        assert found >= spectral_norm(recipe.matrix) * (1 - ORACLE_ERROR), recipe


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.filter_too_much])
@given(convolutions(largest=9, channels=1))
def test_bounds_dominate_in_exact_arithmetic(recipe):
    assume(recipe.padding_mode != "zeros" and math.prod(recipe.image) * recipe.weight.numel() <= 120)
    try:
        found = PATCHES.bound(recipe.conv).value
    except NotCovered:
        return
    assert dominates(found, recipe.exact_matrix)


ADVERSARIES = {
    "averages": ones(1, 1, 3, 3) / 9,
    "corner tap": torch.nn.functional.pad(ones(1, 1, 1, 1), (0, 2, 0, 2)),
    "two far taps": torch.tensor([[[[1.0, 0, 0], [0, 0, 0], [0, 0, 1.0]]]]).double(),
    "difference": torch.tensor([[[[0.0, 0, 0], [-1, 0, 1], [0, 0, 0]]]]).double(),
    "high pass": HIGH_PASS,
    "alternating": ones(1, 1, 3, 3) * torch.tensor([1.0, -1.0, 1.0]).double(),
    "orthogonal": delta(4, 3, 3),
    "skew": torch.tensor([[[[1.0, 2, 3], [4, 5, 6], [7, 8, -9]]]]).double(),
    "random": normal(3, 2, 3, 3),
}


WORST = ("skew",)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", WORST)
def test_adversaries(name, mode, steps):
    check_adversary(name, mode, steps)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [name for name in ADVERSARIES if name not in WORST])
def test_more_adversaries(name, mode, steps):
    check_adversary(name, mode, steps)


def check_adversary(name, mode, steps):
    weight = ADVERSARIES[name]
    pads = 1 if mode != "circular" else [(2, 1), (1, 2)]
    for n in (7, 12):
        conv = Conv(weight, n, padding=pads, padding_mode=mode)
        try:
            found = PATCHES.bound(conv).value
        except NotCovered:
            continue
        assert found >= spectral_norm(conv.as_matrix()) * (1 - ORACLE_ERROR)
    assert n > 2 * steps  # the larger image is cut


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_pieces_are_a_partition_of_the_axis(mode, k, size):
    """Border and interior pieces hold every cell, and give back each read with the weight it deserves."""
    n, pad = 24, k // 2 + 1
    conv = Conv(ones(1, 1, k), n, padding=[(pad, pad)], padding_mode=mode, stride=1)
    *borders, interior = pieces_of(conv, 0, size)
    assert isinstance(interior, Interior)
    assert len(borders) == (1 if mode == "circular" else 2)
    for border in borders:
        assert isinstance(border, Axis)
        assert bool(((border.weights >= 1) & (border.weights <= 2**0.5 * (1 + 1e-15))).all())
        assert int(border.cells.max()) == border.size - 1
    irregular_cells = {"reflect": 2 * pad, "replicate": 2, "circular": 2 * pad}[mode]
    extra = 2 if mode == "reflect" else 0  # the border cells themselves are not copied
    assert sum(b.size for b in borders) == irregular_cells + extra + 2 * (size - 1)
    assert max(interior.excess) <= 2**0.5 - 1 + 1e-15
    assert (max(interior.excess) > 0) == (k > 1)


def test_weights_shrink_with_the_square_of_the_size():
    conv = Conv(ones(1, 1, 3), 400, padding=1, padding_mode="reflect")
    excess = [max(pieces_of(conv, 0, steps)[-1].excess) for steps in (8, 16, 32, 64)]
    for larger, smaller in itertools.pairwise(excess):
        assert larger / smaller == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize(
    ("conv", "slack"),
    [
        (Conv(normal(8, 8, 3, 3), 32, padding=1, padding_mode="reflect"), 1.02),
        (Conv(normal(8, 8, 3, 3), 40, padding=1, padding_mode="replicate"), 1.02),
        (Conv(normal(8, 8, 3, 3), 33, padding=1, stride=2, padding_mode="circular"), 1.02),
        (Conv(normal(8, 8, 3, 3), 32, padding=[(2, 2)] * 2, padding_mode="circular"), 1.02),
        (Conv(normal(8, 3, 7, 7), 64, padding=3, stride=2, padding_mode="reflect"), 1.04),
        (Conv(normal(8, 8, 5), 4000, padding=2, padding_mode="reflect"), 1.005),
        (Conv(normal(16, 1, 3, 3), 64, padding=1, groups=16, padding_mode="reflect"), 1.01),
    ],
    ids=[
        "reflect",
        "replicate",
        "circular, s∤n",
        "over-padded",
        "first layer",
        "signal",
        "depthwise",
    ],
)
def test_a_few_per_cent_where_copies_lose_a_factor(conv, slack):
    found = bracket(conv, "patches")
    assert found.slack < slack
    assert supremum.METHOD.bound(conv).value > 1.15 * found.above.value


def test_the_cost_does_not_grow_with_the_image(monkeypatch):
    monkeypatch.setattr(patches, "STEPS", (6,))
    small, large = (Conv(normal(8, 8, 3, 3), n, padding=1, padding_mode="reflect") for n in (200, 2000))
    assert PATCHES.cost(small) == PATCHES.cost(large) < 1e12
    assert PATCHES.bound(small).value == PATCHES.bound(large).value


def test_little_memory_only_means_smaller_batches(monkeypatch):
    monkeypatch.setattr(patches, "STEPS", (2,))
    monkeypatch.setattr(patches, "POINTS_PER_DEGREE", 4)
    conv = Conv(normal(6, 2, 3, 3), 12, padding=1, groups=3, padding_mode="reflect")
    usual = PATCHES.bound(conv).value
    for memory in (10**6, 2 * 10**5):
        found = PATCHES.bound(conv, effort=Effort(memory=memory)).value
        assert found >= spectral_norm(conv.as_matrix()) * (1 - ORACLE_ERROR)
        assert found <= usual * 1.2


def test_one_regular_axis_stays_whole_and_endless():
    conv = Conv(normal(3, 3, 3, 3), (16, 9), padding=[(1, 1), (0, 0)], padding_mode="reflect")
    found = bracket(conv, "patches")
    assert found.above.value >= spectral_norm(conv.as_matrix()) * (1 - ORACLE_ERROR)
    assert found.slack < 1.1


@pytest.mark.slow
def test_three_axes():
    conv = Conv(normal(2, 2, 3, 3, 3), 9, padding=1, padding_mode="replicate")
    assert PATCHES.bound(conv).value >= spectral_norm(conv.as_matrix()) * (1 - ORACLE_ERROR)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_slices_of_the_kernel_may_be_tiny(scale):
    weight = normal(2, 2, 3, 3) * torch.tensor([1e-200, 1.0, 1e-160]).double()
    conv = Conv(weight * scale, 12, padding=1, padding_mode="reflect")
    truth = spectral_norm(conv.as_matrix())
    assert truth * (1 - ORACLE_ERROR) <= PATCHES.bound(conv).value <= truth * 1.1
    weight[..., 0] = 0.0
    conv = Conv(weight * scale, 12, padding=1, padding_mode="reflect")
    assert PATCHES.bound(conv).value >= spectral_norm(conv.as_matrix()) * (1 - ORACLE_ERROR)


@pytest.mark.parametrize("start", [0.1, 1 - 1e-12, 1.0, 1.3])
def test_proposals_of_every_quality(start):
    conv = Conv(normal(2, 2, 3, 3), 24, padding=1, padding_mode="reflect")
    truth = spectral_norm(conv.as_matrix())
    found = PATCHES.bound(conv, truth * start).value
    assert truth * (1 - ORACLE_ERROR) <= found <= truth * max(1.1, start * (1 + 1e-6))


@pytest.mark.parametrize(
    ("conv", "why"),
    [
        (Conv(normal(2, 2, 3), 20, padding=1), "no border"),
        (Conv(normal(2, 2, 3), 20, padding_mode="reflect"), "no border"),
        (Conv(normal(2, 2, 3), 4, padding=3, padding_mode="reflect"), "too small"),
        (Conv(normal(2, 2, 3), 20, padding=1, padding_mode="circular"), "fft"),
        (Conv(normal(4000, 4000, 1, 1), 60, padding=1, padding_mode="reflect"), "too large"),
    ],
    ids=["zeros", "valid", "small", "block-circulant", "channels"],
)
def test_what_is_not_covered(conv, why):
    with pytest.raises(NotCovered, match=why):
        PATCHES.bound(conv)


@pytest.mark.slow
def test_sixty_four_channels_at_56():
    conv = Conv(normal(64, 64, 3, 3), 56, padding=1, padding_mode="reflect")
    assert math.isfinite(PATCHES.cost(conv))
    assert bracket(conv, "patches").slack < 1.04
