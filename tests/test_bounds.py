"""Differentiable bounds: the methods' values, gradients against finite differences, zero, float32."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import spectral_norm
from zoo import normal

import lipaudit
from lipaudit import bounds
from lipaudit.errors import UsageError
from lipaudit.spectral import Conv, Dense, gram_circular, gram_zero
from lipaudit.spectral import gram as gram_method
from lipaudit.spectral.four_way import FOUR_WAY

CIRCULAR = {"padding": 1, "padding_mode": "circular"}
LOSSES = {
    "dense": (bounds.dense, normal(4, 6)),
    "dense, batch": (lambda w: bounds.dense(w).sum(), normal(2, 5, 3)),
    "gram": (lambda w: bounds.gram(w, 5), normal(4, 6)),
    "gram, tall": (lambda w: bounds.gram(w, 5), normal(5, 3)),
    "gram, no step": (lambda w: bounds.gram(w, 0), normal(4, 6)),
    "gram, batch": (lambda w: bounds.gram(w, 3).sum(), normal(2, 3, 4)),
    "circular": (lambda w: bounds.gram_circular(w, 6, 4), normal(2, 3, 3, 3)),
    "circular, odd": (lambda w: bounds.gram_circular(w, (5, 7), 4), normal(3, 2, 3, 3)),
    "circular, strided": (lambda w: bounds.gram_circular(w, 6, 3, stride=2), normal(2, 2, 3)),
    "circular, groups": (
        lambda w: bounds.gram_circular(w, 4, 3, groups=2, dilation=2),
        normal(4, 2, 3),
    ),
    "zero": (lambda w: bounds.gram_zero(w, 2), normal(2, 3, 3, 3)),
    "zero, tall": (lambda w: bounds.gram_zero(w, 3), normal(4, 2, 3)),
    "zero, strided": (lambda w: bounds.gram_zero(w, 2, stride=2, dilation=3), normal(2, 2, 3)),
    "zero, groups": (lambda w: bounds.gram_zero(w, 2, groups=2), normal(4, 2, 3)),
    "reshape": (bounds.reshape, normal(3, 2, 3, 3)),
    "reshape, strided": (lambda w: bounds.reshape(w, stride=2, dilation=2), normal(3, 2, 3)),
    "four-way": (bounds.four_way, normal(3, 2, 3, 3)),
    "four-way, strided": (
        lambda w: bounds.four_way(w, stride=2, dilation=(1, 2), groups=2),
        normal(4, 2, 3, 3),
    ),
}
losses = pytest.mark.parametrize("name", LOSSES)

W, T = normal(6, 4, 3, 3), normal(4, 6, 3)
PAIRS = {
    "gram": (bounds.gram(normal(7, 9), 6), gram_method.method(6), Dense(normal(7, 9))),
    "circular": (
        bounds.gram_circular(W, 8, 5),
        gram_circular.method(5),
        Conv(W, 8, **CIRCULAR),
    ),
    "circular, strided": (
        bounds.gram_circular(W, 8, 5, stride=2, groups=2),
        gram_circular.method(5),
        Conv(W, 8, stride=2, groups=2, **CIRCULAR),
    ),
    "zero": (bounds.gram_zero(W, 3), gram_zero.method(3), Conv(W, 8, padding=1)),
    "zero, strided": (
        bounds.gram_zero(T, 4, stride=2, dilation=3),
        gram_zero.method(4),
        Conv(T, 30, padding=1, stride=2, dilation=3),
    ),
    "zero, groups": (
        bounds.gram_zero(W, 2, groups=3),
        gram_zero.method(2),
        Conv(W, 8, padding=1, groups=3),
    ),
    "four-way": (bounds.four_way(W), FOUR_WAY, Conv(W, 8, padding=1)),
    "four-way, strided": (
        bounds.four_way(T, stride=2, dilation=3),
        FOUR_WAY,
        Conv(T, 30, stride=2, dilation=3),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_value_is_the_methods(name):
    found, method, linear_map = PAIRS[name]
    assert float(found) == pytest.approx(method.bound(linear_map).value, rel=1e-9)


def test_reshape_is_the_published_formula():
    expected = 3 * float(torch.linalg.svdvals(W.flatten(1))[0])
    assert float(bounds.reshape(W)) == pytest.approx(expected, rel=1e-13)
    reads = math.ceil(3 / 2) ** 2
    strided = math.sqrt(reads) * float(torch.linalg.svdvals(W.flatten(1))[0])
    assert float(bounds.reshape(W, stride=2)) == pytest.approx(strided, rel=1e-13)


@losses
def test_gradients_agree_with_finite_differences(name):
    loss, weight = LOSSES[name]
    assert torch.autograd.gradcheck(loss, weight.clone().requires_grad_(True), eps=1e-6, atol=1e-6)


@losses
def test_the_loss_and_its_gradient_are_homogeneous(name):
    loss, weight = LOSSES[name]
    plain, slope = value_and_gradient(loss, weight)
    for scale in (1e-100, 1e100):
        value, gradient = value_and_gradient(loss, weight * scale)
        assert value == pytest.approx(plain * scale, rel=1e-10)
        assert torch.allclose(gradient, slope, rtol=1e-6, atol=1e-8)


def value_and_gradient(loss, weight):
    weight = weight.clone().requires_grad_(True)
    value = loss(weight)
    (gradient,) = torch.autograd.grad(value, weight)
    return float(value.detach()), gradient


@losses
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_has_value_and_gradient_zero(name, dtype):
    loss, weight = LOSSES[name]
    value, gradient = value_and_gradient(loss, torch.zeros_like(weight, dtype=dtype))
    assert value == 0
    assert not gradient.any()


@losses
def test_a_zero_group_or_row_leaves_the_gradient_finite(name):
    loss, weight = LOSSES[name]
    weight = weight.clone()
    weight[: len(weight) // 2] = 0
    value, gradient = value_and_gradient(loss, weight)
    assert value > 0
    assert gradient.isfinite().all()


@losses
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_single_precision_is_as_good_as_it_can_be(name, scale):
    loss, weight = LOSSES[name]
    expected, slope = value_and_gradient(loss, weight)
    value, gradient = value_and_gradient(loss, (weight * scale).float())
    assert gradient.dtype == torch.float32
    assert value == pytest.approx(expected * scale, rel=1e-5)
    assert torch.allclose(gradient.double(), slope, rtol=1e-2, atol=1e-3)


def test_the_gradient_of_a_matrix_is_uv():
    weight = normal(5, 3).requires_grad_(True)
    (gradient,) = torch.autograd.grad(bounds.dense(weight), weight)
    u, _, v = torch.linalg.svd(weight.detach(), full_matrices=False)
    assert torch.allclose(gradient, torch.outer(u[:, 0], v[0]))


@pytest.mark.parametrize(
    "geometry", [{"stride": 1}, {"stride": 2}, {"stride": 2, "groups": 2}, {"dilation": 2}], ids=str
)
@pytest.mark.parametrize("bound", [bounds.gram_zero, bounds.four_way, bounds.reshape])
def test_transposed_convolutions_take_their_weight_as_it_is(bound, geometry):
    weight = normal(4, 3, 3)
    matrix = Conv(weight, 6, padding=1, transposed=True, **geometry).as_matrix()
    assert float(bound(weight, **geometry)) >= spectral_norm(matrix) * (1 - 1e-12)


@pytest.mark.parametrize(
    ("mode", "padding", "image", "copies"),
    [
        ("zeros", 2, 5, 1),
        ("circular", 1, 5, 1),
        ("circular", 2, 5, 2),
        ("reflect", 1, 5, 2),
        ("replicate", 2, 5, 3),
        ("replicate", 1, 1, 3),
    ],
)
@pytest.mark.parametrize("axes", [1, 2])
def test_padding_that_repeats_cells_costs_their_number(mode, padding, image, copies, axes):
    weight = normal(2, 3, *[3] * axes)
    conv = Conv(weight, image, padding=padding, padding_mode=mode)
    factor = bounds.padding_factor(conv)
    assert factor == pytest.approx(math.sqrt(copies**axes), rel=1e-15)
    for bound in (bounds.gram_zero, bounds.four_way, bounds.reshape):
        assert float(bound(weight)) * factor >= spectral_norm(conv.as_matrix()) * (1 - 1e-12)


def test_it_is_a_public_name():
    assert lipaudit.bounds is bounds
    assert "bounds" in dir(lipaudit)
    assert set(bounds.__all__) >= {"dense", "four_way", "gram", "gram_circular", "gram_zero", "reshape"}


def test_training_with_it_lowers_the_certified_norm():
    weight = normal(4, 4, 3, 3).requires_grad_(True)
    optimizer = torch.optim.SGD([weight], lr=0.2)
    before = float(gram_zero.METHOD.bound(Conv(weight, 8, padding=1)).value)
    for _ in range(20):
        optimizer.zero_grad()
        bounds.gram_zero(weight, 3).backward()
        optimizer.step()
    assert gram_zero.METHOD.bound(Conv(weight, 8, padding=1)).value < before - 1


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(UsageError, match="does not divide"):
        bounds.gram_circular(normal(2, 2, 3), 7, stride=2)
    with pytest.raises(UsageError, match="at least 1"):
        bounds.gram_zero(normal(2, 2, 3), 0)
    with pytest.raises(UsageError, match="at least 0"):
        bounds.gram(normal(2, 2), -1)
