"""Branch and bound over frequencies, against singular values on fine grids and extremal symbols."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from oracles import conv_matrix, spectral_norm
from zoo import delta, normal, ones

from lipaudit.spectral import Conv, checker
from lipaudit.spectral.branch import largest_on_grid, supremum
from lipaudit.spectral.gram_symbol import gram_symbol
from lipaudit.spectral.method import Effort
from lipaudit.spectral.peaks import peaks
from lipaudit.spectral.symbol import polyphase

TOLERANCE = 1e-6


def symbol_of(weight, stride=1, **options):
    """The symbol of a convolution on some image."""
    axes = weight.dim() - 2
    conv = Conv(weight, 40, stride=stride, **options)
    return polyphase(conv, conv.stride if axes else ())


def values(symbol, angles):
    """σ₁ of the symbol at angles (b, D), by a dense SVD, the largest of all groups."""
    phases = angles @ symbol.taps.double().T
    flat = symbol.matrices.flatten(1)
    matrices = torch.complex(phases.cos() @ flat, phases.sin() @ flat)
    return torch.linalg.svdvals(matrices.reshape(len(angles), *symbol.matrices.shape[1:]))[..., 0].amax(dim=1)


def on_grid(symbol, grid, shift):
    """The largest σ₁ on a whole grid: no symmetry, no branching."""
    axes = [(torch.arange(n).double() * 2 + s) * math.pi / n for n, s in zip(grid, shift, strict=True)]
    return float(values(symbol, torch.cartesian_prod(*axes).reshape(-1, len(grid))).max())


def two_taps(degree, sign):
    """1 ± e^{idω}: its modulus 2|cos(dω/2)| or 2|sin(dω/2)| is what the lemma compares with."""
    weight = torch.zeros(1, 1, degree + 1, dtype=torch.float64)
    weight[..., 0], weight[..., -1] = 1.0, sign
    return symbol_of(weight)


@pytest.mark.parametrize("degree", [1, 2, 3, 7])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_symbols_for_which_the_lemma_is_an_equality(degree, sign):
    symbol = two_taps(degree, sign)
    assert 2 <= supremum(symbol) <= 2 * (1 + TOLERANCE)
    for n in (1, 2, 5, 31, 64, 301, 1000):
        for shift in (0, 1):
            turns = [(2 * l + shift) * math.pi / n for l in range(n)]
            truth = max(abs(1 + sign * mpmath.expj(degree * mpmath.mpf(t))) for t in turns)
            found = largest_on_grid(symbol, (n,), (shift,))
            assert float(truth) * (1 - 1e-15) <= found <= float(truth) * (1 + TOLERANCE) + 1e-6


@pytest.mark.parametrize("start", [0.0, 1.0, 1.999999, 2.0])
def test_a_proposal_below_the_supremum_is_raised(start):
    for degree in (1, 2, 5):
        assert supremum(two_taps(degree, 1.0), start) >= 2


def test_products_of_such_symbols_are_equalities_along_each_axis():
    row = torch.tensor([1.0, 0, 1.0], dtype=torch.float64)
    symbol = symbol_of(torch.outer(row, row)[None, None])
    assert 4 <= supremum(symbol) <= 4 * (1 + TOLERANCE)
    for n in (9, 33, 57, 150):
        truth = on_grid(symbol, (n, n), (0, 0))
        assert truth * (1 - 1e-14) <= largest_on_grid(symbol, (n, n)) <= truth * (1 + TOLERANCE)


KERNELS = [
    normal(3, 2, 3, 3),
    normal(4, 4, 5, 2),
    normal(2, 3, 7),
    normal(2, 2, 2, 3, 2),
    normal(8, 1, 3, 3),
    delta(4, 3, 3) + 1e-3 * normal(4, 4, 3, 3),
    ones(2, 2, 3, 3),
    torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]]).double()[None, None],
    normal(3, 3, 3, 3) * 1e-9 + torch.eye(3).double()[:, :, None, None],
]


@pytest.mark.parametrize("kernel", range(len(KERNELS)))
@pytest.mark.parametrize("stride", [1, 2])
def test_bounds_on_grids_and_beyond_lie_above_every_sample(kernel, stride):
    weight = KERNELS[kernel]
    axes = weight.dim() - 2
    symbol = symbol_of(weight, stride)
    generator = torch.Generator().manual_seed(0)
    angles = torch.rand(5000, axes, generator=generator, dtype=torch.float64) * 2 * math.pi
    everywhere = supremum(symbol)
    assert everywhere >= float(values(symbol, angles).max()) * (1 - 1e-14)
    for n in (3, 8, 25, 60) if axes < 3 else (3, 8):
        for shift in ((0,) * axes, (1,) * axes, (1,) + (0,) * (axes - 1)):
            truth = on_grid(symbol, (n,) * axes, shift)
            found = largest_on_grid(symbol, (n,) * axes, shift)
            assert truth * (1 - 1e-14) <= found <= truth * (1 + TOLERANCE)
            assert everywhere >= truth * (1 - 1e-14)


def test_the_supremum_is_close_where_a_kernel_has_a_peak():
    """Positive kernels peak at frequency 0, where the symbol is the sum of the taps."""
    weight = normal(5, 4, 3, 3).abs()
    truth = float(torch.linalg.svdvals(weight.sum(dim=(2, 3)))[0])
    assert truth * (1 - 1e-14) <= supremum(symbol_of(weight)) <= truth * (1 + TOLERANCE)


def test_few_operations_cost_tightness_only():
    symbol = symbol_of(normal(6, 6, 3, 3))
    tight = supremum(symbol)
    loose = supremum(symbol, effort=Effort(operations=1.0))
    assert tight * (1 - TOLERANCE) <= loose <= 1.2 * tight


@pytest.mark.parametrize("n", [40, 200])
def test_groups_are_searched_each(n):
    weight = normal(6, 1, 3, 3)
    weight[4] *= 3
    symbol = symbol_of(weight, groups=6)
    alone = symbol_of(weight[4:5])
    assert largest_on_grid(symbol, (n, n)) == pytest.approx(largest_on_grid(alone, (n, n)), rel=TOLERANCE)
    assert supremum(symbol) == pytest.approx(supremum(alone), rel=TOLERANCE)


def test_a_large_grid_is_not_visited_point_by_point(monkeypatch):
    visited = []
    genuine = checker.Gram.proves

    def counted(self, tau):
        visited.append(len(self))
        return genuine(self, tau)

    monkeypatch.setattr(checker.Gram, "proves", counted)
    symbol = symbol_of(normal(4, 4, 3, 3))
    largest_on_grid(symbol, (2000, 2000))
    assert sum(visited) < 20_000  # of 2,000,000 in one half


@pytest.mark.parametrize(
    ("image", "mode", "k"),
    [((10, 1000), "zeros", 3), ((4, 500), "zeros", 3), ((2, 57), "circular", (2, 3)), ((1, 900), "zeros", 3)],
)
def test_long_and_narrow_grids_come_to_an_end(image, mode, k):
    """The short axis counts most for each step, but is down to single points first."""
    kernel = k if isinstance(k, tuple) else (k, k)
    symbol = symbol_of(normal(4, 4, *kernel))
    grid = tuple(n + 1 for n in image) if mode == "zeros" else image
    truth = on_grid(symbol, grid, (0, 0))
    assert truth * (1 - 1e-14) <= largest_on_grid(symbol, grid) <= truth * (1 + TOLERANCE)


def test_the_finest_cells_are_not_divided_for_ever():
    symbol = symbol_of(normal(2, 2, 3))
    found = supremum(symbol, effort=Effort(tolerance=0.0, operations=1e15))
    assert found >= supremum(symbol) * (1 - TOLERANCE)


def test_a_grid_stops_where_its_result_is_not_wanted():
    symbol = symbol_of(normal(3, 3, 3, 3))
    whole = largest_on_grid(symbol, (30, 30))
    assert largest_on_grid(symbol, (30, 30), limit=whole / 2) == math.inf
    assert largest_on_grid(symbol, (30, 30), limit=whole * 2) == whole


@pytest.mark.parametrize("expected", [1, 10**6], ids=["direct", "lags"])
@pytest.mark.parametrize(
    "weight",
    [normal(3, 4, 3, 3), normal(6, 2, 3), normal(2, 2, 2, 3, 2), ones(2, 2, 5, 5), normal(2, 3, 1, 1)],
    ids=lambda w: "x".join(map(str, w.shape)),
)
@pytest.mark.parametrize("groups", [1, 2])
def test_the_gram_symbol_errs_by_less_than_it_says(monkeypatch, weight, expected, groups):
    monkeypatch.setattr("lipaudit.spectral.gram_symbol.SMALL", -1e9 if expected == 1 else 1e18)
    axes = weight.dim() - 2
    symbol = symbol_of(torch.cat([weight] * groups), groups=groups)
    H = gram_symbol(symbol, expected)
    assert (H.even is None) == (expected == 1)
    points = torch.randint(0, 100, (7, axes), generator=torch.Generator().manual_seed(1))
    found = H.at(points, (50,) * axes, torch.arange(7) % groups)
    for at, point in enumerate(points):
        with mpmath.workdps(40):
            K = mpmath.matrix(*symbol.matrices.shape[2:])
            for tap, matrices in zip(symbol.taps.tolist(), symbol.matrices[:, at % groups], strict=True):
                turn = mpmath.expjpi(
                    mpmath.mpf(sum(a * b for a, b in zip(tap, point.tolist(), strict=True))) / 50
                )
                K += turn * mpmath.matrix(matrices.tolist())
            exact = K * K.H
            square = sum(
                abs(exact[i, j] - mpmath.mpc(complex(found.matrices[at, i, j]))) ** 2
                for i in range(exact.rows)
                for j in range(exact.cols)
            )
        # An oracle for the norm itself: the Frobenius norm is at least as large.
        assert float(mpmath.sqrt(square)) <= float(found.error[at])
        assert float(found.error[at]) < 1e-9


def test_the_oscillation_bounds_how_far_the_gram_symbol_strays():
    for weight in (normal(3, 4, 3, 3), normal(2, 2, 5), delta(4, 3, 3), ones(1, 1, 3, 3)):
        symbol = symbol_of(weight)
        H = gram_symbol(symbol, 10**6)
        center = H.even[0, 0].reshape(H.side, H.side)
        points = torch.randint(0, 200, (300, weight.dim() - 2), generator=torch.Generator().manual_seed(2))
        at = H.at(points, (100,) * points.shape[1], torch.zeros(300, dtype=torch.int64)).matrices
        strays = torch.linalg.matrix_norm(at - center, ord=2).max()
        assert float(strays) <= H.oscillation * (1 + 1e-14) + 1e-12


def test_peaks_are_estimates_near_the_truth():
    for weight in (normal(16, 12, 3, 3), normal(5, 5, 7), normal(8, 1, 3, 3)):
        symbol = symbol_of(weight, groups=8 if weight.shape[1] == 1 else 1)
        points = torch.randint(0, 40, (30, weight.dim() - 2), generator=torch.Generator().manual_seed(3))
        found, vectors = peaks(symbol, points, (20,) * points.shape[1], steps=200)
        truth = values(symbol, points.double() * math.pi / 20)
        assert torch.allclose(found.amax(dim=0), truth, rtol=1e-3)
        assert vectors.shape == (symbol.matrices.shape[1], symbol.matrices.shape[3], 30)


def test_a_zero_padded_map_of_any_size_stays_below_the_supremum():
    weight = normal(3, 3, 3, 3)
    bound = supremum(symbol_of(weight))
    norms = []
    for n in (1, 2, 5, 9):
        geometry = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
        matrix = conv_matrix(weight, (n, n), {**geometry, "padding_mode": "zeros", "transposed": False})
        norms.append(spectral_norm(matrix))
    assert norms == sorted(norms)
    assert norms[-1] <= bound
