"""All singular values of circular convolutions against the dense SVD of the oracle's matrix."""

from __future__ import annotations

import math
import random

import pytest
import torch
from oracles import spectral_norm
from strategies import random_convolution
from zoo import conv, delta, normal

from lipaudit.errors import NotCovered
from lipaudit.spectral import Conv, bracket
from lipaudit.spectral.fft import is_block_circulant, singular_values

SPECIMENS = [
    conv("odd", normal(2, 3, 3), 7, padding=1, mode="circular"),
    conv("even", normal(3, 2, 4, 2), 6, padding=[(1, 2), (0, 1)], mode="circular"),
    conv("one cell", normal(3, 2, 3, 3), 1, padding=1, mode="circular"),
    conv("two cells", normal(3, 2, 3, 3), 2, padding=1, mode="circular"),
    conv("wraps", normal(2, 2, 7), 3, padding=3, mode="circular"),
    conv("strided", normal(5, 2, 3, 3), 8, padding=1, stride=2, mode="circular"),
    conv("strided, dilated", normal(2, 2, 3), 12, padding=2, stride=3, dilation=2, mode="circular"),
    conv("groups", normal(4, 2, 3), 6, padding=1, groups=2, mode="circular"),
    conv("3-D", normal(2, 2, 3, 2, 3), (2, 4, 3), padding=[1, (1, 0), 1], mode="circular"),
    conv("huge", normal(2, 2, 3) * 2.0**1000, 5, padding=1, mode="circular"),
    conv("tiny", normal(2, 2, 3) * 2.0**-1000, 5, padding=1, mode="circular"),
    conv("float32", normal(2, 2, 3).float(), 5, padding=1, mode="circular"),
    conv("zero", torch.zeros(2, 3, 3), 5, padding=1, mode="circular"),
    conv("first layer", normal(64, 3, 7, 7), 5, padding=3, mode="circular"),
]


def check(found, matrix):
    assert found.dtype == torch.float64
    scale = spectral_norm(matrix) or 1.0
    expected = torch.linalg.svdvals(matrix / scale)
    assert found.shape == expected.shape
    assert torch.equal(found, found.sort(descending=True).values)
    assert torch.allclose(found / scale, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda s: s.name)
def test_every_singular_value_with_its_multiplicity(specimen):
    check(singular_values(specimen.make()), specimen.matrix())


def test_random_block_circulant_maps():
    rng, seen = random.Random(5), 0
    while seen < 40:
        recipe = random_convolution(rng, largest=6)
        if is_block_circulant(recipe.conv):
            check(singular_values(recipe.conv), recipe.matrix)
            seen += 1


def test_the_largest_lies_in_the_bracket_and_the_rest_in_pairs():
    linear_map = Conv(normal(64, 3, 7, 7), 16, padding=3, padding_mode="circular")
    values = singular_values(linear_map)
    found = bracket(linear_map)
    assert found.below.value <= float(values[0]) * (1 + 1e-12)
    assert float(values[0]) <= found.above.value * (1 + 1e-12)
    # 16·16 frequencies, of which four are their own mirror image: all others come in pairs.
    lone = 3 * 4
    assert len(values) == 3 * 256
    close = int((values[:-1] - values[1:] <= 1e-12 * values[0]).sum())
    assert close >= (len(values) - lone) // 2


def test_an_orthogonal_kernel_has_one_singular_value():
    values = singular_values(Conv(delta(4, 3, 3), 6, padding=1, padding_mode="circular"))
    assert torch.allclose(values, torch.full_like(values, 2.0), rtol=1e-14)
    assert len(values) == 4 * 36


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": 0, "padding_mode": "circular"},
        {"padding": 1, "padding_mode": "circular", "stride": 2},
        {"padding": 1, "padding_mode": "reflect"},
    ],
)
def test_other_maps_are_not_block_circulant(options):
    with pytest.raises(NotCovered, match="block-circulant"):
        singular_values(Conv(normal(2, 2, 3), 7, **options))


def test_the_mean_square_is_the_kernels():
    """Σσ² = ‖T‖_F² = outputs · ‖K‖²: a check that no frequency is missing or doubled."""
    weight = normal(3, 5, 3, 3)
    for n in (6, 7):
        values = singular_values(Conv(weight, n, padding=1, padding_mode="circular"))
        assert math.isclose(float(values.square().sum()), n * n * float(weight.square().sum()), rel_tol=1e-12)
