"""In float32, too, no layer exceeds 1 by more than rounding, however large, small or uneven its weights."""

import pytest
import torch
from layer_families import CONVS, DENSE

from lipaudit.errors import LipauditError
from lipaudit.layers import (
    AOLLinear,
    CayleyConv2d,
    CayleyLinear,
    NormalizedLinear,
    SandwichConv2d,
    SandwichLinear,
    SLLConv2d,
    SLLLinear,
    SOCConv2d,
    SOCLinear,
    freeze,
)
from lipaudit.layers.precision import largest, tamed, widened
from lipaudit.layers.rescaling import rescaled, rescaled_kernel

MOST = 1 + 2e-6


def norm(matrices):
    return float(
        torch.linalg.matrix_norm(matrices.to(torch.promote_types(matrices.dtype, torch.float64)), ord=2).max()
    )


def test_what_is_divided_out():
    weight = torch.tensor([[3.0, -4.0], [0.0, 0.0]])
    assert largest(weight).item() == 4
    torch.testing.assert_close(tamed(weight, -1), torch.tensor([[0.75, -1.0], [0.0, 0.0]]))
    assert widened(weight).dtype == torch.float64
    assert widened(weight.to(torch.complex64)).dtype == torch.complex128
    assert bool(tamed(torch.tensor([1.0, torch.nan])).isnan().all())


@pytest.mark.parametrize("steps", range(1, 6))
def test_uneven_rows_are_rescaled_to_1(steps):
    for exponent in range(-160, 1):
        v = 10 ** (exponent / 4)
        equal = torch.eye(4)
        equal[1:] = v
        for W in (equal, equal.T):
            assert norm(rescaled(W, steps)) <= MOST
    for exponent in range(1000):
        v = 10 ** (-exponent / 100)
        assert float(rescaled(torch.tensor([[1, 0], [0, v]]), steps).max()) <= MOST


@pytest.mark.parametrize("steps", range(1, 6))
def test_uneven_channels_are_rescaled_to_1(steps):
    for exponent in [*range(-2000, 0, 40), *range(-250, 0)]:
        kernel = torch.zeros(2, 2, 3, 3)
        kernel[0, 0, 1, 1], kernel[1, 1, 1, 1] = 1.0, 10 ** (exponent / 100)
        made = rescaled_kernel(kernel, (1, 1), steps)
        symbol = torch.fft.rfft2(made.double(), s=(16, 16)).permute(2, 3, 0, 1)
        assert norm(symbol) <= MOST


def test_rows_that_are_0_have_finite_gradients():
    for steps in (1, 3, 5):
        W = torch.tensor([[1.0, 2.0], [0.0, 0.0]], requires_grad=True)
        rescaled(W, steps).sum().backward()
        assert bool(W.grad.isfinite().all())


