"""Bounds judged in exact rational arithmetic: no tolerance anywhere.

On tiny maps τ ≥ ‖T‖ is decided on integers (`oracles.dominates`), so that a bound that is too small by one
ulp is caught.
"""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from oracles import as_fractions, dominates, exceeds, spectral_norm
from strategies import convolutions

from lipaudit.errors import NotCovered
from lipaudit.spectral import ESTIMATES, METHODS, Conv, Dense, bracket

exact_settings = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)

entries = st.floats(min_value=-1e30, max_value=1e30, allow_nan=False) | st.integers(-3, 3).map(float)
extreme_entries = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def matrices(draw, elements=entries, largest=4):
    rows, columns = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    values = draw(st.lists(elements, min_size=rows * columns, max_size=rows * columns))
    return torch.tensor(values, dtype=torch.float64).reshape(rows, columns)


def check_exactly(linear_map, exact):
    """All bounds ≥ ‖T‖ and all estimates ≤ ‖T‖, by exact arithmetic."""
    for method in METHODS:
        try:
            found = method.bound(linear_map).value
        except NotCovered:
            continue
        assert dominates(found, exact), (method.name, found)
    for estimator in ESTIMATES:
        found = estimator.estimate(linear_map).value
        assert not exceeds(found, exact), (estimator.name, found)
    both = bracket(linear_map)
    assert dominates(both.above.value, exact)
    assert not exceeds(both.below.value, exact)


@exact_settings
@given(matrices())
def test_bounds_of_matrices_dominate_exactly(weight):
    check_exactly(Dense(weight), as_fractions(weight))


@exact_settings
@given(matrices(elements=extreme_entries, largest=3))
def test_bounds_of_matrices_of_any_range_dominate_exactly(weight):
    check_exactly(Dense(weight), as_fractions(weight))


@exact_settings
@given(convolutions(largest=4, channels=1))
def test_bounds_of_small_convolutions_dominate_exactly(recipe):
    assume(math.prod(recipe.image) * recipe.weight.numel() <= 60)
    check_exactly(recipe.conv, recipe.exact_matrix)


@exact_settings
@given(
    st.lists(extreme_entries, min_size=3, max_size=3),
    st.sampled_from(["zeros", "circular", "reflect", "replicate"]),
    st.integers(1, 4),
    st.integers(1, 2),
)
def test_bounds_of_kernels_of_any_range_dominate_exactly(kernel, mode, n, stride):
    assume(mode != "reflect" or n > 1)
    weight = torch.tensor(kernel, dtype=torch.float64).reshape(1, 1, 3)
    linear_map = Conv(weight, n, padding=1, padding_mode=mode, stride=stride)
    check_exactly(linear_map, exact_one_dimensional(kernel, mode, n, stride))


def exact_one_dimensional(kernel, mode, n, stride):
    """The matrix of a three-tap kernel with padding 1, written out."""
    rows = []
    for y in range((n - 1) // stride + 1):
        row = [Fraction(0)] * n
        for tap, value in enumerate(kernel):
            cell = stride * y + tap - 1
            if mode == "circular":
                cell %= n
            elif mode == "replicate":
                cell = min(max(cell, 0), n - 1)
            elif mode == "reflect":
                cell = {-1: 1, n: n - 2}.get(cell, cell)
            if 0 <= cell < n:
                row[cell] += Fraction(value)
        rows.append(row)
    return rows


@every_method
@settings(deadline=None, max_examples=15)
@given(recipe=convolutions(largest=5), exponent=st.integers(-900, 900))
def test_powers_of_two_scale_bounds_exactly(method, recipe, exponent):
    linear_map = recipe.conv
    assume(float(linear_map.weight.abs().max()) > 0)
    assume(float(linear_map.weight.abs().min()) > 1e-25)  # no entry falls below the normal range
    assume(float(linear_map.weight.abs().max()) < 1e25)
    try:
        found = method.bound(linear_map).value
    except NotCovered:
        return
    scaled = linear_map.with_weight(linear_map.weight * 2.0**exponent)
    assert method.bound(scaled).value == found * 2.0**exponent
    assert method.bound(scaled.with_weight(-scaled.weight)).value == found * 2.0**exponent


@settings(deadline=None, max_examples=60)
@given(convolutions())
def test_a_larger_image_never_has_a_smaller_norm_than_the_estimate_of_a_crop(recipe):
    assume(not recipe.transposed)
    geometry = {**recipe.geometry, "padding_mode": "zeros"}
    crop = Conv(recipe.weight, recipe.image, **geometry)
    larger = Conv(recipe.weight, tuple(n + 2 for n in recipe.image), **geometry)
    assert bracket(larger).above.value >= bracket(crop).below.value


@settings(deadline=None, max_examples=60)
@given(convolutions(), st.integers(0, 2**20))
def test_flipping_and_mixing_channels_orthogonally_keeps_the_norm(recipe, seed):
    assume(recipe.groups == 1 and not recipe.transposed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(recipe.weight.shape[0], generator=generator)
    signs = torch.randint(0, 2, order.shape, generator=generator).double() * 2 - 1
    mixed = signs.reshape(-1, *[1] * (recipe.weight.dim() - 1)) * recipe.weight.double()[order]
    truth = spectral_norm(recipe.matrix)
    found = bracket(Conv(mixed, recipe.image, **recipe.geometry))
    assert found.below.value <= truth * (1 + 1e-12)
    assert found.above.value >= truth * (1 - 1e-12)
