"""Differentiable bounds: the methods' values, gradients against finite differences, zero, float32."""

from __future__ import annotations

import math

import pytest
import torch
from zoo import normal

from lipaudit.errors import UsageError
from lipaudit.spectral import Conv, Dense, differentiable, gram_circular, gram_zero
from lipaudit.spectral import gram as gram_method
from lipaudit.spectral.four_way import FOUR_WAY

CIRCULAR = {"padding": 1, "padding_mode": "circular"}
LOSSES = {
    "gram": (lambda w: differentiable.gram(w, 5), normal(4, 6)),
    "gram, tall": (lambda w: differentiable.gram(w, 5), normal(5, 3)),
    "gram, no step": (lambda w: differentiable.gram(w, 0), normal(4, 6)),
    "gram, batch": (lambda w: differentiable.gram(w, 3).sum(), normal(2, 3, 4)),
    "circular": (lambda w: differentiable.gram_circular(w, 6, 4), normal(2, 3, 3, 3)),
    "circular, odd": (lambda w: differentiable.gram_circular(w, (5, 7), 4), normal(3, 2, 3, 3)),
    "circular, strided": (lambda w: differentiable.gram_circular(w, 6, 3, stride=2), normal(2, 2, 3)),
    "circular, groups": (
        lambda w: differentiable.gram_circular(w, 4, 3, groups=2, dilation=2),
        normal(4, 2, 3),
    ),
    "zero": (lambda w: differentiable.gram_zero(w, 2), normal(2, 3, 3, 3)),
    "zero, tall": (lambda w: differentiable.gram_zero(w, 3), normal(4, 2, 3)),
    "zero, strided": (lambda w: differentiable.gram_zero(w, 2, stride=2, dilation=3), normal(2, 2, 3)),
    "zero, groups": (lambda w: differentiable.gram_zero(w, 2, groups=2), normal(4, 2, 3)),
    "reshape": (differentiable.reshape, normal(3, 2, 3, 3)),
    "reshape, strided": (lambda w: differentiable.reshape(w, stride=2, dilation=2), normal(3, 2, 3)),
    "four-way": (differentiable.four_way, normal(3, 2, 3, 3)),
    "four-way, strided": (
        lambda w: differentiable.four_way(w, stride=2, dilation=(1, 2), groups=2),
        normal(4, 2, 3, 3),
    ),
}
losses = pytest.mark.parametrize("name", LOSSES)

W, T = normal(6, 4, 3, 3), normal(4, 6, 3)
PAIRS = {
    "gram": (differentiable.gram(normal(7, 9), 6), gram_method.method(6), Dense(normal(7, 9))),
    "circular": (
        differentiable.gram_circular(W, 8, 5),
        gram_circular.method(5),
        Conv(W, 8, **CIRCULAR),
    ),
    "circular, strided": (
        differentiable.gram_circular(W, 8, 5, stride=2, groups=2),
        gram_circular.method(5),
        Conv(W, 8, stride=2, groups=2, **CIRCULAR),
    ),
    "zero": (differentiable.gram_zero(W, 3), gram_zero.method(3), Conv(W, 8, padding=1)),
    "zero, strided": (
        differentiable.gram_zero(T, 4, stride=2, dilation=3),
        gram_zero.method(4),
        Conv(T, 30, padding=1, stride=2, dilation=3),
    ),
    "zero, groups": (
        differentiable.gram_zero(W, 2, groups=3),
        gram_zero.method(2),
        Conv(W, 8, padding=1, groups=3),
    ),
    "four-way": (differentiable.four_way(W), FOUR_WAY, Conv(W, 8, padding=1)),
    "four-way, strided": (
        differentiable.four_way(T, stride=2, dilation=3),
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
    assert float(differentiable.reshape(W)) == pytest.approx(expected, rel=1e-13)
    reads = math.ceil(3 / 2) ** 2
    strided = math.sqrt(reads) * float(torch.linalg.svdvals(W.flatten(1))[0])
    assert float(differentiable.reshape(W, stride=2)) == pytest.approx(strided, rel=1e-13)


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


def test_training_with_it_lowers_the_certified_norm():
    weight = normal(4, 4, 3, 3).requires_grad_(True)
    optimizer = torch.optim.SGD([weight], lr=0.2)
    before = float(gram_zero.METHOD.bound(Conv(weight, 8, padding=1)).value)
    for _ in range(20):
        optimizer.zero_grad()
        differentiable.gram_zero(weight, 3).backward()
        optimizer.step()
    assert gram_zero.METHOD.bound(Conv(weight, 8, padding=1)).value < before - 1


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(UsageError, match="does not divide"):
        differentiable.gram_circular(normal(2, 2, 3), 7, stride=2)
    with pytest.raises(UsageError, match="at least 1"):
        differentiable.gram_zero(normal(2, 2, 3), 0)
    with pytest.raises(UsageError, match="at least 0"):
        differentiable.gram(normal(2, 2), -1)
