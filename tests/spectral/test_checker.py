"""The checker: grants just above exactly known norms, never below them, whatever factor it is handed."""

from __future__ import annotations

import inspect
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles import as_fractions, dominates, exceeds, spectral_norm
from scipy.linalg import hilbert
from zoo import hadamard, normal, ones

from lipaudit.errors import UsageError
from lipaudit.spectral import Dense, checker, search

BELOW, ABOVE = 1 - 1e-9, 1 + 1e-8
SCALES = [1.0, 2.0**-100, 2.0**300, 1e-300, 1e300, 2.0**-1020]


def proves(matrix, tau):
    """The verdict on one matrix."""
    return bool(checker.proves(matrix[None], tau)[0])


def complex_hadamard(power):
    """Kronecker powers of the 4×4 DFT matrix: entries ±1, ±i, norm 2^power exactly."""
    four = torch.tensor([[1j ** (a * b % 4) for b in range(4)] for a in range(4)], dtype=torch.complex128)
    matrix = torch.ones(1, 1, dtype=torch.complex128)
    for _ in range(power):
        matrix = torch.kron(matrix, four)
    return matrix


def integer_rank_one(p, q):
    """u vᵀ with integer entries: norm √(|u|²|v|²) of an integer."""
    u, v = torch.arange(1.0, p + 1).double(), torch.arange(-3.0, q - 3).double()
    return torch.outer(u, v), math.sqrt(int((u @ u).item()) * int((v @ v).item()))


KNOWN = {
    "1×1": (torch.tensor([[-3.0]]).double(), 3.0),
    "Hadamard 2": (hadamard(2), math.sqrt(2)),
    "Hadamard 64": (hadamard(64), 8.0),
    "Hadamard 256": (hadamard(256), 16.0),
    "Hadamard 512": (hadamard(512), math.sqrt(512)),
    "half of Hadamard 512": (hadamard(512)[:200], math.sqrt(512)),
    "tall": (hadamard(128)[:, :7], math.sqrt(128)),
    "constant": (torch.full((9, 16), 3.0).double(), 36.0),
    "rank one": integer_rank_one(5, 9),
    "rank one, large": integer_rank_one(300, 40),
    "row": (ones(1, 400), 20.0),
    "column": (ones(400, 1), 20.0),
    "permutation": (
        torch.eye(50).double()[torch.randperm(50, generator=torch.Generator().manual_seed(0))],
        1.0,
    ),
    "diagonal": (torch.diag(torch.arange(1.0, 41.0).double()), 40.0),
    "Jordan block": (torch.tensor([[1.0, 1], [0, 1]]).double(), (1 + math.sqrt(5)) / 2),
    "near ties": (torch.diag(1 - torch.arange(30).double() * 2.0**-52), 1.0),
    "Kronecker": (torch.kron(hadamard(8), torch.full((3, 4), -2.0).double()), math.sqrt(8 * 4 * 12)),
    "complex Hadamard 16": (complex_hadamard(2), 4.0),
    "complex Hadamard 256": (complex_hadamard(4), 16.0),
    "complex Hadamard 64, wide": (complex_hadamard(3)[:11], 8.0),
    "imaginary": (1j * hadamard(16).to(torch.complex128), 4.0),
    "complex rank one": (
        torch.outer(torch.tensor([1, 1j, -2]), torch.tensor([3 + 4j, 0, 5, 1j])),
        math.sqrt(6 * 51),
    ),
}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("scale", SCALES)
def test_known_norms_are_granted_just_above_and_never_below(name, scale):
    matrix, norm = KNOWN[name]
    matrix = matrix.to(torch.complex128 if matrix.is_complex() else torch.float64)
    if "512" in name and scale not in (1.0, 1e-300):
        return
    if math.log10(norm) + math.log10(scale) > 306:
        scale = 1e280
    assert not proves(matrix * scale, norm * scale * BELOW)
    assert proves(matrix * scale, norm * scale * ABOVE)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 12])
