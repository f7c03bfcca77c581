"""Transforms against sums of 40 digits; and stacks of matrices, as torch maps and differentiates them."""

import mpmath
import pytest
import torch
from sample_kind import seeded

from lipaudit.graph.derivative import pushforward
from lipaudit.ops.fourier import Axis, Fourier
from lipaudit.ops.stacked import stacked


def exact(x, n, sign):
    """Σ_j x_j e^(±2πijk/n) for k < n, each to 40 digits, as pairs of mpmath numbers."""
    with mpmath.workdps(40):
        turn = [mpmath.expjpi(mpmath.mpf(2 * sign * j) / n) for j in range(n)]
        return [sum((x[j] * turn[j * k % n] for j in range(len(x))), mpmath.mpc(0)) for k in range(n)]


@pytest.mark.parametrize("power", [0, 1, 2])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 31, 64, 101])
def test_errors_are_bounded_and_small(n, power):
    forward = Fourier((Axis(1, n, n, "full"),), -1, power, from_real=False, to_real=False)
    x = seeded(n, 1, n, 2)
    y = forward.forward(x)[0]
    with mpmath.workdps(40):
        wanted = exact([mpmath.mpc(*pair) for pair in x[0].tolist()], n, -1)
        scale = mpmath.mpf(n) ** (-mpmath.mpf(power) / 2)
        off = [mpmath.mpc(*got) - scale * want for got, want in zip(y.tolist(), wanted, strict=True)]
        distance = float(mpmath.sqrt(sum(abs(d) ** 2 for d in off)))
    norm = torch.linalg.vector_norm(x)
    error = float(forward.error((x.shape,), (norm,), torch.linalg.vector_norm(y)))
    assert distance <= error
    assert error <= 1e-11 * float(norm) * forward.norm()


@pytest.mark.parametrize("n", [2, 5, 8])
def test_the_real_inverse_reads_what_its_definition_reads(n):
    """A half spectrum that belongs to no real signal: real parts where a frequency is its own mirror."""
    half = n // 2 + 1
    inverse = Fourier((Axis(1, half, n, "real"),), 1, 2, from_real=False, to_real=True)
    x = seeded(n, 1, half, 2)
    z = [complex(*pair) for pair in x[0].tolist()]
    own = {0, n / 2}
    whole = [z[k].real if k in own else z[k] for k in range(half)]
    whole += [z[n - k].conjugate() for k in range(half, n)]
    wanted = [float((value / n).real) for value in exact([mpmath.mpc(v) for v in whole], n, 1)]
    assert inverse.forward(x)[0].tolist() == pytest.approx(wanted, abs=1e-15 * n)
    matrix = torch.func.jacrev(inverse.forward)(x).reshape(n, -1)
    assert float(torch.linalg.matrix_norm(matrix, 2)) == pytest.approx(inverse.norm(), rel=1e-12)


def test_stacks_run_batched_and_are_differentiated_as_products():
    matrices, x = seeded(1, 3, 2, 4), seeded(2, 5, 3, 4, 2)
    wanted = torch.einsum("ams,nask->namk", matrices, x)
    torch.testing.assert_close(torch.vmap(lambda v: stacked(matrices, v))(x), wanted)
    first = torch.vmap(lambda v: stacked(matrices, v), in_dims=3, out_dims=3)
    torch.testing.assert_close(first(x.movedim(0, 3)), wanted.movedim(0, 3))
    slope = torch.func.jacrev(lambda v: stacked(matrices, v))(x[0])
    expected = torch.func.jacrev(lambda v: torch.einsum("ams,ask->amk", matrices, v))(x[0])
    torch.testing.assert_close(slope, expected)
    ahead = pushforward(lambda v: stacked(matrices, v), x[0], x[1])
    torch.testing.assert_close(ahead, wanted[1])
    with pytest.raises(NotImplementedError, match="constants"):
        torch.vmap(lambda w: stacked(w, x[0]))(matrices[None])
