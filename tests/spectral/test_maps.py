"""The maps themselves: matrix, apply and adjoint against torch's own convolution; what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from strategies import convolutions
from zoo import CONVOLUTIONS, ZOO, normal, ones

from lipaudit.errors import InputRefused
from lipaudit.spectral import Conv, Dense, bracket
from lipaudit.spectral.maps import power_of_two

INTEGERS = torch.Generator()


def with_integers(recipe_or_map):
    """The same geometry with small integer weights, so that every sum of products is exact."""
    shape = recipe_or_map.weight.shape
    return torch.randint(-4, 5, shape, generator=INTEGERS.manual_seed(0)).double()


def check_products(linear_map, matrix):
    """T x, Tᵀ y and ⟨Tx, y⟩ = ⟨x, Tᵀy⟩ in exact integers."""
    generator = torch.Generator().manual_seed(1)
    assert matrix.shape == (math.prod(linear_map.out_shape), math.prod(linear_map.in_shape))
    x = torch.randint(-3, 4, (2, *linear_map.in_shape), generator=generator).double()
    y = torch.randint(-3, 4, (2, *linear_map.out_shape), generator=generator).double()
    image, back = linear_map.apply(x), linear_map.adjoint(y)
    assert image.shape == y.shape
    assert back.shape == x.shape
    assert torch.equal(image.flatten(1), x.flatten(1) @ matrix.T)
    assert torch.equal(back.flatten(1), y.flatten(1) @ matrix)
    assert float((image * y).sum()) == float((x * back).sum())
    assert linear_map.apply(x.float()).dtype == torch.float32
    assert torch.equal(linear_map.apply(x.float()).double(), image)


@pytest.mark.parametrize("specimen", ZOO, ids=lambda s: s.name)
def test_the_matrix_of_a_specimen_is_the_oracles(specimen):
    linear_map, matrix = specimen.make(), specimen.matrix()
    if linear_map.weight.any() and isinstance(linear_map, Conv) and linear_map.padding_mode != "zeros":
        scale = float(linear_map.weight.abs().max())
        assert torch.allclose(linear_map.as_matrix() / scale, matrix / scale, rtol=1e-13, atol=1e-13)
    else:
        assert torch.equal(linear_map.as_matrix(), matrix)


@pytest.mark.parametrize("specimen", CONVOLUTIONS, ids=lambda s: s.name)
def test_products_of_a_specimen_are_the_matrix_products(specimen):
    linear_map = specimen.make()
    integral = linear_map.with_weight(with_integers(linear_map))
    check_products(integral, integral.as_matrix())


def test_products_of_a_dense_map():
    weight = torch.tensor([[1.0, -2, 3], [0, 4, -1]])
    check_products(Dense(weight), weight.double())


@settings(deadline=None, max_examples=150)
@given(convolutions())
def test_matrix_and_products_are_torchs(recipe):
    integral = recipe.conv.with_weight(with_integers(recipe))
    matrix = integral.as_matrix()
    assert torch.equal(matrix, type(recipe)(integral.weight, recipe.image, **recipe.geometry).matrix)
    check_products(integral, matrix)


@settings(deadline=None, max_examples=100)
@given(convolutions(largest=6))
def test_leaving_out_unread_taps_leaves_the_map(recipe):
    plain = recipe.conv.base()
    assert torch.equal(plain.used().as_matrix(), plain.as_matrix())
    assert torch.equal(
        recipe.conv.base().as_matrix().T if recipe.transposed else plain.as_matrix(), recipe.conv.as_matrix()
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_floats_widen_without_loss(dtype):
    weight = (normal(6, 6) * 1e-6).to(dtype)
    assert Dense(weight).weight.dtype == torch.float64
    assert torch.equal(Dense(weight).weight.to(dtype), weight)
    assert Dense(weight.requires_grad_()).weight.requires_grad is False


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused(bad):
    weight = torch.zeros(2, 2, 3, 3)
    weight[1, 0, 2, 1] = bad
    with pytest.raises(InputRefused, match="NaN"):
        Conv(weight, 5)
    with pytest.raises(InputRefused, match="NaN"):
        Dense(weight.reshape(4, 9))
    with pytest.raises(InputRefused, match="NaN"):
        Dense(torch.zeros(4, 9)).with_weight(weight.reshape(4, 9))


@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 2)])
def test_a_dense_map_is_a_matrix(shape):
    with pytest.raises(InputRefused, match="matrix"):
        Dense(torch.zeros(shape))


def test_complex_weights_are_refused():
    with pytest.raises(InputRefused, match="complex"):
        Dense(torch.eye(2, dtype=torch.complex64))
    with pytest.raises(InputRefused, match="complex"):
        Conv(torch.ones(1, 1, 3, dtype=torch.complex64), 5)


@pytest.mark.parametrize(
    ("shape", "image", "options"),
    [
        ((1, 1), 5, {}),
        ((1, 1, 3, 3, 3, 3), 5, {}),
        ((0, 1, 3), 5, {}),
        ((1, 1, 0), 5, {}),
        ((1, 1, 3), 2, {}),
        ((1, 1, 3), 0, {}),
        ((1, 1, 3), (5, 5), {}),
        ((1, 1, 3), 5, {"stride": 0}),
        ((1, 1, 3), 5, {"dilation": 0}),
        ((1, 1, 3), 5, {"dilation": -1}),
        ((1, 1, 3), 5, {"groups": 0}),
        ((3, 1, 3), 5, {"groups": 2}),
        ((1, 1, 3), 5, {"padding": [(0, 0), (0, 0)]}),
        ((1, 1, 3), 5, {"stride": (1, 1)}),
        ((1, 1, 3), 5, {"padding_mode": "constant"}),
        ((1, 1, 3), 5, {"padding_mode": "reflect", "padding": 5}),
        ((1, 1, 1), 1, {"padding_mode": "reflect", "padding": 1}),
        ((1, 1, 3), 5, {"padding_mode": "circular", "padding": [(-1, 1)]}),
        ((1, 1, 3), 5, {"padding_mode": "circular", "padding": 1, "transposed": True}),
        ((1, 1, 3), 5, {"padding": [(-5, 1)]}),
        ((1, 1, 3), 5, {"padding": 4, "transposed": True}),
    ],
)
def test_impossible_geometry_is_refused(shape, image, options):
    with pytest.raises(InputRefused):
        Conv(torch.zeros(shape), image, **options)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (8, {"padding": [(12, -9)]}),
        (8, {"padding": [(-9, 12)]}),
        (3, {"padding": [(7, -5)], "stride": 3, "transposed": True}),
    ],
)
def test_a_crop_beyond_the_image_is_refused_or_handled(image, options):
    try:
        linear_map = Conv(ones(1, 1, 2), image, **options)
    except InputRefused:
        return
    found = bracket(linear_map)
    assert found.below.value <= found.above.value


def test_what_the_map_says_in_messages_names_its_geometry():
    text = repr(Conv(ones(2, 1, 3), 5, stride=2, groups=2, transposed=True))
    for part in ("(2, 1, 3)", "(5,)", "stride (2,)", "groups 2", "zeros", "transposed"):
        assert part in text


@pytest.mark.parametrize("value", [5e-324, 2.0**-1022, 0.5, 1.0, 3.0, 2.0**1023, 1.7e308])
def test_the_scaling_exponent_brings_the_largest_entry_to_one_half(value):
    exponent = power_of_two(torch.tensor([0.0, -value], dtype=torch.float64))
    assert 0.5 <= math.ldexp(value, -exponent) < 1
    assert power_of_two(torch.zeros(3)) == power_of_two(torch.zeros(0)) == 0


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_an_empty_matrix_has_norm_zero(shape):
    assert bracket(Dense(torch.zeros(shape))).above.value == 0