def test_hilbert_matrices_judged_exactly(n):
    matrix = torch.from_numpy(hilbert(n))
    near, exact = spectral_norm(matrix), as_fractions(matrix)
    low, high = near * BELOW, near * ABOVE
    assert exceeds(high, exact)
    assert not dominates(low, exact)
    assert not proves(matrix, low)
    assert proves(matrix, high)
    while math.nextafter(low, math.inf) < high:  # where exactly does it start to grant?
        middle = (low + high) / 2
        low, high = (low, middle) if proves(matrix, middle) else (middle, high)
        if high - low < 1e-13 * near:
            break
    assert dominates(high, exact)


def test_a_large_hilbert_matrix():
    matrix = torch.from_numpy(hilbert(200))  # condition number far beyond 1e16
    near = spectral_norm(matrix)
    assert not proves(matrix, near * BELOW)
    assert proves(matrix, near * ABOVE)


def test_hilbert_matrices_of_reciprocals_in_integers():
    inverse = torch.tensor([[16.0, -120, 240, -140], [-120, 1200, -2700, 1680], [240, -2700, 6480, -4200]])
    exact, near = as_fractions(inverse.double()), spectral_norm(inverse.double())
    for step in range(-40, 41):
        tau = near * (1 + step * 1e-15)
        assert dominates(tau, exact) or not proves(inverse.double(), tau)


entries = st.integers(-9, 9).map(float) | st.floats(-1e6, 1e6) | st.floats(-1e-200, 1e-200)


@st.composite
def claims(draw):
    """A small matrix and a τ within a few ulp to a few per cent of its norm."""
    p, q = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    values = draw(st.lists(entries, min_size=p * q, max_size=p * q))
    matrix = torch.tensor(values, dtype=torch.float64).reshape(p, q)
    offset = draw(st.sampled_from([0.0, 1e-16, 4e-16, 1e-15, 1e-14, 1e-13, 1e-11, 1e-8, 1e-2]))
    return matrix, spectral_norm(matrix) * (1 + draw(st.sampled_from([-1, 1])) * offset)


@settings(deadline=None, max_examples=400)
@given(claims())
@example((torch.tensor([[0.6, 0.8], [-0.8, 0.6]]).double(), 1.0))
@example((torch.tensor([[3.0, 4.0]]).double(), 5.0))
@example((torch.tensor([[1.0, 1.0], [1.0, 1.0]]).double(), math.nextafter(2.0, 0.0)))
def test_whatever_is_granted_is_true(claim):
    matrix, tau = claim
    assert not proves(matrix, tau) or dominates(tau, as_fractions(matrix))


@settings(deadline=None, max_examples=150)
@given(claims(), st.integers(0, 2**30))
def test_whatever_is_granted_of_complex_matrices_is_true(claim, seed):
    real, _ = claim
    imaginary = real[torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))].flip(1)
    matrix = torch.complex(real, imaginary)
    embedded = torch.cat([torch.cat([real, -imaginary], 1), torch.cat([imaginary, real], 1)])
    exact, near = as_fractions(embedded), spectral_norm(embedded)
    for offset in (-1e-13, -1e-15, 0.0, 1e-15, 1e-14):
        tau = near * (1 + offset)
        assert not proves(matrix, tau) or dominates(tau, exact)


@settings(deadline=None, max_examples=60)
@given(claims(), st.integers(-1000, 1000))
def test_verdicts_hold_at_every_scale(claim, exponent):
    matrix, tau = claim
    largest = float(matrix.abs().max())
    if largest == 0 or not -1000 < math.frexp(largest)[1] + exponent < 1000:
        return
    scaled, scaled_tau = checker.scaled(matrix, exponent), math.ldexp(tau, exponent)
    assert not proves(scaled, scaled_tau) or dominates(scaled_tau, as_fractions(scaled))


def test_subnormal_matrices():
    matrix = ones(3, 3) * 5e-324  # norm 3 · 2⁻¹⁰⁷⁴, exactly
    assert not proves(matrix, 2 * 5e-324)
    assert proves(matrix, 4 * 5e-324)
    assert proves(ones(1, 1) * 2.0**-1060, 2.0**-1060 * (1 + 2.0**-10))


