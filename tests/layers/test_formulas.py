"""The formulas behind the layers, against slow and obvious ones."""

import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from jacobian import jacobian
from torch import nn

from lipaudit.layers import (
    CayleyConv2d,
    FirstEntries,
    GroupSort,
    Householder,
    MarginLoss,
    MaxMin,
    ScaledAvgPool2d,
    SpaceToDepth,
    ZeroEntries,
)
from lipaudit.layers.cpl import _norm
from lipaudit.layers.exponential import LIMITS, skew_within
from lipaudit.layers.frequency import filtered, spectrum_of
from lipaudit.layers.orthogonal import bjorck, cayley
from lipaudit.layers.rescaling import from_phases, phases, rescaled, rescaled_kernel

FLOAT = torch.float64


def square_modulus(terms, value):
    """|p(iλ)|² exactly."""
    x = Fraction(value)
    even = sum(Fraction((-1) ** (j // 2), math.factorial(j)) * x**j for j in range(0, terms + 1, 2))
    odd = sum(Fraction((-1) ** (j // 2), math.factorial(j)) * x**j for j in range(1, terms + 1, 2))
    return even**2 + odd**2


@pytest.mark.parametrize("terms", LIMITS)
def test_truncations_contract_up_to_their_limit(terms):
    limit = LIMITS[terms]
    assert all(square_modulus(terms, limit * i / 400) <= 1 for i in range(401))
    assert square_modulus(terms, limit * 1.001) > 1


@pytest.mark.parametrize("terms", [1, 2, 5, 6, 9, 10])
def test_other_truncations_stretch_at_once(terms):
    assert terms not in LIMITS
    assert square_modulus(terms, Fraction(1, 10)) > 1


def test_skew_maps_stay_within():
    torch.manual_seed(0)
    raw = torch.randn(3, 3, 3, 3, dtype=FLOAT)
    skew = skew_within(20 * raw, 2.0)
    matrix = jacobian(lambda x: F.conv2d(x, skew, padding=1), torch.zeros(1, 3, 5, 5))
    torch.testing.assert_close(matrix, -matrix.T)
    assert 1.0 <= float(torch.linalg.matrix_norm(matrix, ord=2)) <= 2.0
    small = 1e-3 * raw
    assert torch.equal(skew_within(small, 2.0), small - small.flip(2, 3).transpose(0, 1))


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_rescaling_is_the_formula(steps):
    torch.manual_seed(1)
    W = torch.randn(4, 6, dtype=FLOAT)
    power = torch.linalg.matrix_power(W @ W.T, 2 ** (steps - 1))
    t = power.abs().sum(1) ** (1 / 2**steps)
    torch.testing.assert_close(rescaled(W, steps), W / t[:, None])
    torch.testing.assert_close(rescaled(W.T, steps), (W / t[:, None]).T)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_a_common_factor_does_not_matter(scale):
    torch.manual_seed(13)
    W, K = torch.randn(4, 6), torch.randn(3, 2, 3, 3)
    for steps in (1, 4):
        torch.testing.assert_close(rescaled(scale * W, steps), rescaled(W, steps))
        one, other = (rescaled_kernel(k, (2, 1), steps) for k in (scale * K, K))
        torch.testing.assert_close(one, other)


def test_more_steps_come_closer_to_norm_1():
    torch.manual_seed(2)
    W = torch.randn(8, 8, dtype=FLOAT)
    norms = [float(torch.linalg.matrix_norm(rescaled(W, steps), ord=2)) for steps in range(1, 6)]
    assert norms == sorted(norms)
    assert norms[-1] > 0.95


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), (2, 2)), ((5, 2), (3, 1)), ((1, 4), (2, 3))])
def test_phases_are_a_convolution_of_stride_1(kernel, stride):
    torch.manual_seed(3)
    weight = torch.randn(2, 3, *kernel, dtype=FLOAT)
    split = phases(weight, stride)
    assert torch.equal(from_phases(split, stride, weight.shape), weight)
    (s, t), (h, w) = stride, split.shape[2:]
    x = torch.randn(1, 3, s * (h + 2), t * (w + 2), dtype=FLOAT)
    cells = x.reshape(1, 3, h + 2, s, w + 2, t).permute(0, 1, 3, 5, 2, 4).reshape(1, -1, h + 2, w + 2)
    found = F.conv2d(cells, split)
    wanted = F.conv2d(x, weight, stride=stride)[..., : found.shape[-2], : found.shape[-1]]
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("image", [(5, 4), (4, 5), (2, 3), (6, 6)])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4), (5, 1)])
def test_a_symbol_is_the_circular_convolution(kernel, image):
    torch.manual_seed(4)
    weight = torch.randn(3, 2, *kernel, dtype=FLOAT)
    x = torch.randn(2, 2, *image, dtype=FLOAT)
    rows, columns = ((k - 1) // 2 for k in kernel)
    wanted = torch.zeros(2, 3, *image, dtype=FLOAT)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            moved = x.roll((rows - i, columns - j), (2, 3))
            wanted += torch.einsum("oi,nihw->nohw", weight[:, :, i, j], moved)
    torch.testing.assert_close(filtered(x, spectrum_of(weight, image)), wanted)


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (1, 1), (12, 2)])
def test_orthonormal_matrices(shape):
    torch.manual_seed(5)
    for dtype in (FLOAT, torch.complex128):
        weight = torch.randn(2, *shape, dtype=dtype)
        one = torch.eye(min(shape), dtype=dtype).expand(2, -1, -1)
        near = torch.linalg.svd(weight, full_matrices=False)
        for made in (cayley(weight), bjorck(weight, 40)):
            small = made.mH @ made if shape[0] >= shape[1] else made @ made.mH
            torch.testing.assert_close(small, one)
        torch.testing.assert_close(bjorck(weight, 40), near.U @ near.Vh)


