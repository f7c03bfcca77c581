"""Random maps in bulk, against the dense singular values: every method, every estimate."""

from __future__ import annotations

import math
import random

import pytest
import torch
from oracles import spectral_norm
from strategies import random_convolution

from lipaudit.errors import NotCovered
from lipaudit.spectral import ESTIMATES, METHODS, Dense, bracket

ORACLE_ERROR = 1e-12
"""Relative error of the dense SVD itself (and of summing wrapped entries)."""
SCALES = (1e-30, 1e-15, 1e-5, 1.0, 1.0, 1e5, 1e15, 1e30)


def check(linear_map, truth):
    """No bound below, no estimate above; returns how much `auto` loses."""
    for method in METHODS:
        try:
            found = method.bound(linear_map).value
        except NotCovered:
            continue
        assert found >= truth * (1 - ORACLE_ERROR), (method.name, found / truth, linear_map)
    for estimator in ESTIMATES:
        assert estimator.estimate(linear_map).value <= truth * (1 + ORACLE_ERROR), linear_map
    both = bracket(linear_map)
    assert both.above.value >= truth * (1 - ORACLE_ERROR), (both, truth, linear_map)
    assert both.below.value <= truth * (1 + ORACLE_ERROR), (both, truth, linear_map)
    return both.above.value / truth if truth else 1.0


def random_matrix(rng, generator):
    """Gaussian, low-rank, sparse or spread over many decades; up to 24 on a side."""
    rows, columns = rng.randint(1, 24), rng.randint(1, 24)
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    kind = rng.randint(0, 4)
    if kind == 0:
        rank = rng.randint(1, 3)
        weight = weight[:, :1].repeat(1, rank) @ torch.randn(rank, columns, generator=generator).double()
    elif kind == 1:
        weight = weight * (torch.rand(rows, columns, generator=generator) < 0.2)
    elif kind == 2:
        weight = weight * 10.0 ** torch.randint(-12, 13, weight.shape, generator=generator)
    elif kind == 3 and rows == columns:
        weight = torch.linalg.qr(weight)[0]
    return weight * rng.choice(SCALES)


def check_random_maps(convolutions, matrices, seed):
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(convolutions):
        recipe = random_convolution(rng)
        linear_map = recipe.conv
        assert linear_map.as_matrix().shape == recipe.matrix.shape
        losses.append(check(linear_map, spectral_norm(recipe.matrix)))
    for _ in range(matrices):
        weight = random_matrix(rng, generator)
        losses.append(check(Dense(weight), spectral_norm(weight)))
    assert max(losses) < 1 + 1e-6
    assert math.isfinite(sum(losses))


def test_no_bound_of_a_random_map_lies_below_the_truth():
    check_random_maps(convolutions=150, matrices=60, seed=1)


@pytest.mark.slow
def test_no_bound_of_5000_random_maps_lies_below_the_truth():
    check_random_maps(convolutions=5000, matrices=1000, seed=2)
