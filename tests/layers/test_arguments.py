"""The layers take what `nn.Conv2d` takes, and say in one error what a method allows."""

import inspect

import pytest
import torch
from layer_families import CONVS, DENSE, ODD
from torch import nn

from lipaudit.errors import UsageError
from lipaudit.layers import (
    AOLConv2d,
    BCOPConv2d,
    CayleyConv2d,
    CPLConv2d,
    CPLLinear,
    GroupSort,
    Householder,
    LOTConv2d,
    MarginLoss,
    MaxMin,
    SandwichConv2d,
    ScaledAvgPool2d,
    SLLLinear,
    SOCConv2d,
    SpectralRescaledConv2d,
)
from lipaudit.layers.potential import MONOTONE, check_activation


def hooked(activation):
    activation.register_forward_hook(lambda _module, _inputs, y: 2 * y)
    return activation


SHARED = ["in_channels", "out_channels", "kernel_size", "stride", "padding"]


@pytest.mark.parametrize("family", CONVS)
def test_a_convolution_is_swapped_in_one_line(family):
    options = {"stride": 2, "padding": 1}
    x = torch.randn(2, 3, 8, 8)
    assert CONVS[family](3, 4, 3, **options)(x).shape == nn.Conv2d(3, 4, 3, **options)(x).shape
    assert CONVS[family](3, 4, 3, padding=1, bias=False)(x).shape == (2, 4, 8, 8)
    assert CONVS[family](3, 4, 3, padding=1)(x[0]).shape == (4, 8, 8)
    names = list(inspect.signature(CONVS[family]).parameters)
    assert names[: len(SHARED)] == SHARED


@pytest.mark.parametrize("family", DENSE)
def test_a_dense_layer_is_swapped_in_one_line(family):
    layer = DENSE[family](6, 4, False, "cpu", torch.float64)
    assert layer(torch.randn(5, 2, 6, dtype=torch.float64)).shape == (5, 2, 4)
    assert all(p.dtype == torch.float64 for p in layer.parameters())


@pytest.mark.parametrize("family", CONVS)
def test_device_and_type_are_passed_on(family):
    layer = CONVS[family](2, 2, 3, padding=1, dtype=torch.float64, device="cpu")
    assert all(p.dtype == torch.float64 for p in layer.parameters())


