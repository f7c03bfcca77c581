"""The regulariser: oracle, gradients, warm starts, what batch norm gives back, what it does in training."""

from __future__ import annotations

import copy
import gc
import io
import math

import pytest
import torch
from oracles import spectral_norm
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm as constrained
from torch.nn.utils.parametrizations import weight_norm
from training_nets import KINDS, filled, linear_matrix

import lipaudit
from lipaudit import bounds
from lipaudit.errors import UsageError
from lipaudit.training.penalty import BOUNDS, READ_IMAGES


def settled(penalty, calls=60):
    """Its bounds after many power steps."""
    for _ in range(calls):
        penalty()
    return penalty.bounds()


@pytest.mark.parametrize("bound", [name for name in BOUNDS if name != "gram-circular"])
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_lie_above_the_norm_and_the_norm_is_met(kind, bound):
    layer, shape = filled(KINDS[kind])
    example = torch.zeros(1, *shape, dtype=torch.float64)
    found = settled(lipaudit.regularizer(nn.Sequential(layer), example, bound=bound, form="sum"))
    value, truth = float(found["0"].detach()), spectral_norm(linear_matrix(layer, shape))
    assert value >= truth * (1 - 2e-3)  # power steps come from below
    if bound == "norm":
        assert value == pytest.approx(truth, rel=2e-3)


@pytest.mark.parametrize("bound", ["four-way", "reshape"])
def test_the_gradient_is_that_of_the_formula(bound):
    layer, _ = filled(KINDS["strided"])
    penalty = lipaudit.regularizer(nn.Sequential(layer), bound=bound, form="sum")
    settled(penalty, 150)
    (gradient,) = torch.autograd.grad(penalty(), layer.weight)
    exact = bounds.four_way if bound == "four-way" else bounds.reshape
    (expected,) = torch.autograd.grad(exact(layer.weight, stride=2), layer.weight)
    assert torch.allclose(gradient, expected, atol=1e-6)


def test_the_gradient_of_a_reshape_is_the_published_one():
    layer = nn.Conv2d(2, 3, 3, padding=1, bias=False).double()
    penalty = lipaudit.regularizer(nn.Sequential(layer), bound="reshape", form="sum")
    settled(penalty, 300)
    (gradient,) = torch.autograd.grad(penalty(), layer.weight)
    u, _, v = torch.linalg.svd(layer.weight.detach().flatten(1), full_matrices=False)
    assert torch.allclose(gradient.flatten(1), 3 * torch.outer(u[:, 0], v[0]), atol=1e-6)


@pytest.mark.parametrize("kind", ["dense", "reflect", "transposed"])
def test_the_gradient_of_the_norm_is_that_of_the_matrix(kind):
    layer, shape = filled(KINDS[kind])
    example = torch.zeros(1, *shape, dtype=torch.float64)
    penalty = lipaudit.regularizer(layer, example, bound="norm", form="sum")
    settled(penalty, 300)
    (gradient,) = torch.autograd.grad(penalty(), layer.weight)
    step = 1e-5 * torch.randn_like(layer.weight)
    truths = []
    for sign in (1, -1):
        moved = copy.deepcopy(layer)
        moved.weight.data += sign * step
        truths.append(spectral_norm(linear_matrix(moved, shape)))
    assert float((gradient * step).sum()) == pytest.approx((truths[0] - truths[1]) / 2, rel=1e-3)


def test_the_two_forms():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    with torch.no_grad():
        norms = [float(torch.linalg.matrix_norm(model[i].weight, 2)) for i in (0, 3)]
    norms.append(1 / math.sqrt(1 + model[2].eps))
    total = lipaudit.regularizer(model, form="sum")
    assert float(total().detach()) == pytest.approx(sum(norms), rel=1e-3)
    product = math.prod(norms)
    logarithm = lipaudit.regularizer(model, target=product / 2)
    assert float(logarithm().detach()) == pytest.approx(math.log(2), abs=2e-3)
    loss = lipaudit.regularizer(model, target=product * 2)()
    loss.backward()
    assert loss == 0
    assert not model[0].weight.grad.any()


