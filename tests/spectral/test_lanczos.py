"""The witness: its quotient is a lower bound, whatever vector it is asked about."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import as_fractions, exceeds, spectral_norm
from sample_kind import seeded
from strategies import convolutions
from zoo import hadamard, normal, with_spectrum

from lipaudit.spectral import ESTIMATES, Conv, Dense, lanczos
from lipaudit.spectral.lanczos import quotient
from lipaudit.spectral.schur import schur_bound

(LANCZOS,) = ESTIMATES


@settings(deadline=None, max_examples=100)
@given(convolutions(largest=6), st.integers(0, 2**20), st.sampled_from([torch.float64, torch.float32]))
def test_every_vector_witnesses_no_more_than_the_norm(recipe, seed, dtype):
    plain = recipe.conv.base()
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(plain.in_shape, generator=generator, dtype=dtype)
    assert quotient(plain, v) <= spectral_norm(recipe.matrix) * (1 + 1e-13)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e300])
def test_the_length_of_the_vector_does_not_matter(scale):
    plain = Dense(hadamard(8))
    v = hadamard(8)[0] * scale
    assert 8**0.5 * (1 - 1e-13) <= quotient(plain, v) <= 8**0.5


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_a_vector_that_is_none_witnesses_nothing(bad):
    assert quotient(Dense(normal(3, 4)), torch.full((4,), bad)) == 0


def test_the_top_singular_vector_is_an_exact_lower_bound():
    for seed in range(20):
        weight = normal(5, 6, seed=seed)
        v = torch.linalg.svd(weight)[2][0]
        found = quotient(Dense(weight), v)
        assert not exceeds(found, as_fractions(weight))
        assert found >= spectral_norm(weight) * (1 - 1e-13)


@pytest.mark.parametrize("size", [3, 40, 120])
def test_estimates_come_close(size):
    gap = with_spectrum([1.0] + [0.9 - 0.001 * i for i in range(size - 1)])
    assert LANCZOS.estimate(Dense(gap)).value >= 1 - 1e-6
    tied = with_spectrum([1.0, 1 - 1e-9] + [0.99] * (size - 2))
    assert LANCZOS.estimate(Dense(tied)).value >= 1 - 1e-4


def test_a_start_orthogonal_to_the_top_is_no_trap():
    weight = torch.zeros(60, 60, dtype=torch.float64)
    weight[59, 0] = 1.0
    weight[range(59), range(1, 60)] = 0.5
    assert LANCZOS.estimate(Dense(weight)).value == pytest.approx(1, rel=1e-6)


def test_more_steps_never_witness_less_than_none():
    linear_map = Conv(normal(8, 8, 3, 3), 12, padding=1)
    values = [LANCZOS.estimate(linear_map, steps).value for steps in (1, 8, 64, 240)]
    assert all(v > 0 for v in values)
    assert values[-1] >= values[0]
    assert values[-1] == LANCZOS.estimate(linear_map).value  # no hidden randomness


@settings(deadline=None, max_examples=60)
@given(convolutions(largest=6))
def test_the_schur_bound_covers_the_absolute_map_too(recipe):
    plain = recipe.conv.base()
    magnitudes = plain.with_weight(plain.weight.abs()).as_matrix()
    assert schur_bound(plain) >= spectral_norm(magnitudes) * (1 - 1e-13)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": [(2, 0), (0, 3)], "stride": 2},
        {"stride": (3, 2), "dilation": (1, 2)},
        {"padding": [(-2, -3), (1, -1)], "stride": 2},
        {"groups": 2, "padding": 5},
    ],
)
def test_the_first_cells_have_no_larger_norm(options, monkeypatch):
    """Also where padding is negative, uneven, or wider than the kernel."""
    monkeypatch.setattr(lanczos, "ENOUGH", 1)
    weight = seeded(3, 4, 4 // options.get("groups", 1), 3, 2)
    whole = Conv(weight, (23, 19), **options)
    part = lanczos._first_cells(whole, 300)
    assert math.prod(part.image) < math.prod(whole.image) / 3
    norms = [float(torch.linalg.matrix_norm(m.as_matrix(), ord=2)) for m in (whole, part)]
    assert norms[1] <= norms[0] * (1 + 1e-12)
    # The small map's matrix is a block of the large one's.
    rows = torch.zeros(whole.out_shape, dtype=torch.bool)
    rows[(slice(None), *(slice(n) for n in part.out_shape[1:]))] = True
    columns = torch.zeros(whole.in_shape, dtype=torch.bool)
    columns[(slice(None), *(slice(n) for n in part.image))] = True
    assert torch.equal(whole.as_matrix()[rows.flatten()][:, columns.flatten()], part.as_matrix())
    monkeypatch.setattr(lanczos, "MANY_CELLS", 300)
    assert lanczos.ESTIMATOR.estimate(whole, tolerance=1e-3).value <= norms[0]


def test_what_wraps_is_searched_as_a_whole():
    for mode in ("circular", "reflect", "replicate"):
        whole = Conv(seeded(1, 2, 2, 3, 3), (9, 9), padding=1, padding_mode=mode)
        assert lanczos._first_cells(whole, 10) is whole
