"""PowerQR agrees with a dense SVD, and never claims more."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import conv_matrix
from strategies import convolutions
from torch import nn
from zoo import ZOO, hadamard, normal, with_spectrum

from lipaudit.errors import InputRefused, UsageError
from lipaudit.spectral import Conv, Dense
from lipaudit.spectral.power_qr import GUARDS, power_qr

CLUSTER = 1e-3
"""Relative distance below which values hardly part."""
MODERATE = [s for s in ZOO if s.truth == 0 or 1e-160 < s.truth < 1e160]


def top(linear_map, k=5, **options):
    """By the map's own adjoint."""
    return power_qr(linear_map.apply, linear_map.in_shape, k, adjoint=linear_map.adjoint, **options)


def check(found, truth, tolerance=1e-6):
    """Within the tolerance of the true values (falling, as many as there are), and not above."""
    truth = torch.nn.functional.pad(truth, (0, max(0, len(found.values) - len(truth))))[: len(found.values)]
    largest = float(truth[0]) if len(truth) else 0.0
    assert bool((found.values <= truth + 1e-14 * largest).all())
    # TᵀT loses what is next to nothing beside σ₁.
    assert bool((found.values >= truth * (1 - tolerance) - 1e-8 * largest).all())
    assert bool((found.values[1:] <= found.values[:-1]).all())


def check_vectors(found, linear_map):
    """The right vectors are orthonormal, and the map takes them to value × left."""
    right = found.right.flatten(1)
    assert torch.allclose(right @ right.T, torch.eye(len(right), dtype=torch.float64), atol=1e-10)
    known = found.values > 0
    image = linear_map.apply(found.right).flatten(1)[known]
    size = found.values[known][:, None]
    assert torch.allclose(image / size, found.left.flatten(1)[known], atol=1e-4)


@pytest.mark.parametrize("specimen", MODERATE, ids=lambda s: s.name)
def test_the_zoo_agrees_with_a_dense_svd(specimen):
    linear_map = specimen.make()
    scale = 2.0 ** -math.frexp(specimen.truth)[1]
    truth = torch.linalg.svdvals(specimen.matrix() * scale)
    found = top(linear_map)
    assert found.settled
    found_scaled = found.__class__(found.values * scale, found.right, found.left, found.steps, found.settled)
    check(found_scaled, truth)
    check_vectors(found, linear_map)


@settings(deadline=None, max_examples=60)
@given(convolutions(largest=5), st.integers(1, 9))
def test_random_convolutions_agree_with_a_dense_svd(recipe, k):
    linear_map = recipe.conv
    exponent = math.frexp(float(recipe.weight.abs().max()))[1]
    linear_map = linear_map.with_weight(linear_map.weight * 2.0**-exponent)
    truth = torch.linalg.svdvals(recipe.matrix * 2.0**-exponent)
    found = top(linear_map, k, steps=2000)
    assert len(found.values) == min(k, math.prod(linear_map.in_shape))
    padded = torch.nn.functional.pad(truth, (0, k + GUARDS + 1))
    if 0 < float(padded[k - 1]) * (1 - CLUSTER) < float(padded[k + GUARDS]):
        # Nothing parts the block from what it leaves out: the last values may be any of the cluster's.
        assert bool((found.values <= padded[: len(found.values)] + 1e-14 * truth[0]).all())
        assert bool((found.values >= padded[: len(found.values)] * (1 - CLUSTER) - 1e-8 * truth[0]).all())
        return
    assert found.settled
    check(found, truth)


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
def test_modules_with_a_bias_are_differentiated(mode):
    torch.manual_seed(0)
    module = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, padding_mode=mode, dtype=torch.float64)
    options = {"stride": (2, 2), "dilation": (1, 1), "groups": 2, "padding": ((1, 1), (1, 1))}
    matrix = conv_matrix(
        module.weight.detach(), (6, 6), {**options, "padding_mode": mode, "transposed": False}
    )
    check(power_qr(module, (4, 6, 6), 6), torch.linalg.svdvals(matrix))


def jacobian(module, shape):
    """The dense matrix of an affine module."""
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(module, zero)
    return matrix.reshape(-1, math.prod(shape))


def composed(*modules):
    """In evaluation, in float64."""
    return nn.Sequential(*modules).double().eval()


def normalised(channels):
    """A batch norm that has seen something."""
    norm = nn.BatchNorm2d(channels)
    norm.running_mean = torch.linspace(-2, 3, channels)
    norm.running_var = torch.linspace(0.05, 4, channels)
    nn.init.uniform_(norm.weight, -2, 2)
    nn.init.uniform_(norm.bias, -2, 2)
    return norm


COMPOSITIONS = {
    "conv+BN": (composed(nn.Conv2d(3, 5, 3, padding=1), normalised(5)), (3, 6, 6)),
    "average pool": (composed(nn.AvgPool2d(3, 2, 1)), (2, 7, 7)),
    "transposed": (composed(nn.ConvTranspose2d(3, 2, 3, 2, 1, 1)), (3, 4, 4)),
    "transposed, dilated": (composed(nn.ConvTranspose1d(2, 3, 3, 2, dilation=2)), (2, 5)),
    "conv+pool+dense": (
        composed(nn.Conv2d(2, 4, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 7)),
        (2, 6, 6),
    ),
    "3-D": (composed(nn.Conv3d(2, 2, 2, padding=1)), (2, 3, 2, 3)),
    "resize": (composed(nn.Upsample(scale_factor=2, mode="bilinear")), (2, 4, 4)),
}


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_compositions_are_differentiated(name):
    torch.manual_seed(1)
    module, shape = COMPOSITIONS[name]
    found = power_qr(module, shape, 8)
    assert found.settled
    check(found, torch.linalg.svdvals(jacobian(module, shape)))