def test_matrices_near_overflow():
    matrix = hadamard(4) * 2.0**1022  # norm 2¹⁰²³
    assert not proves(matrix, 2.0**1023 * BELOW)
    assert proves(matrix, 2.0**1023 * ABOVE)
    assert not proves(hadamard(16) * 1.7e308, 1.79e308)


def test_entries_that_differ_by_600_decades():
    matrix = torch.tensor([[1e300, 1e-300], [1e-300, -1e300]], dtype=torch.float64)
    assert not proves(matrix, 1e300 * BELOW)
    assert proves(matrix, 1e300 * ABOVE)


@pytest.mark.parametrize("tau", [2.0, 1e3, 1e100])
def test_a_claim_far_above_is_granted(tau):
    assert proves(hadamard(2), tau)


@pytest.mark.parametrize("tau", [1e155, 1e200, 1e308, math.inf])
def test_a_claim_beyond_all_reason_is_not_an_error(tau):
    assert checker.proves(hadamard(2)[None], tau).shape == (1,)


@pytest.mark.parametrize("tau", [0.0, 5e-324, 1e-300, 1e-20, 1.0, math.nan, -1.0, -math.inf])
def test_a_claim_below_is_refused(tau):
    assert not proves(hadamard(2), tau)


def test_zero_matrices():
    zero = torch.zeros(2, 3, 4, dtype=torch.float64)
    for tau in (0.0, 5e-324, 1.0, 1e300):
        assert checker.proves(zero, tau).tolist() == [True, True]
    assert not checker.proves(zero, math.nan).any()
    assert not checker.proves(zero, -1.0).any()
    assert checker.proves(torch.zeros(0, 3, 4, dtype=torch.float64), 1.0).shape == (0,)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, complex(0, math.nan), complex(math.inf, 0)])
@pytest.mark.parametrize("position", [(0, 0), (1, 0), (1, 1)])
@pytest.mark.parametrize("tau", [0.0, 1.0, 1e300, math.inf])
def test_nothing_is_proved_about_what_is_not_finite(bad, position, tau):
    dtype = torch.complex128 if isinstance(bad, complex) else torch.float64
    matrix = torch.zeros(2, 2, dtype=dtype)
    matrix[position] = bad
    assert not proves(matrix, tau)
    mixed = torch.stack([torch.eye(2, dtype=dtype), matrix])
    assert not bool(checker.proves(mixed, tau)[1])


@pytest.mark.parametrize("size", [1, 3, 7, 8, 33, 120])
def test_nan_is_found_in_every_corner(size):
    for place in {0, 1, size // 2, size * size // 2, size * size - 1}:
        matrix = ones(size * size)
        matrix[min(place, size * size - 1)] = math.nan
        for view in (matrix.reshape(size, size), matrix.reshape(size, size).T):
            assert not proves(view, 1e10)
            assert not proves(torch.complex(ones(size, size), view), 1e10)


def test_a_mixed_batch_is_judged_one_by_one():
    batch = torch.stack([hadamard(4) * s for s in (1.0, 0.5, 1e-300, 0.0, 1 + 1e-6, 1e-8)])
    assert checker.proves(batch, 2.0 * ABOVE).tolist() == [True, True, True, True, False, True]
    assert not checker.proves(batch, 1e-9)[[0, 1, 4, 5]].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.complex64, torch.int64])
def test_only_double_precision_is_judged(dtype):
    with pytest.raises(TypeError, match="float64"):
        checker.proves(torch.zeros(1, 2, 2, dtype=dtype), 1.0)


def test_transposed_conjugated_and_strided_views():
    matrix = complex_hadamard(2)[:3]
    for view in (matrix, matrix.mH, matrix.conj(), matrix.T, complex_hadamard(2)[::2, ::1], matrix.flip(1)):
        norm = spectral_norm(
            torch.cat([torch.cat([view.real, -view.imag], 1), torch.cat([view.imag, view.real], 1)])
        )
        assert not proves(view, norm * BELOW)
        assert proves(view, norm * ABOVE)


