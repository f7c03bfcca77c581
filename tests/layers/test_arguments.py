"""The layers take what `nn.Conv2d` takes, and say in one error what a method allows."""

import inspect

import numpy as np
import pytest
import torch
from layer_families import CONVS, DENSE, ODD
from torch import nn

from lipaudit.errors import UsageError
from lipaudit.layers import (
    AOLConv2d,
    AOLLinear,
    BCOPConv2d,
    BjorckLinear,
    CayleyConv2d,
    CPLConv2d,
    CPLLinear,
    FirstEntries,
    GroupSort,
    Householder,
    LOTConv2d,
    MarginLoss,
    MaxMin,
    NormalizedLinear,
    SandwichConv2d,
    SandwichLinear,
    ScaledAvgPool2d,
    SLLLinear,
    SOCConv2d,
    SOCLinear,
    SpaceToDepth,
    SpectralRescaledConv2d,
    ZeroEntries,
    freeze,
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
        (lambda: SOCConv2d(2, 2, 4), "allowed: odd sides, e.g. 3 or 5"),
        (lambda: SOCConv2d(2, 2, (3, 5), padding=0), "'same', which is (1, 2)"),
        (lambda: SOCConv2d(2, 2, 3, padding="valid"), "'same', which is 1"),
        (lambda: SOCConv2d(2, 2, 3, padding=[1, 1.5]), "'same', which is 1"),
        (lambda: SOCConv2d(2, 2, 3, terms=[3]), "3, 4, 7, 8, 11, 12"),
        (lambda: SOCLinear(2, 2, terms=8.0), "3, 4, 7, 8, 11, 12"),
        (lambda: SOCConv2d(2, 2, 3, terms=5), "3, 4, 7, 8, 11, 12"),
        (lambda: CayleyConv2d(2, 2, 3, stride=(1, 2)), "one number"),
        (lambda: AOLConv2d(2, 2, 3, 2, "same"), "numbers"),
        (lambda: AOLConv2d(2, 2, 3, padding="full"), "'same', 'valid', or numbers from 0"),
        (lambda: AOLConv2d(2, 2, 3, padding=True), "numbers from 0"),
        (lambda: AOLConv2d(2, 2, 3, padding=None), "numbers from 0"),
        (lambda: AOLConv2d(2, 2, 3.0), "kernel_size=3.0"),
        (lambda: AOLConv2d(2, 2, (3, None)), "one or two whole numbers from 1 on"),
        (lambda: AOLConv2d(2, 2, 3, stride=None), "stride=None"),
        (lambda: AOLConv2d(True, 2, 3), "in_channels=True"),
        (lambda: CPLLinear("5", 5), "CPLLinear does not allow in_features='5'"),
        (lambda: CPLLinear(5, 5, hidden_features=2.5), "hidden_features=2.5"),
        (lambda: BCOPConv2d("5", 5, 3), "in_channels='5'"),
        (lambda: AOLConv2d(2, 2, 3, padding=-1), "numbers from 0"),
        (lambda: AOLConv2d(2, 2, 3, padding=2, padding_mode="circular"), "copies"),
        (lambda: AOLConv2d(0, 2, 3), "whole numbers"),
        (lambda: AOLConv2d(2, 2, 0), "whole numbers"),
        (lambda: AOLConv2d(2, 2, 3, stride=0), "whole numbers"),
        (lambda: SpectralRescaledConv2d(2, 2, 3, steps=9), "1 to 5"),
        (lambda: SpectralRescaledConv2d(2, 2, 3, steps=2.0), "1 to 5"),
        (lambda: SpectralRescaledConv2d(2, 2, 3, steps=True), "1 to 5"),
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
        (lambda: LOTConv2d(2, 2, 3, iterations=None), "from 0"),
        (lambda: LOTConv2d(2, 2, 3, iterations=2.5), "from 0"),
        (lambda: MarginLoss(float("inf")), "finite"),
        (lambda: MarginLoss("1"), "offset='1'"),
        (lambda: MarginLoss(temperature=None), "temperature=None"),
        (lambda: SpaceToDepth(0), "downscale_factor=0"),
        (lambda: SpaceToDepth("a"), "downscale_factor='a'"),
        (lambda: GroupSort(2.0), "group_size=2.0"),
        (lambda: Householder(4.0), "channels=4.0"),
        (lambda: Householder("a"), "channels='a'"),
        (lambda: ScaledAvgPool2d(True), "kernel_size=True"),
        (lambda: ZeroEntries(-1, -1), "count=-1"),
        (lambda: ZeroEntries(1, 0), "dim=0"),
        (lambda: FirstEntries(0, -1), "count=0"),
        (lambda: FirstEntries(1, "a"), "−1 for the last axis"),
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


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: AOLConv2d(2, 2, 3, pading=1), "AOLConv2d got an unexpected argument 'pading'"),
        (lambda: AOLConv2d(2, 2, 3, steps=2), "AOLConv2d got an unexpected argument 'steps'"),
        (lambda: CPLConv2d(2, 2), "CPLConv2d.__init__"),
        (lambda: CPLLinear(2), "CPLLinear.__init__"),
        (lambda: BjorckLinear(2), "BjorckLinear.__init__"),
        (lambda: NormalizedLinear(2, 2, stepz=1), "NormalizedLinear.__init__"),
    ],
)
def test_misspelt_and_missing_arguments_are_python_errors_of_the_class_that_was_called(make, name):
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value).startswith(name)


