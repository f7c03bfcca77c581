"""Mistakes that were made before, here or in papers: each with the number that gives it away."""

from __future__ import annotations

import math
import resource
import time
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from oracles import as_fractions, dominates, exceeds, spectral_norm
from zoo import normal, ones

from lipaudit.errors import NotCovered, UsageError
from lipaudit.spectral import ESTIMATES, METHODS, Conv, Dense, bracket

every_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)


def bound_or_inf(method, linear_map):
    try:
        return method.bound(linear_map).value
    except NotCovered:
        return float("inf")


@every_method
def test_the_laplacian_at_7_is_not_its_circular_twin(method):
    kernel = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])[None, None]
    assert bound_or_inf(method, Conv(kernel, 7, padding=1)) >= 7.6955  # the circular norm is 7.6039


@every_method
def test_a_stride_that_does_not_divide_the_circle(method):
    linear_map = Conv(ones(1, 1, 3), 3, stride=2, padding=1, padding_mode="circular")
    assert bound_or_inf(method, linear_map) >= 6**0.5 * (1 - 1e-15)  # its polyphase symbol says √5


@every_method
def test_a_kernel_longer_than_the_circle_wraps(method):
    linear_map = Conv(ones(1, 1, 5), 2, padding=2, padding_mode="circular")
    assert bound_or_inf(method, linear_map) >= 5 * (1 - 1e-15)  # cropping it to two taps gives 2


@every_method
def test_reflecting_an_average_amplifies(method):
    for n, norm in ((8, 1.0593), (3, 1.2440)):
        linear_map = Conv(ones(1, 1, 3, 3) / 9, n, padding=1, padding_mode="reflect")
        assert bound_or_inf(method, linear_map) >= norm


@every_method
def test_groups_take_the_largest_block_not_the_last_nor_the_product(method):
    kernel = torch.tensor([3.0, 5.0, 2.0]).reshape(3, 1, 1, 1)
    found = bound_or_inf(method, Conv(kernel, 4, groups=3))
    silent = {"fft", "gram-circular", "patches"}
    assert found == pytest.approx(5, rel=0.01) or (found == math.inf and method.name in silent)


@every_method
@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
@pytest.mark.parametrize("fill", [1.49, 0.49, 0.51, 1e-3])
def test_taps_that_only_meet_padding_do_not_set_the_scale(method, mode, fill):
    weight = torch.zeros(8, 8, 2, dtype=torch.float64)
    weight[:, :, 0] = 0.75 * 2.0**100
    weight[:, :, 1] = fill * 2.0**-974
    n = 1 if mode == "zeros" else 2
    linear_map = Conv(weight, n, padding=[(1, 0)] if n == 1 else 0, padding_mode=mode)
    truth = spectral_norm(linear_map.as_matrix())
    assert bound_or_inf(method, linear_map) >= truth * (1 - 1e-12)
    assert all(e.estimate(linear_map).value <= truth * (1 + 1e-12) for e in ESTIMATES)


@pytest.mark.parametrize("fill", [1.49, 0.49, 0.51])
def test_subnormals_beside_giants_exactly(fill):
    weight = torch.full((4, 4), fill * 2.0**-1073, dtype=torch.float64)
    weight[0, 0] = 2.0**1020
    for rows in (weight, weight[:1], weight[1:]):
        exact = as_fractions(rows)
        found = bracket(Dense(rows))
        assert dominates(found.above.value, exact)
        assert not exceeds(found.below.value, exact)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_giants_that_cancel_leave_no_bound_below_what_remains(n):
    weight = torch.tensor([0.75 * 2.0**100, 1.49 * 2.0**-974, -0.75 * 2.0**100]).double().reshape(1, 1, 3)
    linear_map = Conv(weight, n, padding=1, padding_mode="circular")
    truth = spectral_norm(linear_map.as_matrix())
    found = bracket(linear_map)
    assert found.below.value <= truth * (1 + 1e-12) or truth == 0
    assert found.above.value >= 1.49 * 2.0**-974