def test_no_factor_can_be_passed_in():
    assert list(inspect.signature(checker.proves).parameters) == ["G", "tau"]


def liars():
    """Factors that are not the ones asked for."""
    yield "identity", torch.eye
    yield "zeros", torch.zeros
    yield "huge", lambda *n, **k: 1e200 * torch.eye(n[0], **k)
    yield "nan", lambda *n, **k: torch.full((n[0], n[0]), math.nan, **k)
    yield "infinite", lambda *n, **k: torch.full((n[0], n[0]), math.inf, **k)
    yield "not triangular", lambda *n, **k: torch.ones(n[0], n[0], **k)
    yield "negative", lambda *n, **k: -torch.eye(n[0], **k)


@pytest.mark.parametrize(("name", "make"), [pytest.param(*liar, id=liar[0]) for liar in liars()])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_a_factorisation_that_lies_proves_nothing_false(monkeypatch, name, make, dtype):
    del name
    matrix = hadamard(8).to(dtype)
    size = (8,) if make is torch.eye else (8, 8)
    lie = make(*size, dtype=dtype)[None]
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda _: (lie, torch.zeros(1, dtype=torch.int32)))
    for tau in (1.0, 2.0, 2.8284271, math.nextafter(8**0.5, 0.0)):
        assert not proves(matrix, tau)


def test_the_factor_of_another_claim_proves_nothing_false(monkeypatch):
    genuine = torch.linalg.cholesky_ex
    monkeypatch.setattr(
        torch.linalg, "cholesky_ex", lambda M: genuine(M + 2 * torch.eye(M.shape[-1], dtype=M.dtype))
    )
    for tau in (1.0, 2.0, 2.8284271):
        assert not proves(hadamard(8), tau)


def test_a_failed_factorisation_proves_nothing(monkeypatch):
    genuine = torch.linalg.cholesky_ex
    monkeypatch.setattr(
        torch.linalg, "cholesky_ex", lambda M: (genuine(M)[0], torch.ones(1, dtype=torch.int32))
    )
    assert not proves(hadamard(8), 3.0)


@pytest.mark.parametrize("phase", [1j, -1.0, 0.6 + 0.8j])
def test_whose_factor_it_is_does_not_matter(monkeypatch, phase):
    """LLᴴ is the same for L and for L times a number of length 1: any factor is a witness."""
    genuine = torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda M: (genuine(M)[0] * phase, genuine(M)[1]))
    assert proves(complex_hadamard(1), 2.1)
    assert not proves(complex_hadamard(1), math.nextafter(2.0, 0.0))


@pytest.mark.parametrize("order", [64, 128, 512])
def test_a_panel_that_lies_proves_nothing_false(monkeypatch, order):
    """Beyond one block column the panels come from a triangular solver, which is not trusted either."""
    genuine, norm = torch.linalg.solve_triangular, order**0.5
    lies = [
        lambda X: 0 * X,
        lambda X: 1e3 * X,
        lambda X: X * math.nan,
        lambda X: X + 1e-6,
        lambda X: X.flip(1),
    ]
    for lie in lies:
        monkeypatch.setattr(torch.linalg, "solve_triangular", lambda *a, lie=lie, **k: lie(genuine(*a, **k)))
        for tau in (1.0, norm / 2, norm * (1 - 1e-9), math.nextafter(norm, 0.0)):
            assert not proves(hadamard(order), tau)


@pytest.mark.parametrize("p", [1, 31, 40, 41, 64, 65, 100, 129, 383, 390, 450])
@pytest.mark.parametrize("is_complex", [False, True])
def test_block_columns_of_any_width_prove_the_norm_and_no_less(p, is_complex):
    matrix = torch.complex(normal(p, p + 3), normal(p, p + 3, seed=1)) if is_complex else normal(p, p + 3)
    norm = spectral_norm(matrix)
    assert proves(matrix, norm * (1 + 1e-9))
    assert not proves(matrix, norm * (1 - 1e-12))


