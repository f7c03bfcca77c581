"""Every method against the dense singular values of random maps: never below, estimates never above."""

from __future__ import annotations

import random

import pytest
import torch
from oracles import convolution_matrix

from lipaudit.errors import InputRefused, NotCovered
from lipaudit.spectral import ESTIMATES, METHODS, Conv, Dense, bracket

ORACLE_ERROR = 1e-12
"""Relative error of the dense SVD itself."""


def draw(rng):
    axes, groups = rng.choice([1, 2, 2, 2, 3]), rng.choice([1, 1, 2, 3])
    kernel = [rng.randint(1, 5 if axes < 3 else 3) for _ in range(axes)]
    dilation = [rng.randint(1, 2) for _ in range(axes)]
    mode = rng.choice(["zeros", "circular", "reflect", "replicate"])
    padding = [(rng.randint(0, 4), rng.randint(0, 4)) for _ in range(axes)]
    if mode == "circular" and rng.random() < 0.5:
        extents = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        padding = [((e - 1) // 2, e - 1 - (e - 1) // 2) for e in extents]
    transposed = mode == "zeros" and rng.random() < 0.3
    inner, outer = rng.randint(1, 3), rng.randint(1, 3)
    weight = torch.randn(groups * inner, outer, *kernel, dtype=torch.float64)
    weight = weight.abs() if rng.random() < 0.1 else weight
    options = {
        "stride": [rng.randint(1, 3) for _ in range(axes)],
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "padding_mode": mode,
        "transposed": transposed,
    }
    return weight, [rng.randint(1, 9 if axes < 3 else 4) for _ in range(axes)], options


def check_random_maps(count, seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    done = 0
    while done < count:
        weight, image, options = draw(rng)
        try:
            matrix = convolution_matrix(weight, image, options)
        except RuntimeError:
            continue  # torch has no such geometry
        if matrix.numel() == 0:
            continue
        scale = 10.0 ** rng.choice([0, 0, -30, 30])
        linear_map = Conv(weight * scale, image, **options)
        assert torch.allclose(linear_map.as_matrix() / scale, matrix, atol=1e-12)
        check_bounds(linear_map, float(torch.linalg.svdvals(matrix)[0]) * scale)
        done += 1


def check_bounds(linear_map, true):
    for method in METHODS:
        try:
            bound = method.bound(linear_map).value
        except NotCovered:
            continue
        assert bound >= true * (1 - ORACLE_ERROR), (method.name, linear_map)
    for estimator in ESTIMATES:
        assert estimator.estimate(linear_map).value <= true * (1 + ORACLE_ERROR), linear_map
    assert bracket(linear_map).above.value >= true * (1 - ORACLE_ERROR)


def test_no_bound_of_a_random_convolution_lies_below_the_truth():
    check_random_maps(150, seed=1)


@pytest.mark.slow
def test_no_bound_of_5000_random_convolutions_lies_below_the_truth():
    check_random_maps(5000, seed=2)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_dense_maps_are_bracketed_tightly(scale):
    torch.manual_seed(0)
    for shape in [(1, 1), (5, 3), (3, 40), (64, 64)]:
        weight = torch.randn(*shape, dtype=torch.float64)
        true = float(torch.linalg.svdvals(weight)[0]) * scale
        check_bounds(Dense(weight * scale), true)
        assert bracket(Dense(weight * scale)).above.value <= true * (1 + 1e-8)


def test_zero_padding_at_odd_sizes_is_not_circular():
    laplacian = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])[None, None]
    above = bracket(Conv(laplacian, 7, padding=1), "embedding").above.value
    assert above >= 7.6955


def test_a_stride_that_does_not_divide_the_circle():
    above = bracket(Conv(torch.ones(1, 1, 3), 3, stride=2, padding=1, padding_mode="circular")).above
    assert above.value >= 6**0.5 * (1 - 1e-15)


def test_zero_weights_have_norm_zero():
    assert bracket(Conv(torch.zeros(2, 2, 3, 3), 5)).above.value == 0


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(InputRefused, match="NaN"):
        Dense(torch.tensor([[float("nan")]]))