@pytest.mark.parametrize("iterations", range(6))
@pytest.mark.parametrize("shape", [(5, 5), (3, 9)])
def test_bjorck_stays_below_1_on_its_way(shape, iterations):
    torch.manual_seed(6)
    sigma = torch.linalg.svdvals(bjorck(torch.randn(20, *shape, dtype=FLOAT), iterations))
    assert float(sigma.max()) <= 1 + 1e-12
    # Rounding of float32 cannot push it far above 1 either.
    flat = torch.linalg.qr(torch.randn(20, *shape[::-1]))[0].mT
    assert float(torch.linalg.svdvals(bjorck(flat, iterations).double()).max()) <= 1 + 2e-6


@pytest.mark.parametrize("iterations", [5, 15, 30])
@pytest.mark.parametrize("smallest", [1.0, 1e-3, 1e-6])
def test_bjorck_of_nearly_singular_matrices_in_float32(smallest, iterations):
    torch.manual_seed(14)
    left = torch.linalg.qr(torch.randn(8, 8, dtype=FLOAT))[0]
    right = torch.linalg.qr(torch.randn(50, 8, dtype=FLOAT))[0]
    weight = (left * smallest ** torch.linspace(0, 1, 8, dtype=FLOAT)) @ right.T
    for made in (bjorck(weight.float(), iterations), bjorck(weight.float().T, iterations)):
        assert float(torch.linalg.svdvals(made.double()).max()) <= 1 + 2e-6


@pytest.mark.parametrize("shape", [(7, 4, 6), (1, 8, 8), (3, 6, 4)])
def test_the_norm_that_cpl_divides_by_is_a_bound_with_the_norms_gradient(shape):
    torch.manual_seed(7)
    weights = torch.randn(shape, dtype=FLOAT, requires_grad=True)
    bound, exact = _norm(weights), torch.linalg.matrix_norm(weights, ord=2).amax()
    assert 1 - 1e-12 <= (bound / exact).item() <= 1.005
    found, wanted = (torch.autograd.grad(value, weights)[0] for value in (bound, exact))
    assert float((found - wanted).norm() / wanted.norm()) <= 0.02


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_that_norm_neither_over_nor_underflows(scale):
    torch.manual_seed(8)
    weights = scale * torch.randn(2, 5, 5)
    exact = torch.linalg.matrix_norm(weights.double(), ord=2).amax()
    assert 1 - 1e-6 <= float(_norm(weights) / exact) <= 1.005


def test_activations_are_permutations_or_reflections():
    torch.manual_seed(9)
    x = torch.randn(1, 6, 2, 2, dtype=FLOAT)
    turned = Householder(6, dtype=FLOAT)
    with torch.no_grad():
        turned.theta.copy_(torch.tensor([0.3, 1.9, -4.0]))
    for layer in (MaxMin(), GroupSort(), GroupSort(3), GroupSort(6), turned):
        sigma = torch.linalg.svdvals(jacobian(layer, x))
        torch.testing.assert_close(sigma, torch.ones_like(sigma))
    assert torch.equal(MaxMin()(x)[:, :3] >= MaxMin()(x)[:, 3:], torch.ones(1, 3, 2, 2, dtype=torch.bool))
    assert bool((GroupSort()(x)[:, 0::2] <= GroupSort()(x)[:, 1::2]).all())


def test_householder_starts_as_a_sort():
    torch.manual_seed(10)
    x = torch.randn(3, 8, 2)
    found, wanted = Householder(8)(x), MaxMin()(x)
    torch.testing.assert_close(found, torch.cat([wanted[:, 4:], wanted[:, :4]], 1))


def test_moves_have_norm_1():
    torch.manual_seed(11)
    x = torch.randn(1, 2, 4, 6, dtype=FLOAT)
    for layer in (
        SpaceToDepth(2),
        ScaledAvgPool2d(2),
        ZeroEntries(3, -3),
        FirstEntries(1, -3),
        FirstEntries(4, -1),
    ):
        sigma = torch.linalg.svdvals(jacobian(layer, x))
        torch.testing.assert_close(sigma, torch.ones_like(sigma))


def test_the_loss_asks_for_its_offset():
    logits, labels = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    exact = 0.5 * F.cross_entropy((logits - torch.tensor([[1.5, 0.0, 0.0]])) / 0.5, labels)
    torch.testing.assert_close(MarginLoss(1.5, 0.5)(logits, labels), exact)
    assert float(MarginLoss(0.0, 0.01)(logits, labels)) < 1e-6
    assert float(MarginLoss(5.0, 0.01)(logits, labels)) == pytest.approx(3.0, rel=1e-2)


def test_one_kernel_is_another_cayley_layer_on_another_image():
    torch.manual_seed(12)
    layer = CayleyConv2d(2, 2, 3)
    x = torch.zeros(1, 2, 8, 8)
    x[:, :, :4, :4] = nn.Parameter(torch.randn(1, 2, 4, 4))
    with torch.no_grad():
        assert not torch.allclose(layer(x)[:, :, :4, :4], layer(x[:, :, :4, :4]), atol=1e-2)