def test_each_matrix_of_a_batch_may_have_its_own_claim():
    batch = torch.stack([k * hadamard(8) for k in (1.0, 2.0, 3.0)])
    claims = torch.tensor([8**0.5 * 1.001, 8**0.5 * 1.999, 8**0.5 * 3.001], dtype=torch.float64)
    assert checker.gram(batch).proves(claims).tolist() == [True, False, True]
    assert checker.gram(batch)[torch.tensor([2, 0])].proves(claims[:2]).tolist() == [False, True]


def test_a_stated_error_is_paid_for():
    """The claim is about every H within the error, the worst one included."""
    known = checker.gram(hadamard(8)[None])
    for error in (1e-6, 0.5, 8.0):
        unsure = checker.Gram(known.matrices, torch.tensor([error], dtype=torch.float64))
        assert unsure.proves((8 + error) ** 0.5 * (1 + 1e-12))
        assert not unsure.proves((8 + error) ** 0.5 * (1 - 1e-12))


@pytest.mark.parametrize("name", checker._EMULATION_SWITCHES)
@pytest.mark.parametrize("call", [checker.refuse_emulation, lambda: proves(hadamard(2), 9.0)])
def test_emulated_arithmetic_is_refused(monkeypatch, name, call):
    monkeypatch.setenv(name, "1")
    with pytest.raises(UsageError, match=name) as caught:
        call()
    assert name in caught.value.hint
    for harmless in ("", "0", "STANDARD"):
        monkeypatch.setenv(name, harmless)
        call()


def test_a_mode_that_drops_subnormals_is_refused():
    weight = Dense(normal(3, 3) * 2.0**-530 * 2.0**-530)
    calls = [checker.refuse_emulation, lambda: proves(hadamard(2), 9.0)]
    if not torch.set_flush_denormal(True):
        pytest.skip("this machine cannot flush subnormals")
    try:
        for call in (*calls, lambda: checker.proves(weight.weight[None], 0.0)):
            with pytest.raises(UsageError, match="subnormal") as caught:
                call()
            assert "set_flush_denormal" in caught.value.hint
    finally:
        torch.set_flush_denormal(False)
    for call in calls:
        call()


def test_the_hinted_claim_suffices():
    """What the search adds to a norm is enough for the proof to go through at once."""
    for matrix in (normal(1, 1), normal(7, 3), normal(60, 80), normal(200, 200), 1e-8 * normal(5, 5)):
        near, known = spectral_norm(matrix), checker.gram(matrix[None])
        assert known.proves(known.enough(near))
        assert near <= known.enough(near) <= near * (1 + 1e-9)


def test_scaling_by_powers_of_two_is_exact_in_the_normal_range():
    matrix = normal(4, 4)
    for exponent in (-1000, -3, 0, 1, 999, 1020):
        assert as_fractions(checker.scaled(matrix, exponent)) == [
            [x * Fraction(2) ** exponent for x in row] for row in as_fractions(matrix)
        ]
    tiny = torch.tensor([2.0**-1074], dtype=torch.float64)
    assert float(checker.scaled(tiny, 2000)) == 2.0**926
    assert (
        float(checker.scaled(torch.tensor([1.5 * 2.0**1000], dtype=torch.float64), -2000)) == 1.5 * 2.0**-1000
    )


@pytest.mark.parametrize("shape", [(3, 1, 1), (5, 4, 9), (2, 20, 30), (40, 18, 20)])
@pytest.mark.parametrize("is_complex", [False, True])
def test_the_search_returns_what_the_checker_grants(shape, is_complex):
    batch = torch.complex(normal(*shape), normal(*shape, seed=1)) if is_complex else normal(*shape)
    found = search.largest_norm([batch[:2], batch[2:], batch * 1e-3])
    assert checker.proves(batch, found).all()
    truth = float(torch.linalg.svdvals(batch).max())
    assert truth * (1 - 1e-13) <= found <= truth * (1 + 1e-9)
    assert search.largest_norm([batch], start=3 * truth) == 3 * truth
    assert search.largest_norm([batch, batch * 1e-100]) == pytest.approx(truth, rel=1e-9)
    assert search.largest_norm([]) == 0
    assert search.largest_norm([torch.zeros(2, 3, 3).double()]) == 0