@pytest.mark.parametrize("family", CONVS)
@pytest.mark.parametrize("number", [int, np.uint8, torch.tensor])
def test_whole_numbers_of_every_type(family, number):
    one, two, three = map(number, (1, 2, 3))
    layer = CONVS[family](three, two, [three, three], one, [one, one])
    assert layer.geometry == CONVS[family](3, 2, 3, 1, 1).geometry
    assert all(type(v) is int for v in (layer.in_channels, layer.out_channels, *layer.geometry.kernel))
    assert layer(torch.zeros(1, 3, 4, 4)).shape == (1, 2, 4, 4)


@pytest.mark.parametrize("family", DENSE)
def test_small_integers_do_not_overflow(family):
    layer = DENSE[family](np.uint8(200), np.uint8(100))
    assert layer(torch.zeros(1, 200)).shape == (1, 100)


def test_valid_is_padding_of_0():
    assert AOLConv2d(2, 2, 3, padding="valid").geometry == AOLConv2d(2, 2, 3, padding=0).geometry
    assert CayleyConv2d(2, 2, 1, padding="valid").geometry == CayleyConv2d(2, 2, 1).geometry


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.complex64, "float32"])
@pytest.mark.parametrize(
    "make", [AOLLinear, CPLLinear, SandwichLinear, lambda *_, **o: BCOPConv2d(2, 2, 3, **o)]
)
def test_types_that_weights_are_not_derived_in(make, dtype):
    with pytest.raises(UsageError, match="does not allow dtype=") as caught:
        make(2, 2, dtype=dtype)
    assert "allowed: torch.float32 or torch.float64" in caught.value.hint


def test_a_coarse_default_type_is_refused_as_well():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with pytest.raises(UsageError, match=r"dtype=torch\.bfloat16"):
            AOLLinear(2, 2)
        AOLLinear(2, 2, dtype=torch.float32)
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("family", CONVS)
def test_no_image_at_all(family):
    x = torch.zeros(0, 2, 4, 4)
    layer = CONVS[family](2, 3, 3, padding=1)
    y = layer(x)
    assert y.shape == (0, 3, 4, 4)
    y.sum().backward()
    frozen = freeze(layer, torch.zeros(1, 2, 4, 4))
    assert frozen(x).shape == (0, 3, 4, 4)


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [
        (AOLLinear(8, 4), "AOLLinear(in_features=8, out_features=4, bias=True, steps=1)"),
        (
            CayleyConv2d(2, 3, 3, bias=False),
            (
                "CayleyConv2d(2, 3, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), "
                "padding_mode=circular, bias=False)"
            ),
        ),
        (
            nn.Sequential(SOCLinear(3, 5)),
            (
                "Sequential(\n  (0): SOCLinear(\n    in_features=3, out_features=5, bias=True, terms=8\n"
                "    (before): Sequential(\n      (0): ZeroEntries(2, dim=-1)\n    )\n  )\n)"
            ),
        ),
    ],
)
def test_layers_are_printed_without_what_they_do_not_do(layer, wanted):
    assert repr(layer) == wanted


def test_padding_that_is_not_symmetric_is_printed_by_its_name():
    assert "padding='same'" in repr(BCOPConv2d(2, 2, 4))


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
