"""No Jacobian of any layer exceeds 1, whatever its weights, shape, kernel and stride."""

import itertools

import pytest
import torch
from jacobian import jacobian
from layer_families import CONVS, DENSE, ISOMETRIC, ODD, shaken

from lipaudit.errors import UsageError
from lipaudit.layers import NormalizedLinear, SOCConv2d

SHAPES = [(3, 3, 3, 1), (2, 5, 3, 1), (5, 2, 3, 1), (2, 4, 3, 2), (3, 4, 2, 1), (3, 4, 4, 2), (2, 3, 5, 1)]
IMAGES = [(6, 6), (4, 6)]
CASES = [
    (family, *shape)
    for family, shape in itertools.product(CONVS, SHAPES)
    if family not in ODD or shape[2] % 2
]


def singular_values(layer, *shape):
    layer = layer.double().eval()
    with torch.no_grad():
        for value in layer.parameters():
            value.requires_grad_(requires_grad=False)
    return torch.linalg.svdvals(jacobian(layer, torch.randn(1, *shape, dtype=torch.float64)))


def conv(family, c_in, c_out, kernel, stride, **options):
    made = CONVS[family]
    if made.allowed.any_padding:
        options.setdefault("padding", (kernel - 1) // 2)
    return made(c_in, c_out, kernel, stride, **options)


@pytest.mark.parametrize(("family", "c_in", "c_out", "kernel", "stride"), CASES)
def test_convolutions(family, c_in, c_out, kernel, stride):
    torch.manual_seed(0)
    for image, by in itertools.product(IMAGES, (0.0, 0.3, 3.0)):
        layer = shaken(conv(family, c_in, c_out, kernel, stride), by)
        values = singular_values(layer, c_in, *image)
        assert float(values.max()) <= 1 + 1e-6
        isometric = family in ISOMETRIC and c_out >= c_in * stride**2
        assert not isometric or float(values.min()) >= 1 - 1e-6


@pytest.mark.parametrize("family", DENSE)
@pytest.mark.parametrize(("c_in", "c_out"), [(5, 5), (3, 7), (7, 3), (1, 1), (9, 1)])
def test_dense(family, c_in, c_out):
    torch.manual_seed(1)
    for by in (0.0, 0.3, 3.0):
        assert float(singular_values(shaken(DENSE[family](c_in, c_out), by), c_in).max()) <= 1 + 1e-6


@pytest.mark.parametrize("family", ["AOL", "spectral rescaling", "BCOP"])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, 1), (3, 3, 1), (5, 1, 2), ((3, 1), 1, (1, 0))]
)
def test_paddings(family, mode, kernel, stride, padding):
    torch.manual_seed(2)
    layer = shaken(CONVS[family](2, 3, kernel, stride, padding, padding_mode=mode))
    for image in ((6, 6), (3, 6)):
        assert float(singular_values(layer, 2, *image).max()) <= 1 + 1e-6


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_aol_takes_any_zero_padding(padding):
    torch.manual_seed(3)
    layer = shaken(CONVS["AOL"](2, 3, 4, 2, padding))
    assert float(singular_values(layer, 2, 5, 6).max()) <= 1 + 1e-6


@pytest.mark.parametrize("family", [*CONVS])
def test_zero_weights(family):
    layer = shaken(conv(family, 2, 3, 3, 1), 0.0)
    with torch.no_grad():
        for value in layer.parameters():
            value.zero_()
    values = singular_values(layer, 2, 4, 4)
    # The span of a zero matrix is no statement of BCOP's: whatever it is, it is orthogonal.
    assert float(values.max()) <= 1 + 1e-6


def test_more_terms_leave_less_of_a_contraction():
    torch.manual_seed(4)
    start = shaken(SOCConv2d(3, 3, 3), 0.1).state_dict()
    lost = []
    for terms in (4, 8, 12):
        layer = SOCConv2d(3, 3, 3, terms=terms)
        layer.load_state_dict(start)
        lost.append(1 - float(singular_values(layer, 3, 5, 5).min()))
    assert lost == sorted(lost, reverse=True)
    assert lost[0] > 100 * lost[-1]


def test_a_small_circle_is_refused():
    layer = CONVS["BCOP"](1, 1, 7)
    with pytest.raises(UsageError, match="3 cells"):
        layer(torch.zeros(1, 1, 2, 5))


def test_kernels_wrap_around_small_circles():
    torch.manual_seed(6)
    layer = shaken(CONVS["Cayley"](2, 2, 7))
    assert float(singular_values(layer, 2, 2, 3).max()) <= 1 + 1e-6


def test_normalised_rows():
    torch.manual_seed(5)
    layer = shaken(NormalizedLinear(6, 4), 1.0).double()
    rows = layer.derive(())[0].norm(dim=1)
    torch.testing.assert_close(rows, torch.ones(4, dtype=torch.float64))
    with torch.no_grad():
        layer.weight[1] = 0
    assert bool(layer(torch.randn(2, 6, dtype=torch.float64)).isfinite().all())
