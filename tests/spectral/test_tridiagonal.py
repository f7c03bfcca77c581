"""The banded kernel: never below λ_max, just above it where the shift is, whatever factor it is handed."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import as_fractions, dominates
from zoo import hadamard, normal, ones

from lipaudit.errors import UsageError
from lipaudit.spectral import tridiagonal
from lipaudit.spectral.tridiagonal import ceiling

BELOW, ABOVE = 1 - 1e-9, 1 + 1e-8


def rows_of(matrix, sizes):
    """The block rows of a Hermitian matrix (or a batch), each as far left as it has entries."""
    matrix = matrix if matrix.dim() == 3 else matrix[None]
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    assert ends[-1] == matrix.shape[-1]
    starts = []
    for i in range(len(sizes)):
        filled = [j for j in range(i + 1) if matrix[:, ends[i] : ends[i + 1], ends[j] : ends[j + 1]].any()]
        starts.append(min([*filled, i]))
    for i in reversed(range(len(sizes) - 1)):
        starts[i] = min(starts[i], starts[i + 1], i)
    return [
        [matrix[:, ends[i] : ends[i + 1], ends[j] : ends[j + 1]] for j in range(i, starts[i] - 1, -1)]
        for i in range(len(sizes))
    ]


def top(matrix):
    """λ_max by LAPACK; relative error a few 1e-15."""
    return float(torch.linalg.eigvalsh(matrix)[..., -1].max())


def banded(n, reach, seed=0, dtype=torch.float64):
    """A random Hermitian band matrix."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(n, n, generator=generator, dtype=dtype)
    index = torch.arange(n)
    matrix = matrix * ((index[:, None] - index[None]).abs() <= reach)
    return matrix + matrix.mH


def path(n):
    """tridiag(1, 2, 1): λ_max = 2 + 2cos(π/(n+1))."""
    return torch.diag(2 * ones(n)) + torch.diag(ones(n - 1), 1) + torch.diag(ones(n - 1), -1)


