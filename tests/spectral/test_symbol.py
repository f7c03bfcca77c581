"""The symbol on a grid against cosines of 40 digits, and against what regrouping must leave alone."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import mpmath
import pytest
import torch
from oracles import spectral_norm
from zoo import CONVOLUTIONS, normal, ones, wide_range

from lipaudit.errors import NotCovered
from lipaudit.spectral import METHODS, Conv
from lipaudit.spectral.branch import largest_on_grid
from lipaudit.spectral.embedding import embedding_grid
from lipaudit.spectral.fft import is_block_circulant
from lipaudit.spectral.low_resolution import copies
from lipaudit.spectral.method import prepare
from lipaudit.spectral.symbol import CHUNK_ENTRIES, polyphase

GRIDS = [(1,), (2,), (7,), (96,), (5, 4), (3, 1), (1, 2), (2, 3, 4)]


def exact_symbol(symbol, turns):
    """K̂ of each group's entries with 40 digits at a frequency given in turns: {(group, p, q): mpc}."""
    total = {}
    with mpmath.workdps(40):
        for tap, matrix in zip(symbol.taps.tolist(), symbol.matrices, strict=True):
            twiddle = mpmath.expjpi(
                2 * sum(mpmath.mpf(t * f.numerator) / f.denominator for t, f in zip(tap, turns, strict=True))
            )
            for place in itertools.product(*map(range, matrix.shape)):
                total[place] = total.get(place, 0) + twiddle * mpmath.mpf(float(matrix[place]))
    return total


def frequencies(grid, shift):
    """All points of a (shifted) grid, in turns."""
    axes = [[Fraction(2 * i + s, 2 * n) for i in range(n)] for n, s in zip(grid, shift, strict=True)]
    return list(itertools.product(*axes))