@pytest.mark.parametrize("size", [1e-40, 1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_rows_of_any_size_have_length_1(size):
    torch.manual_seed(0)
    layer = NormalizedLinear(4, 2)
    with torch.no_grad():
        layer.weight[0] *= size
    lengths = layer.derive(())[0].detach().double().norm(dim=1)
    assert float((lengths - 1).abs().max()) < 1e-6


@pytest.mark.parametrize("gain", [1e2, 1e4, 1e6, 1e9, 1e20, 1e38])
@pytest.mark.parametrize("sizes", [(3, 3), (33, 33), (40, 6), (6, 40)])
def test_cayley_is_orthogonal_whatever_the_gain(gain, sizes):
    torch.manual_seed(0)
    for layer, image in ((CayleyLinear(*sizes), ()), (CayleyConv2d(*sizes, 3), (5, 4))):
        with torch.no_grad():
            layer.gain.fill_(gain)
        values = torch.linalg.svdvals(widened(layer.derive(image)[0].detach()))
        assert float((values - 1).abs().max()) <= 1e-6


@pytest.mark.parametrize("size", [1e-44, 1e-35, 1e-22, 1e-19, 1e12, 1e18, 1e19, 1e25, 1e37])
@pytest.mark.parametrize("family", CONVS)
def test_weights_of_any_size(family, size):
    torch.manual_seed(0)
    padding = {"padding": 1} if CONVS[family].allowed.any_padding else {}
    for layer, shape in ((DENSE[family](5, 5), (5,)), (CONVS[family](2, 2, 3, **padding), (2, 4, 4))):
        layer.requires_grad_(requires_grad=False)
        for name, value in layer.named_parameters():
            if name in ("weight", "start", "bases"):
                value.mul_(size)
        x = 0.1 * torch.randn(1, *shape)
        jacobian = torch.autograd.functional.jacobian(lambda x, f=layer: f(x).flatten(), x).flatten(1)
        assert norm(jacobian) <= MOST


UNEVEN = [
    [[1e5, 0], [0, 1e-15]],
    [[10, 0], [0, 1e-19]],
    [[1e3, 0], [0, 1e-17]],
    [[1e10, 0], [0, 1e-10]],
    [[3e38, 0], [1, 1]],
    [[1e20, 0], [1e-19, 1e-19]],
    [[1e20, 1e-19], [0, 1e-19]],
    [[1e-45, 0], [0, 3e38]],
    [[1e-20, 0], [0, 0]],
]


@pytest.mark.parametrize("W", UNEVEN)
@pytest.mark.parametrize("log_q", [(0.0, 0.0), (60.0, -60.0), (-60.0, 60.0), (3e38, -3e38)])
def test_sll_with_rows_of_any_length(W, log_q):
    W = torch.tensor(W)
    for layer, x in (
        (SLLLinear(2, 2, bias=False), torch.full((1, 2), 0.5)),
        (SLLConv2d(2, 2, 1, bias=False), torch.full((1, 2, 1, 1), 0.5)),
    ):
        layer.requires_grad_(requires_grad=False)
        layer.weight.copy_(W.reshape(layer.weight.shape))
        layer.log_q.copy_(torch.tensor(log_q))
        jacobian = torch.autograd.functional.jacobian(lambda x, f=layer: f(x).flatten(), x).flatten(1)
        assert norm(jacobian) <= MOST


def test_sll_is_the_formula():
    torch.manual_seed(0)
    layer = SLLLinear(5, 4, hidden_features=7, dtype=torch.float64)
    with torch.no_grad():
        layer.log_q.normal_()
    weight, scale = layer.derive(())
    q = layer.log_q.exp()
    wanted = 2 / ((weight @ weight.T).abs() * q[None] / q[:, None]).sum(1)
    torch.testing.assert_close(scale, wanted)
    gradients = [
        torch.autograd.grad(s.square().sum(), (layer.weight, layer.log_q), retain_graph=True)
        for s in (scale, wanted)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("family", CONVS)
def test_the_largest_numbers_have_a_finite_map(family):
    """Of all families but CPL, whose bound on the norm of a kernel overflows there."""
    torch.manual_seed(0)
    for layer, shape in ((DENSE[family](4, 4), (4,)), (CONVS[family](2, 2, 3, padding=1), (2, 4, 4))):
        layer.requires_grad_(requires_grad=False)
        for name, value in layer.named_parameters():
            if name in ("weight", "start", "bases"):
                value.copy_(value.sign() * 3e38)
            elif name == "log_psi":
                value.copy_(torch.linspace(-200, 200, len(value)))
        y = layer(torch.zeros(1, *shape))
        assert bool(y.isfinite().all()) or family == "CPL", family


@pytest.mark.parametrize("log_psi", [-1e3, -100.0, 100.0, 1e3])
def test_sandwich_layers_with_any_psi(log_psi):
    torch.manual_seed(0)
    for layer, x in ((SandwichLinear(3, 3), torch.randn(3)), (SandwichConv2d(2, 2, 3), torch.randn(2, 4, 4))):
        layer.requires_grad_(requires_grad=False)
        layer.log_psi[0] = log_psi
        jacobian = torch.autograd.functional.jacobian(lambda x, f=layer: f(x).flatten(), x).reshape(
            -1, x.numel()
        )
        assert norm(jacobian) <= MOST
        frozen = freeze(layer, x)
        torch.testing.assert_close(frozen(x), layer(x), rtol=0, atol=1e-4)


def test_what_is_not_a_number_stays_none():
    for layer in (SOCLinear(3, 3), SOCConv2d(3, 3, 3)):
        for bad in (torch.nan, torch.inf):
            with torch.no_grad():
                layer.weight.view(-1)[1] = bad
            assert bool(layer(torch.ones(1, 3, 3, 3)).isnan().any())
    for family in ("CPL", "SLL"):
        layer = DENSE[family](3, 3)
        with torch.no_grad():
            layer.weight[0, 0] = torch.nan
        assert bool(layer(torch.ones(1, 3)).isnan().any())


@pytest.mark.parametrize("family", DENSE)
@pytest.mark.parametrize("size", [1e-200, 1e150, 1e200, 1e308])
def test_freezing_huge_weights_ends_with_an_error_of_ours_or_a_proof(family, size):
    torch.manual_seed(0)
    layer = DENSE[family](4, 4, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(layer.weight.sign() * size)
    try:
        frozen = freeze(layer)
    except LipauditError:
        return
    jacobian = torch.autograd.functional.jacobian(frozen, 0.1 * torch.randn(4, dtype=torch.float64))
    assert norm(jacobian) <= MOST


def test_aol_does_not_move():
    """What a weight of ordinary size becomes is the formula, floors or not."""
    torch.manual_seed(0)
    layer = AOLLinear(6, 4, dtype=torch.float64)
    W = layer.weight.detach()
    torch.testing.assert_close(layer.derive(())[0], W / (W @ W.T).abs().sum(1).sqrt()[:, None])