KNOWN = {
    "1×1": (torch.tensor([[3.0]]).double(), [1], 3.0),
    "path": (path(40), [1] * 40, 2 + 2 * math.cos(math.pi / 41)),
    "path in blocks": (path(40), [8] * 5, 2 + 2 * math.cos(math.pi / 41)),
    "path in uneven blocks": (path(40), [1, 7, 30, 2], 2 + 2 * math.cos(math.pi / 41)),
    "a long path": (path(3000), [100] * 30, 2 + 2 * math.cos(math.pi / 3001)),
    "path ⊗ Hadamard": (torch.kron(path(9), hadamard(16)), [16] * 9, 4 * (2 + 2 * math.cos(math.pi / 10))),
    "beyond one panel": (torch.kron(path(3), ones(300, 300)), [300] * 3, 300 * (2 + 2**0.5)),
    "diagonal": (torch.diag(torch.arange(1.0, 31.0).double()), [5] * 6, 30.0),
    "full": (ones(60, 60), [20] * 3, 60.0),
    "full in one block": (ones(300, 300), [300], 300.0),
    "mostly negative": (torch.diag(torch.tensor([-5.0, -1.0, 2.0, -9.0]).double()), [2, 2], 2.0),
}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("scale", [1.0, 2.0**-30, 1e30])
def test_known_eigenvalues_are_reached_from_above_and_never_undercut(name, scale):
    matrix, sizes, value = KNOWN[name]
    rows, value = rows_of(matrix * scale, sizes), value * scale
    below = float(ceiling(rows, value * BELOW))
    assert below == math.inf or below >= value * (1 - 1e-15)
    above = float(ceiling(rows, value * ABOVE))
    assert value * ABOVE <= above <= value * (1 + 2e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(
    ("n", "reach", "sizes"),
    [
        (12, 3, [3] * 4),
        (12, 3, [1] * 12),
        (30, 11, [4] * 7 + [2]),
        (50, 49, [10] * 5),
        (320, 150, [160, 160]),
    ],
)
def test_random_bands(dtype, n, reach, sizes):
    matrix = banded(n, reach, dtype=dtype)
    value, rows = top(matrix), rows_of(matrix, sizes)
    assert float(ceiling(rows, value * ABOVE)) == pytest.approx(value, rel=2e-8)
    for step in (-1e-6, -1e-9, -1e-12, -1e-14, 0.0, 1e-15, 1e-13, 1e-11):
        assert float(ceiling(rows, value * (1 + step))) >= value * (1 - 1e-14)


def test_only_the_lower_triangle_is_read():
    matrix = banded(20, 6)
    rows = rows_of(matrix, [5] * 4)
    value = top(matrix)
    expected = ceiling(rows, value * ABOVE)
    spoilt = [[row[0].tril() + 1e9 * torch.ones(5, 5).double().triu(1), *row[1:]] for row in rows]
    assert torch.equal(ceiling(spoilt, value * ABOVE), expected)


def test_rows_may_be_made_on_the_way():
    matrix = path(50)
    assert float(ceiling((row for row in rows_of(matrix, [10] * 5)), 4.0)) == pytest.approx(4.0)


@settings(deadline=None, max_examples=300)
@given(
    st.integers(1, 5),
    st.lists(st.integers(-4, 4), min_size=10, max_size=10),
    st.lists(st.integers(1, 2), min_size=5, max_size=5),
    st.sampled_from([-1e-3, -1e-9, -1e-13, -1e-15, 0.0, 1e-16, 1e-15, 1e-14, 1e-12, 1e-8]),
)
def test_whatever_is_returned_dominates_exactly(n, entries, sizes, offset):
    factor = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        factor[i, i] = entries[i]
        if i:
            factor[i, i - 1] = entries[5 + i]
    matrix = factor @ factor.T  # integers, exactly; positive semidefinite, so that λ_max is the norm
    cut = []
    while sum(cut) < n:
        cut.append(min(sizes[len(cut)], n - sum(cut)))
    found = float(ceiling(rows_of(matrix, cut), top(matrix) * (1 + offset)))
    assert found == math.inf or dominates(found, as_fractions(matrix))


def test_a_batch_is_judged_one_by_one():
    matrix = torch.stack([path(20) * s for s in (1.0, 0.5, 0.0, 1 + 1e-6, -3.0)])
    value = top(path(20))
    found = ceiling(rows_of(matrix, [4] * 5), value * ABOVE)
    assert torch.isfinite(found).tolist() == [True, True, True, False, True]
    assert bool((found[[0, 1, 2, 4]] >= value).all())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("block", [0, 1, 2, 3])
@pytest.mark.parametrize("where", [(0, 0), (2, 1), (2, 2)])
def test_nothing_is_proved_about_what_is_not_finite(bad, block, where):
    matrix = torch.stack([path(12), path(12)])
    rows = [[b.clone() for b in row] for row in rows_of(matrix, [3] * 4)]
    for held in rows[block]:
        held[1][where] = bad
        found = ceiling(rows, 100.0)
        assert math.isfinite(float(found[0]))
        assert float(found[1]) == math.inf
        held[1][where] = 0.0


@pytest.mark.parametrize("shift", [math.nan, math.inf, -1.0, 0.0])
def test_senseless_shifts_prove_nothing(shift):
    assert float(ceiling(rows_of(path(8), [4, 4]), shift)) == math.inf


def liars():
    """Factors that are not the ones asked for, from the matrix they should factorise."""
    yield "identity", lambda A, _: torch.eye(A.shape[-1], dtype=A.dtype).expand_as(A)
    yield "zeros", lambda A, _: torch.zeros_like(A)
    yield "huge", lambda A, _: 1e200 * torch.eye(A.shape[-1], dtype=A.dtype).expand_as(A)
    yield "nan", lambda A, _: torch.full_like(A, math.nan)
    yield "not triangular", lambda A, _: torch.ones_like(A)
    yield "negative", lambda _, L: -L
    yield "slightly wrong", lambda _, L: L * (1 + 1e-6)
    yield "slightly small", lambda _, L: L * (1 - 1e-6)


@pytest.mark.parametrize(("name", "lie"), [pytest.param(*liar, id=liar[0]) for liar in liars()])
@pytest.mark.parametrize("which", ["cholesky_ex", "solve_triangular"])
@pytest.mark.parametrize("sizes", [[4] * 6, [24], [1] * 24])
def test_a_factorisation_that_lies_undercuts_nothing(monkeypatch, name, lie, which, sizes):
    del name
    matrix = banded(24, 3) + 3 * torch.eye(24).double()
    value, genuine = top(matrix), getattr(torch.linalg, which)

    def pretended(A, *args, **options):
        if which == "cholesky_ex":
            L, info = genuine(A)
            return lie(A, L), torch.zeros_like(info)
        return lie(args[0], genuine(A, *args, **options)) if args[0].shape[1] == args[0].shape[2] else args[0]

    monkeypatch.setattr(torch.linalg, which, pretended)
    for factor in (0.1, 0.9, BELOW, 1.0, ABOVE, 2.0):
        found = float(ceiling(rows_of(matrix, sizes), value * factor))
        assert found >= value * (1 - 1e-14)


def test_the_factor_of_another_shift_undercuts_nothing(monkeypatch):
    genuine = torch.linalg.cholesky_ex
    monkeypatch.setattr(
        torch.linalg, "cholesky_ex", lambda A: genuine(A + torch.eye(A.shape[-1], dtype=A.dtype))
    )
    for n, sizes in ((5, [1] * 5), (12, [4] * 3), (12, [12])):
        value = top(path(n))
        for factor in (0.8, 0.95, BELOW, 1.0):
            assert float(ceiling(rows_of(path(n), sizes), value * factor)) >= value * (1 - 1e-14)


def test_errors_of_rows_that_share_no_window_are_not_summed_and_others_are(monkeypatch):
    """A factor that is wrong by 1e-3 everywhere costs the sum of as many errors as meet in a window."""
    monkeypatch.setattr(
        torch.linalg,
        "cholesky_ex",
        lambda A: ((1 - 1e-3) ** 0.5 * A.sqrt(), torch.zeros(len(A), dtype=torch.int32)),
    )
    for count in (1, 5, 50):  # 1×1 blocks of 0: M = t, L² = 0.999t, E = 0.001t
        rows = [[torch.zeros(1, 1, 1).double()] for _ in range(count)]
        assert float(ceiling(rows, 1.0)) == pytest.approx(1 + 2**0.5 * 1e-3, rel=1e-5)
    rows = [[torch.zeros(1, 1, 1).double()] * min(2, i + 1) for i in range(50)]
    assert float(ceiling(rows, 1.0)) == pytest.approx(1 + 2 * 2**0.5 * 1e-3, rel=1e-5)


def test_the_slack_is_small_for_wide_bands():
    matrix = banded(900, 450) / 30
    value = top(matrix)
    assert float(ceiling(rows_of(matrix, [450, 450]), value * (1 + 1e-9))) < value * (1 + 3e-9)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [[torch.eye(2).double()[None]], [torch.eye(3).double()[None]] * 2],  # too high a block
        [[torch.eye(2).double()[None]] * 2],  # nothing stands left of the first
        [
            [torch.eye(2).double()[None]],
            [torch.eye(2).double()[None]],
            [torch.eye(2).double()[None]] * 3,  # reaches further than the row before
        ],
        [[torch.eye(2).double()[None]], [torch.eye(2).double()[None], torch.ones(1, 1, 2).double()]],
    ],
)
def test_rows_that_do_not_fit_are_refused(rows):
    with pytest.raises(ValueError, match="row"):
        ceiling(rows, 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.int64])
