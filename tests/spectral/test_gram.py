"""Gram iteration on matrices and on frequencies: formula, rounding, closing norms, steps."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import as_fractions, dominates, spectral_norm
from zoo import hadamard, normal, ones, with_spectrum

from lipaudit.errors import NotCovered, UsageError
from lipaudit.spectral import Conv, Dense, gram, gram_circular
from lipaudit.spectral.gram import gram_bound
from lipaudit.spectral.method import Effort

NORMS = ("frobenius", "one", "inf")


def root_of_sum(values, steps):
    """(Σ σ^(2^(steps+1)))^(1/2^(steps+1)), what the iteration computes in exact arithmetic."""
    power = 2 ** (steps + 1)
    return max(values) * sum((v / max(values)) ** power for v in values) ** (1 / power)


def exact_complex_gram(real, imaginary):
    """[[A, −B], [B, A]], the real matrix with the norm of A + iB, in rational numbers."""
    top = torch.cat([real, -imaginary], 1)
    return as_fractions(torch.cat([top, torch.cat([imaginary, real], 1)]))


@pytest.mark.parametrize("steps", range(8))
def test_the_value_is_the_power_sum_of_the_singular_values(steps):
    values = [1.0, 0.999, 0.9, 0.5, 0.1]
    found = gram.method(steps).bound(Dense(with_spectrum(values))).value
    assert found == pytest.approx(root_of_sum(values, steps), rel=1e-12)


@pytest.mark.parametrize("steps", range(1, 8))
@pytest.mark.parametrize("norm", ["one", "inf"])
def test_other_norms_close_the_iteration_too(steps, norm):
    weight = normal(7, 9)
    A = weight
    for _ in range(steps):
        A = A @ A.T
    expected = float(A.abs().sum(dim=1).max()) ** (1 / 2**steps)
    assert gram.method(steps, norm).bound(Dense(weight)).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_without_steps_every_closing_norm_bounds(norm):
    for weight in (normal(5, 8), torch.tensor([[1.0, 1], [0, 0]]), torch.tensor([[1.0, 0], [1, 0]])):
        found = gram.method(0, norm).bound(Dense(weight)).value
        assert found >= spectral_norm(weight.double()) * (1 - 1e-15)


def test_the_largest_entry_is_no_consistent_norm():
    assert float(ones(2, 2).max()) < spectral_norm(ones(2, 2))
    with pytest.raises(UsageError, match="consistent") as caught:
        gram_bound(ones(1, 2, 2), 3, "max")
    assert "frobenius" in caught.value.hint
    for make in (gram.method, gram_circular.method):
        with pytest.raises(UsageError, match="consistent"):
            make(3, "max")
        with pytest.raises(UsageError, match="at least 0"):
            make(-1)


def test_a_flat_spectrum_of_512_reads_five_per_cent_more_after_six_steps():
    weight = Dense(hadamard(512))
    truth = math.sqrt(512)
    assert gram.method(6).bound(weight).value / truth == pytest.approx(512 ** (1 / 128), rel=1e-9)
    assert gram.METHOD.bound(weight).value / truth < 1.0008
    assert gram.method(1, "inf").bound(weight).value == pytest.approx(truth, rel=1e-9)


def float32_gram(weight, steps):
    """The iteration as it is published: float32, rescaled by the Frobenius norm, no error terms."""
    G, logarithm = weight.float(), 0.0
    for _ in range(steps):
        size = torch.linalg.vector_norm(G)
        G, logarithm = (G / size) @ (G / size).T, 2 * (logarithm + math.log(float(size)))
    return math.exp((math.log(float(torch.linalg.vector_norm(G))) + logarithm) / 2**steps)


def test_float32_without_error_terms_prints_below_the_truth_and_ours_never_does():
    below = 0
    for seed in range(60):
        weight = normal(24, 40, seed=seed).float()
        truth = spectral_norm(weight.double())
        below += float32_gram(weight, 12) < truth * (1 - 1e-9)
        assert gram.method(12).bound(Dense(weight)).value >= truth * (1 - 1e-15)
    assert below >= 10


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 9, 40])
def test_rank_one_is_bounded_exactly_in_rational_numbers(steps):
    """The one case in which the formula is an equality, so that a single lost ulp shows."""
    for seed in range(40):
        weight = torch.outer(normal(5, seed=seed), normal(7, seed=seed + 1000))
        exact = as_fractions(weight)
        for norm in NORMS:
            found = gram.method(steps, norm).bound(Dense(weight)).value
            assert dominates(found, exact)
            assert norm != "frobenius" or found <= spectral_norm(weight) * (1 + 1e-12)


@pytest.mark.parametrize("steps", [0, 1, 2, 6])
@pytest.mark.parametrize("norm", NORMS)
def test_sums_that_round_the_same_way_every_time_are_paid_for(steps, norm):
    """A constant row of 200 000: its squares add up hundreds of ulp too low, or too high."""
    count = 200_000
    for seed in range(12):
        entry = 0.5 + seed / 37
        weight = torch.full((1, count), entry, dtype=torch.float64)
        for found in (
            gram_bound(weight[None], steps, norm),
            gram.method(steps, norm).bound(Dense(weight.T)).value,
        ):
            assert Fraction(found) ** 2 >= count * Fraction(entry) ** 2


entries = st.floats(-1e3, 1e3, allow_nan=False) | st.integers(-2, 2).map(float) | st.just(2.0**-1060)


@settings(deadline=None, max_examples=60)
@given(st.lists(entries, min_size=12, max_size=12), st.integers(0, 7), st.sampled_from(NORMS))
def test_complex_matrices_are_bounded_exactly(values, steps, norm):
    real, imaginary = torch.tensor(values, dtype=torch.float64).reshape(2, 2, 3)
    found = gram_bound(torch.complex(real, imaginary)[None], steps, norm)
    assert dominates(found, exact_complex_gram(real, imaginary))


@pytest.mark.parametrize("steps", [None, 0, 3, 12])
@pytest.mark.parametrize("norm", NORMS)
def test_a_batch_is_bounded_by_its_largest_matrix(steps, norm):
    batch = torch.stack([normal(4, 6, seed=s) * 10.0 ** (-60 * s) for s in range(6)])
    found = gram_bound(batch.flip(0), steps, norm)
    assert found >= spectral_norm(batch[0]) * (1 - 1e-15)
    assert found == pytest.approx(gram_bound(batch[:1], steps, norm), rel=1e-12)


@pytest.mark.parametrize("steps", [None, 0, 1, 12])
def test_zero_and_what_is_not_finite(steps):
    assert gram_bound(torch.zeros(3, 2, 4, dtype=torch.float64), steps) == 0
    for bad in (math.inf, math.nan):
        assert gram_bound(torch.full((1, 2, 2), bad, dtype=torch.float64), steps) == math.inf


@pytest.mark.parametrize("exponent", [-1074, -1000, -30, 1000])
def test_any_scale_takes_the_same_path(exponent):
    weight = (4 * normal(5, 6)).round()
    factor = Fraction(2) ** exponent
    scaled = torch.tensor(
        [[float(Fraction(x) * factor) for x in row] for row in weight.tolist()], dtype=torch.float64
    )
    found = gram_bound(scaled[None], 5)
    assert Fraction(found) >= Fraction(gram_bound(weight[None], 5)) * factor


def test_more_steps_never_loosen_what_is_returned_and_a_goal_ends_the_iteration():
    weight = normal(1, 30, 30)
    truth = spectral_norm(weight[0])
    values = [gram_bound(weight, steps) for steps in range(10)]
    assert all(a >= b * (1 - 1e-12) for a, b in pairwise(values))
    assert gram_bound(weight) <= values[-1] * (1 + 1e-6)
    assert gram_bound(weight, enough=1.2 * truth) <= 1.2 * truth
    assert gram_bound(weight, tolerance=0.5) >= gram_bound(weight) >= truth


@pytest.mark.parametrize("steps", [0, 3, 12])
def test_circular_is_the_largest_frequency(steps):
    """The oracle's singular values, block by block: those of one frequency are one power sum."""
    weight, n = normal(2, 3, 3), 5
    found = gram_circular.method(steps).bound(Conv(weight, n, padding=1, padding_mode="circular")).value
    angles = 2 * math.pi * torch.arange(n).double() / n
    phases = torch.exp(1j * angles[:, None] * torch.arange(3))
    blocks = torch.einsum("nt,oit->noi", phases, weight.to(torch.complex128))
    expected = max(root_of_sum(torch.linalg.svdvals(b).tolist(), steps) for b in blocks)
    assert found == pytest.approx(expected, rel=1e-11)


def test_circular_in_small_memory_says_the_same():
    linear_map = Conv(normal(3, 4, 3, 3), 7, padding=1, padding_mode="circular")
    usual = gram_circular.method(4).bound(linear_map).value
    small = gram_circular.method(4).bound(linear_map, effort=Effort(memory=1)).value
    assert small == pytest.approx(usual, rel=1e-13)


def test_a_convolution_whose_matrix_is_too_large_is_not_covered():
    with pytest.raises(NotCovered, match="MiB"):
        gram.METHOD.bound(Conv(normal(8, 8, 3), 4000, padding=1))
