"""Shares of a bound: their product is what was asked for, and no other shares lose less."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.repair.budget import SHARES, losses, shared
from lipaudit.spectral import Conv, Dense

convex = st.lists(st.floats(0, 1), min_size=1, max_size=4).map(
    lambda slopes: [[slope * -math.log(share) for share in SHARES] for slope in slopes]
)


@given(costs=convex, factor=st.floats(1e-4, 0.999))
def test_the_shares_multiply_to_the_factor(costs, factor):
    found = shared(costs, factor)
    assert math.prod(found) == pytest.approx(factor)
    assert all(0 < share <= 1 for share in found)


def test_no_shares_on_a_grid_lose_less():
    costs = [[(1 - s) ** 2 for s in SHARES], [0.1 * (1 - s) for s in SHARES], [-math.log(s) for s in SHARES]]

    def lost(shares):
        total = 0.0
        for share, cost in zip(shares, costs, strict=True):
            places = [-math.log(s) for s in SHARES]
            depth = -math.log(share)
            right = next(i for i, p in enumerate(places) if p >= depth - 1e-12)
            left = max(0, right - 1)
            width = places[right] - places[left] or 1.0
            total += cost[left] + (cost[right] - cost[left]) * (depth - places[left]) / width
        return total

    best = lost(shared(costs, 0.25))
    grid = [k / 24 * math.log(4) for k in range(25)]
    for a, b in itertools.product(grid, grid):
        rest = math.log(4) - a - b
        if rest >= 0:
            assert lost([math.exp(-a), math.exp(-b), math.exp(-rest)]) >= best - 0.02


def test_what_the_data_do_not_meet_costs_nothing():
    dense = Dense(torch.diag(torch.tensor([10.0, 1, 1, 1])))
    samples = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    samples[:, 0] = 0
    seen = losses(dense, 10.0, "fastclip", samples)
    blind = losses(dense, 10.0, "fastclip", None)
    assert seen[SHARES.index(0.15)] < 1e-20
    assert blind[SHARES.index(0.15)] > 0.5
    assert losses(dense, 10.0, "rescaling", samples)[SHARES.index(0.5)] == 0.25


def test_losses_without_data_are_those_of_the_matrix():
    conv = Conv(torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1)), 6, padding=1)
    norm = float(torch.linalg.matrix_norm(conv.as_matrix(), 2))
    found = losses(conv, norm, "fastclip", None)
    assert found == sorted(found)
    assert found[0] == 0
    assert 0 < found[-1] < 1


def test_layers_that_lose_less_pay_first():
    cheap, dear = [0.01 * (1 - s) for s in SHARES], [10 * (1 - s) for s in SHARES]
    found = shared([dear, cheap], 0.5)
    assert found[0] == pytest.approx(1)
    assert found[1] == pytest.approx(0.5)
    deep = shared([dear, cheap], SHARES[-1] ** 2 / 4)
    assert deep == pytest.approx([SHARES[-1] / 2] * 2), "beyond what was measured all shrink alike"