def test_only_double_precision_is_judged(dtype):
    with pytest.raises(TypeError, match="float64"):
        ceiling([[torch.zeros(1, 2, 2, dtype=dtype)]], 1.0)


def test_complex_blocks_do_not_lose_their_imaginary_part_to_real_ones():
    real, imaginary = torch.eye(2).double()[None], 1j * torch.eye(2, dtype=torch.complex128)[None]
    for rows in ([[real], [real, imaginary]], [[real], [real.to(torch.complex128), imaginary]]):
        with pytest.raises(TypeError, match="one type"):
            ceiling(rows, 1.5)
    rows = [[real.to(torch.complex128)], [real.to(torch.complex128), imaginary]]
    assert float(ceiling(rows, 1.5)) == math.inf
    assert float(ceiling(rows, 2.0 * ABOVE)) >= 2.0


def test_emulated_arithmetic_is_refused(monkeypatch):
    monkeypatch.setenv("CUBLAS_EMULATE_DOUBLE_PRECISION", "1")
    with pytest.raises(UsageError, match="CUBLAS"):
        ceiling([[torch.zeros(1, 2, 2).double()]], 1.0)


def test_strips_and_panels_cover_the_triangle(monkeypatch):
    """Other panel widths and strip counts give the same number, up to their rounding."""
    matrix = normal(40, 40)
    matrix = matrix + matrix.T
    value = top(matrix)
    for panel in (1, 3, 7, 40):
        for strips in (1, 2, 6):
            monkeypatch.setattr(tridiagonal, "PANEL", panel)
            monkeypatch.setattr(tridiagonal, "STRIPS", strips)
            found = float(ceiling(rows_of(matrix, [20, 13, 7]), value * ABOVE))
            assert value <= found <= value * (1 + 2e-8)
            assert float(ceiling(rows_of(matrix, [20, 13, 7]), value * BELOW)) == math.inf