@pytest.mark.parametrize("name", ["schur", "dense", "fft", "gram", "gram-circular"])
def test_rounding_in_summed_entries_is_paid_for(name):
    """One cell read by every tap: each small weight is lost on its own, together they are 1e-12."""
    weight = torch.full((1, 1, 20_001), 0.99 * 2.0**-54, dtype=torch.float64)
    weight[0, 0, 0] = 1.0
    exact = sum(map(Fraction, weight.flatten().tolist()))
    linear_map = Conv(weight, 1, padding=10_000, padding_mode="circular")
    (found,) = (m.bound(linear_map).value for m in METHODS if m.name == name)
    assert Fraction(found) >= exact
    assert all(Fraction(e.estimate(linear_map).value) <= exact for e in ESTIMATES)


@every_method
@pytest.mark.parametrize("scale", [1e100, 1e-100, 1e200, 1e-200])
def test_scales_beyond_single_precision_survive_the_normalisation(method, scale):
    weight = normal(3, 3, 3)
    ordinary = bound_or_inf(method, Conv(weight, 5, padding=1))
    assert bound_or_inf(method, Conv(weight * scale, 5, padding=1)) == pytest.approx(
        ordinary * scale, rel=1e-6
    )


@pytest.mark.parametrize("row", [*METHODS, *ESTIMATES], ids=lambda r: r.name)
def test_a_process_that_drops_subnormals_gets_no_zero_bound(row):
    linear_map = Dense(normal(3, 3) * 2.0**-530 * 2.0**-530)
    if not torch.set_flush_denormal(True):
        pytest.skip("this machine cannot flush subnormals")
    try:
        with pytest.raises(UsageError, match="subnormal"):
            (row.bound if row in METHODS else row.estimate)(linear_map)
    finally:
        torch.set_flush_denormal(False)


def test_a_norm_beyond_the_largest_float_is_unbounded_with_a_reason():
    found = bracket(Dense(torch.full((4, 4), 1.5e308, dtype=torch.float64)))
    assert not found.above.is_finite
    assert "largest float64" in found.above.note
    assert found.below.value < float("inf")


def test_zero_weights_have_norm_zero():
    for linear_map in (Conv(torch.zeros(2, 2, 3, 3), 5), Dense(torch.zeros(2, 3))):
        found = bracket(linear_map)
        assert found.above.value == found.below.value == 0
        assert found.slack == 1


def test_taps_that_all_miss_the_image_have_norm_zero():
    found = bracket(Conv(ones(1, 1, 1), 3, padding=[(2, 0)], stride=5))
    assert found.above.value == 0


def limited(make, gibibytes):
    """A bracket under a limit on additional address space."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + gibibytes * 2**30, limits[1]))
    try:
        return bracket(make())
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


LARGE = {
    "half the image is kernel": lambda: Conv(normal(1, 1, 1000), 1200, padding=500),
    "a kernel of thousands": lambda: Conv(normal(1, 1, 2000), 2400, padding=1000),
    "a long signal": lambda: Conv(normal(3, 3, 3), 100_000, padding=1),
    "windows of a spectrogram": lambda: Conv(normal(8, 8, 1024), 1024, padding=512, stride=256),
}


SLOW = {"a kernel of thousands"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in LARGE]
)
def test_large_maps_need_no_large_memory(name):
    found = limited(LARGE[name], gibibytes=3)
    assert found.above.is_finite
    assert found.below.value > 0


@pytest.mark.slow
def test_a_kernel_as_large_as_the_image_ends_in_time_and_memory():
    began = time.monotonic()
    found = limited(lambda: Conv(normal(1, 1, 31, 31), 224, padding=15), gibibytes=4)
    assert found.slack < 1.2
    assert time.monotonic() - began < 180