def test_a_warm_start_needs_few_steps():
    weight = normal(6, 6, 3, 3)
    before = top(Conv(weight, 9, padding=1), 10, tolerance=1e-5)
    moved = normal(6, 6, 3, 3, seed=7)
    moved = weight + 1e-3 * moved * weight.norm() / moved.norm()
    after = top(Conv(moved, 9, padding=1), 10, start=before.right, tolerance=1e-3)
    assert after.settled
    assert after.steps <= 5
    assert after.steps < top(Conv(moved, 9, padding=1), 10, tolerance=1e-3).steps
    check(after, torch.linalg.svdvals(Conv(moved, 9, padding=1).as_matrix()), 1e-3)


def test_every_stage_lies_below():
    linear_map = Conv(normal(3, 3, 3, 3), 6, padding=1)
    truth = torch.linalg.svdvals(linear_map.as_matrix())[:4]
    for steps in (1, 2, 3, 5, 8):
        found = top(linear_map, 4, steps=steps)
        assert found.steps <= steps
        assert bool((found.values <= truth).all())


def test_the_example_where_the_diagonal_of_r_misleads():
    found = top(Dense(torch.diag(torch.tensor([3.0, 1.0]))), 2, start=torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert found.values.tolist() == pytest.approx([3, 1], rel=1e-12)


def test_dependent_and_missing_starts_are_filled():
    linear_map = Dense(with_spectrum([3.0, 2.0, 1.0] + [0.1] * 30))
    start = torch.ones(3, 33, dtype=torch.float64)
    assert top(linear_map, 3, start=start).values.tolist() == pytest.approx([3, 2, 1], rel=1e-6)
    assert top(linear_map, 3, start=0 * start).values.tolist() == pytest.approx([3, 2, 1], rel=1e-6)


@pytest.mark.parametrize("k", [1, 3, 16, 50])
def test_ties_are_all_found(k):
    found = top(Dense(hadamard(16)), k)
    assert found.values.tolist() == pytest.approx([4.0] * min(k, 16), rel=1e-12)


def test_beyond_the_rank_there_are_zeros():
    weight = torch.outer(normal(8)[:, None].flatten(), normal(12, seed=2))
    found = top(Dense(weight), 4)
    assert found.values[0] == pytest.approx(float(weight.norm()), rel=1e-12)
    assert bool((found.values[1:] <= 1e-12 * found.values[0]).all())


def test_the_zero_map():
    found = power_qr(lambda x: torch.zeros(len(x), 3, dtype=x.dtype) + 1.0, (4,), 2)
    assert found.settled
    assert found.values.tolist() == [0, 0]
    assert not bool(found.left.any())


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_scales_make_no_difference(scale):
    weight = normal(7, 9)
    truth = torch.linalg.svdvals(weight) * scale
    assert torch.allclose(top(Dense(weight * scale), 4).values / scale, truth[:4] / scale, rtol=1e-6)


def test_the_stated_error_is_subtracted():
    linear_map = Dense(with_spectrum([2.0, 1.0, 0.5, 0.25]))
    values = top(linear_map, 4, error=0.1).values
    # ‖Y − TX‖_F ≤ 0.1·√i for the first i columns.
    expected = [v - 0.1 * math.sqrt(i) for i, v in enumerate([2.0, 1.0, 0.5, 0.25], 1)]
    assert values.tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.5, -0.1])
def test_a_shift_of_ones_own(shift):
    weight = with_spectrum([3.0, 2.0, 1.0] + [0.3] * 20)
    assert top(Dense(weight), 3, shift=shift, steps=500).values.tolist() == pytest.approx([3, 2, 1], rel=1e-6)


def test_float32_maps_compute_in_float32():
    module = nn.Conv2d(3, 4, 3, padding=1)
    matrix = jacobian(nn.Sequential(module).double(), (3, 5, 5))
    module.float()
    found = power_qr(module, (3, 5, 5), 4, dtype=torch.float32, tolerance=1e-5, error=1e-5)
    assert found.settled
    assert torch.allclose(found.values, torch.linalg.svdvals(matrix)[:4], rtol=1e-4)


@pytest.mark.parametrize("apply", [torch.relu, lambda x: x.detach() * 2, lambda x: x * x, torch.abs])
def test_what_is_not_affine_or_hides_its_gradient_is_refused(apply):
    with pytest.raises(InputRefused, match="not affine"):
        power_qr(apply, (8,), 2)


def test_a_wrong_adjoint_is_refused():
    weight = normal(5, 5)
    with pytest.raises(InputRefused, match="not affine"):
        power_qr(lambda x: x @ weight.T, (5,), adjoint=lambda y: y @ weight.T)


def test_nan_is_refused():
    with pytest.raises(InputRefused, match="NaN or infinity"):
        power_qr(lambda x: x * math.nan, (3,))


@pytest.mark.parametrize("options", [{"k": 0}, {"steps": 0}, {"in_shape": (0,)}])
def test_what_cannot_be_meant(options):
    with pytest.raises(UsageError):
        power_qr(lambda x: x, **{"in_shape": (3,), **options})


def test_a_start_of_another_shape():
    with pytest.raises(UsageError, match="start has shape"):
        power_qr(lambda x: x, (3,), start=torch.zeros(1, 4))


def test_a_cluster_wider_than_the_block_is_not_overstated():
    """Twelve values within 1e-4 of each other: which of them a block of seven ends at is chance."""
    values = [0.5305 - 1e-5 * i for i in range(12)] + [0.07] * 12
    found = top(Dense(with_spectrum(values)), 1, steps=2000)
    assert 0.5305 * (1 - CLUSTER) <= float(found.values[0]) <= 0.5305 * (1 + 1e-14)