@pytest.mark.parametrize("family", CONVS)
@pytest.mark.parametrize("option", [{"dilation": 2}, {"groups": 2}, {"padding_mode": "reflect"}])
def test_what_no_method_allows(family, option):
    name = next(iter(option))
    with pytest.raises(UsageError, match=f"does not allow {name}=") as caught:
        CONVS[family](2, 2, 3, padding=1, **option)
    assert "allowed: " in caught.value.hint


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: CayleyConv2d(2, 2, 3, padding_mode="zeros"), "'circular'"),
        (lambda: LOTConv2d(2, 2, 3, padding_mode="circular"), "'zeros'"),
        (lambda: SOCConv2d(2, 2, 3, padding=0), "'same', which is 1"),
        (lambda: BCOPConv2d(2, 2, 4, padding=2), "'same'"),
        (lambda: SOCConv2d(2, 2, 4), "odd"),
        (lambda: SOCConv2d(2, 2, 3, terms=5), "3, 4, 7, 8, 11, 12"),
        (lambda: CayleyConv2d(2, 2, 3, stride=(1, 2)), "one number"),
        (lambda: AOLConv2d(2, 2, 3, 2, "same"), "numbers"),
        (lambda: AOLConv2d(2, 2, 3, padding="valid"), "numbers from 0"),
        (lambda: AOLConv2d(2, 2, 3, padding=-1), "numbers from 0"),
        (lambda: AOLConv2d(2, 2, 3, padding=2, padding_mode="circular"), "copies"),
        (lambda: AOLConv2d(0, 2, 3), "whole numbers"),
        (lambda: AOLConv2d(2, 2, 0), "whole numbers"),
        (lambda: AOLConv2d(2, 2, 3, stride=0), "whole numbers"),
        (lambda: SpectralRescaledConv2d(2, 2, 3, steps=9), "1 to 5"),
        (lambda: CPLConv2d(2, 2, 3, activation=nn.GELU()), "slopes in"),
        (lambda: CPLConv2d(2, 2, 3, hidden_channels=0), "whole numbers"),
        (lambda: CPLLinear(2, 2, hidden_features=0), "whole numbers"),
        (lambda: SandwichConv2d(2, 2, 3, activation=MaxMin()), "slopes in"),
        (lambda: SLLLinear(2, 2, activation=nn.SiLU()), "slopes in"),
        (lambda: CPLLinear(2, 2, activation=nn.Softplus(threshold=0)), "jumps"),
        (lambda: SLLLinear(2, 2, activation=nn.Softplus(threshold=2)), "jumps"),
        (lambda: SandwichConv2d(2, 2, 3, activation=nn.Softplus(threshold=19.9)), "threshold from 20"),
        (lambda: CPLLinear(2, 2, activation=nn.Softplus(threshold=float("nan"))), "threshold from 20"),
        (lambda: CPLLinear(2, 2, activation=nn.Softplus(beta=0)), "beta from"),
        (lambda: CPLLinear(2, 2, activation=nn.Softplus(beta=-1)), "beta from"),
        (lambda: CPLLinear(2, 2, activation=nn.Softplus(beta=float("nan"))), "beta from"),
        (lambda: CPLLinear(2, 2, activation=nn.Softplus(beta=float("inf"))), "beta from"),
        (lambda: CPLLinear(2, 2, activation=hooked(nn.ReLU())), "forward hooks"),
        (lambda: LOTConv2d(2, 2, 3, iterations=-1), "from 0"),
        (lambda: MarginLoss(temperature=0), "above 0"),
        (lambda: MarginLoss(offset=float("nan")), "from 0"),
        (lambda: GroupSort(0), "from 1"),
        (lambda: Householder(3), "even"),
        (lambda: ScaledAvgPool2d(0), "whole number"),
    ],
)
def test_one_clear_error(make, wanted):
    with pytest.raises(UsageError) as caught:
        make()
    assert wanted in str(caught.value)


@pytest.mark.parametrize("kind", MONOTONE)
def test_slopes_of_what_is_allowed(kind):
    x = torch.cat(
        [torch.linspace(-60, 60, 100_001, dtype=torch.float64), torch.logspace(-9, 3, 999).double()]
    )
    x = x.sort().values
    for phi in (kind(), nn.Softplus(beta=3.0, threshold=20)) if kind is nn.Softplus else (kind(),):
        y = check_activation("", phi)(x)
        steps, rises = x.diff(), y.diff()
        assert bool(((rises >= -1e-8) & (rises <= steps + 1e-8)).all())


def test_misspelt_arguments_are_python_errors():
    with pytest.raises(TypeError, match="pading"):
        AOLConv2d(2, 2, 3, pading=1)


@pytest.mark.parametrize("family", CONVS)
def test_wrong_inputs(family):
    layer = CONVS[family](2, 2, 3, padding=1)
    for shape in ((1, 3, 4, 4), (2, 4), (1, 1, 2, 4, 4)):
        with pytest.raises(UsageError, match="met an input of shape"):
            layer(torch.zeros(shape))


@pytest.mark.parametrize("family", [*sorted(ODD), "Cayley"])
def test_a_stride_divides_the_image(family):
    with pytest.raises(UsageError, match="space-to-depth by 2"):
        CONVS[family](2, 2, 3, stride=2)(torch.zeros(1, 2, 5, 4))


@pytest.mark.parametrize("family", DENSE)
def test_wrong_features(family):
    with pytest.raises(UsageError, match=r"shape \(2, 3\)"):
        DENSE[family](4, 5)(torch.zeros(2, 3))


def test_a_stride_divides_the_circle():
    layer = AOLConv2d(2, 2, 3, 2, 1, padding_mode="circular")
    with pytest.raises(UsageError, match="circle"):
        layer(torch.zeros(1, 2, 5, 4))


@pytest.mark.parametrize("layer", [MaxMin(), GroupSort(2)])
def test_activations_need_pairs(layer):
    with pytest.raises(UsageError, match=r"\(2, 3, 4, 4\)"):
        layer(torch.zeros(2, 3, 4, 4))