def visited(grid, shift):
    """The points that `chunks` visits, in its order: up to conjugation all of them."""
    last = [Fraction(2 * i + shift[-1], 2 * grid[-1]) for i in range((grid[-1] - shift[-1]) // 2 + 1)]
    full = frequencies((*grid[:-1], 1), (*shift[:-1], 0))
    return [(*point[:-1], final) for point in full for final in last]


def shifts(axes):
    """Half a step or none, on every axis."""
    return itertools.product((0, 1), repeat=axes)


SHIFTED = [(grid, shift) for grid in GRIDS for shift in shifts(len(grid))]


@pytest.mark.parametrize(("grid", "shift"), SHIFTED, ids=str)
def test_every_frequency_is_visited_or_is_the_mirror_of_one_that_is(grid, shift):
    seen = set(visited(grid, shift))
    for point in frequencies(grid, shift):
        assert point in seen or tuple(-f % 1 for f in point) in seen


@pytest.mark.parametrize(("grid", "shift"), SHIFTED, ids=str)
@pytest.mark.parametrize("kind", ["normal", "positive", "wide"])
def test_the_symbol_errs_by_less_than_it_says(grid, shift, kind):
    shape = (2, 2, *(3,) * len(grid))
    weight = {"normal": normal(*shape), "positive": ones(*shape), "wide": wide_range(*shape, decades=12)}[
        kind
    ]
    symbol = polyphase(Conv(weight, 20), (1,) * len(grid))
    _, groups, p, q = symbol.matrices.shape
    found = torch.cat(list(symbol.chunks(grid, shift))).reshape(-1, groups, p, q)
    points = visited(grid, shift)
    assert len(found) == len(points)
    for values, turns in list(zip(found, points, strict=True))[:: max(1, len(points) // 4)]:
        exact = exact_symbol(symbol, turns)
        square = sum(abs(value - mpmath.mpc(complex(values[place]))) ** 2 for place, value in exact.items())
        assert float(mpmath.sqrt(square)) <= symbol.error()


@pytest.mark.parametrize("shape", [(1, 1, 31), (2, 3, 9, 9)])
def test_long_kernels_and_fine_grids_stay_within_the_error(shape):
    grid = tuple(997 if k == shape[-1] and len(shape) == 3 else 64 for k in shape[2:])
    symbol = polyphase(Conv(normal(*shape).abs(), 40), (1,) * len(grid))
    found = torch.cat(list(symbol.chunks(grid)))
    points = visited(grid, (0,) * len(grid))
    for at in (0, len(points) // 3, len(points) - 1):
        exact = exact_symbol(symbol, points[at])
        for (_, i, j), value in exact.items():
            assert abs(value - mpmath.mpc(complex(found[at, i, j]))) <= symbol.error()


@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (2, 3), (4, 5)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3), (4, 2)])
def test_regrouping_keeps_every_weight_once(stride, dilation):
    weight = torch.arange(1.0, 2 * 3 * 3 * 2 + 1).double().reshape(2, 3, 3, 2)
    symbol = polyphase(Conv(weight, 30, stride=stride, dilation=dilation), stride)
    kept = symbol.matrices[symbol.matrices != 0]
    assert sorted(kept.tolist()) == sorted(weight.flatten().tolist())
    assert symbol.matrices.shape[2] <= symbol.matrices.shape[3]


@pytest.mark.parametrize(("grid", "shift"), SHIFTED, ids=str)
def test_the_bound_covers_the_frequencies_that_are_left_out(grid, shift):
    symbol = polyphase(Conv(normal(2, 3, *(2,) * len(grid)), 30), (1,) * len(grid))
    largest = 0.0
    for turns in frequencies(grid, shift):
        entries = exact_symbol(symbol, turns)
        matrix = torch.zeros(2, 3, dtype=torch.complex128)
        for (_, i, j), value in entries.items():
            matrix[i, j] = complex(value)
        largest = max(largest, float(torch.linalg.svdvals(matrix)[0]))
    assert largest * (1 - 1e-13) <= largest_on_grid(symbol, grid, shift) <= largest * (1 + 1e-6)


ZERO_PADDED = [s for s in CONVOLUTIONS if s.make().padding_mode == "zeros"]


@pytest.mark.parametrize("specimen", ZERO_PADDED, ids=lambda s: s.name)
@pytest.mark.parametrize("more", [0, 1])
def test_every_shifted_and_larger_grid_embeds_a_zero_padded_map(specimen, more):
    plain, exponent = prepare(specimen.make())
    truth = spectral_norm(plain.as_matrix())
    symbol, grid = polyphase(plain, plain.stride), tuple(n + more for n in embedding_grid(plain))
    assert -1100 < exponent < 1100
    for shift in shifts(len(grid)):
        assert largest_on_grid(symbol, grid, shift) >= truth * (1 - 1e-13)


def test_chunks_stay_within_their_budget():
    symbol = polyphase(Conv(normal(1, 1, 31, 31), 224, padding=15), (1, 1))
    first = next(symbol.chunks((960, 960)))
    assert len(first) * 961 <= CHUNK_ENTRIES
    wide = polyphase(Conv(normal(64, 64, 3, 3), 32, padding=1), (1, 1))
    assert next(wide.chunks((33, 33))).numel() <= CHUNK_ENTRIES


@pytest.mark.parametrize(
    ("image", "options", "grid"),
    [
        (7, {"padding": 1}, 8),
        (7, {"padding": [(3, 0)]}, 9),
        (7, {}, 7),
        (8, {"padding": 1, "stride": 2}, 5),
        (3, {"padding": 40}, 5),
        (7, {"padding": [(-3, -1)]}, 4),
    ],
)
def test_the_embedding_grid_never_shrinks_below_what_the_proof_needs(image, options, grid):
    linear_map = Conv(ones(1, 1, 3), image, **options)
    assert embedding_grid(linear_map) <= (grid,)
    assert largest_on_grid(
        polyphase(linear_map, linear_map.stride), embedding_grid(linear_map)
    ) >= spectral_norm(linear_map.as_matrix()) * (1 - 1e-13)


def test_embedding_is_for_zero_padding():
    with pytest.raises(NotCovered, match="zero"):
        embedding_grid(Conv(ones(1, 1, 3), 5, padding=1, padding_mode="circular"))


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_copies_are_those_that_padding_makes(mode, n):
    for left, right in itertools.product(range(n), repeat=2):
        linear_map = Conv(ones(1, 1, 1), n, padding=[(left, right)], padding_mode=mode)
        padding = linear_map.as_matrix()  # a kernel of one tap copies and nothing else
        assert copies(linear_map) == int(padding.sum(dim=0).max())
    assert copies(Conv(ones(1, 1, 1), n, padding=7)) == 1


def test_copies_multiply_over_axes():
    linear_map = Conv(ones(1, 1, 1, 1), (3, 2), padding=[(1, 2), (1, 1)], padding_mode="replicate")
    assert copies(linear_map) == 3 * 2


def test_what_is_block_circulant():
    def circular(n, stride, padding, mode="circular"):
        return is_block_circulant(Conv(ones(1, 1, 3), n, stride=stride, padding=[padding], padding_mode=mode))

    assert circular(6, 1, (1, 1))
    assert circular(6, 2, (2, 0))
    assert circular(6, 3, (0, 2))
    assert not circular(6, 4, (1, 1))
    assert not circular(6, 1, (1, 0))
    assert not circular(6, 1, (2, 1))
    assert not circular(6, 1, (1, 1), "zeros")


@pytest.mark.parametrize(("degree", "density"), [(1, 3), (2, 3), (4, 3), (4, 9), (3, 33)])
def test_the_secant_factor_is_what_the_worst_symbol_needs(degree, density):
    """|1 − e^{idω}| = 2|sin(dω/2)| peaks half a step off an odd grid: Riesz' comparison is an equality."""
    weight = torch.zeros(1, 1, degree + 1, dtype=torch.float64)
    weight[..., 0], weight[..., -1] = 1.0, -1.0
    on_grid = largest_on_grid(polyphase(Conv(weight, 50), (1,)), (density * degree,))
    assert on_grid < 2
    assert on_grid / math.cos(math.pi / (2 * density)) == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 2), (2, 2, 5), (1, 2, 3, 3), (2, 1, 2, 4)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_supremum_bounds_every_frequency(shape, stride):
    generator = torch.Generator().manual_seed(0)
    linear_map = Conv(normal(*shape), 40, stride=stride)
    (found,) = (m.bound(linear_map).value for m in METHODS if m.name == "supremum")
    symbol = polyphase(linear_map, linear_map.stride)
    angles = torch.rand(4000, len(shape) - 2, generator=generator, dtype=torch.float64) * 2 * math.pi
    phases = angles @ symbol.taps.double().T
    flat = symbol.matrices.reshape(len(symbol.taps), -1)
    values = torch.complex(phases.cos() @ flat, phases.sin() @ flat).reshape(-1, *symbol.matrices.shape[2:])
    assert found >= float(torch.linalg.svdvals(values).max()) * (1 - 1e-12)
