"""Gram iteration on kernels: equal to the self-correlations written out, above every image's norm."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import pytest
import torch
from oracles import spectral_norm
from strategies import random_convolution
from zoo import LAPLACIAN, delta, normal, ones, reflector_bank

from lipaudit.errors import NotCovered, UsageError
from lipaudit.spectral import Conv, Dense, gram_zero, supremum
from lipaudit.spectral.method import Effort


def written_out(weight, steps, stride=1, dilation=1):
    """The bound by summing over pairs of taps, in dictionaries: no transform, no rounding term."""
    taps = {}
    for where in itertools.product(*(range(k) for k in weight.shape[2:])):
        positions = [dilation * t for t in where]
        quotient = tuple(p // stride for p in positions)
        phase = sum((p % stride) * stride**a for a, p in enumerate(positions))
        blocks = taps.setdefault(quotient, {})
        blocks[phase] = weight[(slice(None), slice(None), *where)]
    phases, empty = stride ** (weight.dim() - 2), torch.zeros(weight.shape[:2], dtype=torch.float64)
    kernel = {q: torch.cat([b.get(r, empty) for r in range(phases)], 1) for q, b in taps.items()}
    if next(iter(kernel.values())).shape[0] > next(iter(kernel.values())).shape[1]:
        kernel = {q: m.T for q, m in kernel.items()}
    for _ in range(steps):
        correlated = {}
        for (a, A), (b, B) in itertools.product(kernel.items(), repeat=2):
            shift = tuple(x - y for x, y in zip(a, b, strict=True))
            correlated[shift] = correlated.get(shift, 0) + A @ B.T
        kernel = correlated
    return float(sum(m.abs() for m in kernel.values()).sum(dim=1).max()) ** (1 / 2**steps)


CASES = {
    "1-D": (normal(3, 4, 5), {}),
    "2-D": (normal(2, 3, 3, 3), {}),
    "tall": (normal(4, 2, 2, 3), {}),
    "3-D": (normal(2, 1, 2, 1, 3), {}),
    "stride": (normal(3, 2, 3, 3), {"stride": 2}),
    "dilation": (normal(2, 2, 3), {"dilation": 3}),
    "both": (normal(2, 2, 4), {"stride": 3, "dilation": 2}),
    "1×1": (normal(3, 5, 1, 1), {}),
}


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
def test_the_value_is_that_of_the_correlations_written_out(name, steps):
    weight, options = CASES[name]
    found = gram_zero.method(steps).bound(Conv(weight, 12, padding=1, **options)).value
    expected = written_out(weight, steps, **options)
    assert expected * (1 - 1e-14) <= found <= expected * (1 + 1e-10)


def exactly(weight, steps):
    """‖W_t‖_∞ of a 1-D kernel in rational numbers."""
    kernel = {
        t: [[Fraction(x) for x in row] for row in weight[:, :, t].tolist()] for t in range(weight.shape[2])
    }
    for _ in range(steps):
        correlated = {}
        for (a, A), (b, B) in itertools.product(kernel.items(), repeat=2):
            product = [[sum(map(Fraction.__mul__, x, y)) for y in B] for x in A]
            before = correlated.get(a - b, [[0] * len(B)] * len(A))
            correlated[a - b] = [
                [x + y for x, y in zip(p, q, strict=True)] for p, q in zip(before, product, strict=True)
            ]
        kernel = correlated
    rows = range(weight.shape[0])
    return max(sum(abs(x) for m in kernel.values() for x in m[row]) for row in rows)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_no_value_lies_below_the_formula_in_rational_numbers(steps):
    for seed in range(30):
        weight = normal(1 + seed % 2, 2, 3, seed=seed)
        found = gram_zero.method(steps).bound(Conv(weight, 9)).value
        assert Fraction(found) ** (2**steps) >= exactly(weight, steps)


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("taps", [1, 3])
def test_sums_that_round_the_same_way_every_time_are_paid_for(steps, taps):
    """A constant kernel of 60 000 channels: its products add up hundreds of ulp too low, or too high."""
    count = 60_000
    for seed in range(12):
        entry = 0.5 + seed / 37
        weight = torch.full((1, count, taps), entry, dtype=torch.float64)
        found = gram_zero.method(steps).bound(Conv(weight, taps)).value
        assert Fraction(found) ** 2 >= count * (taps * Fraction(entry)) ** 2


def test_groups_count_once():
    weight = torch.cat([normal(2, 2, 3), 3 * normal(2, 2, 3, seed=1)])
    found = gram_zero.method(2).bound(Conv(weight, 9, padding=1, groups=2)).value
    assert found == pytest.approx(max(written_out(w, 2) for w in weight.split(2)), rel=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_orthogonal_kernels_are_exact_at_once(steps):
    shift = torch.zeros(1, 1, 3, 3)
    shift[0, 0, 0, 2] = 1.0
    cases = [
        (Conv(delta(4, 3, 3), 9, padding=1), 2.0),
        (Conv(reflector_bank(), 8, stride=2), 1.0),
        (Conv(shift, 9, padding=1), 1.0),
        (Conv(delta(8, 5), 9, padding=2, padding_mode="circular"), math.sqrt(8)),
    ]
    for linear_map, norm in cases:
        assert norm <= gram_zero.method(steps).bound(linear_map).value <= norm * (1 + 1e-10)


def test_the_supremum_is_approached_from_above_and_never_crossed():
    linear_map = Conv(normal(3, 3, 3, 3), 8, padding=1)
    matrix_norms = [spectral_norm(Conv(linear_map.weight, n, padding=1).as_matrix()) for n in (4, 12)]
    values = [gram_zero.method(steps).bound(linear_map).value for steps in range(1, 8)]
    assert all(a >= b for a, b in itertools.pairwise(values))
    assert min(values) >= max(matrix_norms)
    assert values[-1] <= supremum.METHOD.bound(linear_map).value * 1.01


def test_a_positive_kernel_is_exact():
    """The norm of an averaging filter is its sum: ‖·‖_∞ and the supremum agree."""
    for steps in (1, 3):
        found = gram_zero.method(steps).bound(Conv(ones(1, 1, 3, 5) / 15, 10, padding=2)).value
        assert 1 - 1e-15 <= found <= 1 + 1e-11
    assert gram_zero.method(3).bound(Conv(LAPLACIAN, 7, padding=1)).value == pytest.approx(8, rel=1e-11)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_random_maps_of_every_padding(steps):
    rng = random.Random(steps)
    for _ in range(60):
        recipe = random_convolution(rng, largest=6)
        found = gram_zero.method(steps).bound(recipe.conv).value
        assert found >= spectral_norm(recipe.matrix) * (1 - 1e-12)


def test_a_supremum_seen_only_between_the_points_is_bounded():
    """The sampled symbol misses the peak by 1 − cos: the coefficients must not."""
    for seed in range(30):
        weight = normal(1, 1, 4, seed=seed)
        angles = torch.linspace(0, math.pi, 20_001).double()
        symbol = torch.exp(1j * angles[:, None] * torch.arange(4)) @ weight[0, 0].to(torch.complex128)
        found = gram_zero.method(6).bound(Conv(weight, 50, padding=2)).value
        assert float(symbol.abs().max()) <= found <= float(symbol.abs().max()) * 1.06


def test_the_step_count_is_the_callers_or_bounded_by_memory():
    linear_map = Conv(normal(4, 4, 3, 3), 8, padding=1)
    default = gram_zero.METHOD.bound(linear_map).value
    assert default == gram_zero.method(gram_zero.MOST_STEPS).bound(linear_map).value
    little = gram_zero.METHOD.bound(linear_map, effort=Effort(memory=64_500_000)).value
    assert default < little < gram_zero.method(1).bound(linear_map).value * (1 + 1e-15)
    quick = gram_zero.METHOD.bound(linear_map, effort=Effort(operations=1.0)).value
    assert quick == gram_zero.method(1).bound(linear_map).value
    with pytest.raises(NotCovered, match="bytes"):
        gram_zero.METHOD.bound(linear_map, effort=Effort(memory=1000))
    with pytest.raises(NotCovered, match="not a convolution"):
        gram_zero.METHOD.bound(Dense(normal(2, 2)))
    for steps in (0, -1):
        with pytest.raises(UsageError, match="at least 1"):
            gram_zero.method(steps)


def test_a_kernel_of_one_tap_is_a_matrix():
    weight = normal(6, 3, 4, 4)
    for linear_map in (Conv(weight, 12, stride=4), Conv(weight[:, :, :1, :1], 5)):
        matrix = linear_map.weight.flatten(1)
        truth = spectral_norm(matrix)
        assert truth <= gram_zero.METHOD.bound(linear_map).value <= truth * 1.0005


@pytest.mark.parametrize("taps", [600, 1500])
def test_long_kernels_take_the_steps_that_memory_allows(taps):
    weight = normal(1, 1, taps)
    angles = torch.linspace(0, math.pi, 4001).double()
    symbol = torch.exp(1j * angles[:, None] * torch.arange(taps)) @ weight[0, 0].to(torch.complex128)
    linear_map = Conv(weight, 3 * taps, padding=taps // 2)
    found = gram_zero.METHOD.bound(linear_map, effort=Effort(memory=2**29)).value
    assert float(symbol.abs().max()) <= found <= gram_zero.method(1).bound(linear_map).value


def test_an_estimate_that_is_met_ends_the_search():
    linear_map = Conv(delta(4, 3, 3), 9, padding=1)
    assert gram_zero.METHOD.bound(linear_map, start=2.0).value == gram_zero.method(1).bound(linear_map).value


@pytest.mark.slow
def test_five_steps_on_64_channels():
    linear_map = Conv(normal(64, 64, 3, 3) / 24, 32, padding=1)
    limit = supremum.METHOD.bound(linear_map).value
    found = gram_zero.method(5).bound(linear_map).value
    assert limit < found < limit * 1.06