@pytest.mark.parametrize("form", ["log", "sum"])
@pytest.mark.parametrize("bound", BOUNDS)
def test_zero_weights_have_a_finite_loss_without_gradient(bound, form):
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 2))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    penalty = lipaudit.regularizer(model, torch.zeros(1, 1, 4, 4), bound=bound, form=form)
    for _ in range(2):
        loss = penalty()
        loss.backward()
        assert loss.isfinite()
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("form", ["log", "sum"])
@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_infinity_are_never_a_small_loss(bad, bound, form):
    model = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, groups=2), nn.Flatten(), nn.Linear(32, 2))
    with torch.no_grad():
        model[0].weight[1, 0, 0, 0] = bad
    penalty = lipaudit.regularizer(model, torch.zeros(1, 2, 4, 4), bound=bound, form=form)
    assert not penalty().isfinite()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_type_of_parameters(dtype):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(18, 2)).to(dtype)
    penalty = lipaudit.regularizer(model, form="sum")
    loss = penalty()
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    loss.backward()
    assert all(p.grad.dtype == dtype for p in model.parameters() if p.dim() > 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert penalty().dtype == loss.dtype


def test_batch_norm_gives_back_what_it_takes():
    """Scaling what stands before a batch norm changes nothing: the loss has no gradient that way."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4)
    ).double()
    x = torch.randn(16, 1, 8, 8, dtype=torch.float64)
    for _ in range(100):
        model(x)
    penalty = lipaudit.regularizer(model, x, bound="norm", target=1e-3)
    settled(penalty)
    model(x)
    penalty().backward()

    def along(*parameters):
        return float(sum((p.grad * p).sum() for p in parameters).detach())

    assert along(model[0].weight) == pytest.approx(0, abs=1e-3)
    assert along(model[1].weight, model[1].bias) == pytest.approx(0, abs=1e-3)
    assert along(model[3].weight) == pytest.approx(0, abs=1e-3)
    assert along(model[4].weight) == pytest.approx(1, abs=1e-3)
    penalty.close()


def test_a_batch_norm_over_positions_is_told_apart():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    x = torch.randn(2, 4, 3)
    penalty = lipaudit.regularizer(model)
    model(x)
    with pytest.raises(UsageError, match="second axis"):
        penalty()
    penalty = lipaudit.regularizer(model, x)
    model(x)
    assert set(penalty.bounds()) == {"0", "1"}


@pytest.mark.parametrize("bound", sorted(READ_IMAGES))
def test_the_image_with_the_largest_norm_counts(bound):
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular").double()
    shapes = [(1, 8, 8), (1, 3, 16)]

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv

        def forward(self, x):
            return self.conv(x), self.conv(x[:, :, :3].repeat(1, 1, 1, 2))

    found = settled(lipaudit.regularizer(Both(), torch.zeros(1, 1, 8, 8).double(), bound=bound))
    truth = max(spectral_norm(linear_matrix(conv, shape)) for shape in shapes)
    assert float(found["conv"].detach()) == pytest.approx(truth, rel=2e-3)


def test_statistics_that_stand_still_are_constants():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3)).eval()
    x = torch.randn(8, 3)
    penalty = lipaudit.regularizer(model, x, bound="norm", target=1e-3)
    settled(penalty)
    model(x)
    penalty().backward()
    assert float((model[0].weight.grad * model[0].weight).sum().detach()) == pytest.approx(1, abs=1e-3)


def test_hooks_go_with_the_regulariser():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    penalty = lipaudit.regularizer(model)
    assert model[1]._forward_pre_hooks
    model(torch.randn(4, 3))
    torch.save(model, io.BytesIO())
    copy.deepcopy(model)(torch.randn(4, 3))
    penalty.close()
    assert not model[1]._forward_pre_hooks
    penalty = lipaudit.regularizer(model)
    del penalty
    gc.collect()
    assert not model[1]._forward_pre_hooks


@pytest.mark.parametrize("constrain", [constrained, weight_norm])
def test_parametrised_weights_count_as_they_act(constrain):
    layer = constrain(nn.Linear(5, 4)).eval()
    penalty = lipaudit.regularizer(layer, form="sum")
    (found,) = settled(penalty).values()
    truth = float(torch.linalg.matrix_norm(layer.weight.detach(), 2))
    assert float(found.detach()) == pytest.approx(truth, rel=1e-4)
    penalty().backward()
    assert any(p.grad is not None for name, p in layer.named_parameters() if name != "bias")


def test_frozen_layers_count_without_gradient():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[0].requires_grad_(False)
    lipaudit.regularizer(model, form="sum")().backward()
    assert model[0].weight.grad is None
    assert model[1].weight.grad.any()


def test_it_can_be_read_in_inference_mode_and_trained_on():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    penalty = lipaudit.regularizer(model, torch.randn(2, 1, 5, 5), bound="norm", form="sum")
    with torch.inference_mode():
        before = float(penalty())
    model(torch.randn(4, 1, 5, 5))
    loss = penalty()
    loss.backward()
    assert before > 0
    with torch.no_grad():
        assert not penalty().requires_grad
    assert model[0].weight.grad.any()


def test_two_runs_are_the_same():
    layer = nn.Conv2d(2, 3, 3)
    values = [float(lipaudit.regularizer(layer, form="sum")().detach()) for _ in range(2)]
    assert values[0] == values[1]


def test_it_lowers_the_proved_product():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    x, y = torch.randn(30, 1, 4, 4), torch.randint(3, (30,))
    products = []
    for strength in (0.0, 0.5):
        trained = copy.deepcopy(model)
        penalty = lipaudit.regularizer(trained, x[:1], bound="norm", target=0.5)
        optimizer = torch.optim.Adam(trained.parameters(), lr=0.01)
        for _ in range(40):
            loss = nn.functional.cross_entropy(trained(x), y) + strength * penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        maps = (lipaudit.Conv(trained[0].weight, image=4, padding=1), lipaudit.Dense(trained[3].weight))
        products.append(math.prod(lipaudit.bracket(m).above.value for m in maps))
    assert products[1] < products[0] / 3


def test_what_cannot_be_meant_is_refused():
    model = nn.Sequential(nn.Conv2d(1, 1, 3))
    for bound in READ_IMAGES:
        with pytest.raises(UsageError, match="needs to know the images that layer '0' meets"):
            lipaudit.regularizer(model, bound=bound)
    with pytest.raises(UsageError, match="is not one of"):
        lipaudit.regularizer(model, bound="exact")
    with pytest.raises(UsageError, match="is not one of"):
        lipaudit.regularizer(model, form="max")
    for target in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="target"):
            lipaudit.regularizer(model, target=target)


@pytest.mark.parametrize("bound", ["norm", "four-way", "reshape"])
@pytest.mark.parametrize("scale", [2.0**-140, 2.0**-70, 2.0**40, 2.0**120])
def test_every_scale_of_weights_counts_and_is_forgotten(bound, scale):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten(), nn.Linear(48, 3))
    old = copy.deepcopy(model.state_dict())
    example = torch.zeros(1, 2, 4, 4)
    expected = {
        k: float(v.detach()) for k, v in lipaudit.regularizer(model, example, bound=bound).bounds().items()
    }
    penalty = lipaudit.regularizer(model, example, bound=bound)

    def scaled(factor):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(old[name] * factor)
        return penalty.bounds()

    for factor in (scale, math.nan, 0.0, scale, 1.0):
        found = scaled(factor)
        if factor and not math.isnan(factor):
            gradients = torch.autograd.grad(
                sum(found.values()), [p for p in model.parameters() if p.dim() > 1]
            )
            # A subnormal number has few digits.
            close = 0.05 if factor < 1e-38 else 2e-3
            for name, gradient in zip(("0", "2"), gradients, strict=True):
                value = float(found[name].detach())
                assert value == pytest.approx(expected[name] * factor, rel=close)
                weight = model.get_parameter(f"{name}.weight").detach()
                assert float((gradient.double() * weight.double()).sum()) == pytest.approx(value, rel=close)
