"""φ′ and the range of φ″: against autograd, and the constants by interval arithmetic."""

import math

import pytest
import torch
from mpmath import iv, mp
from torch.nn import functional

from lipaudit.ops.activation import ROWS, Elementwise
from lipaudit.ops.smooth import EVALUATED, SMOOTH, smooth

FUNCTIONS = {
    "softplus": lambda x: functional.softplus(x, 3.0, 60.0),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "logsigmoid": functional.logsigmoid,
    "sin": torch.sin,
    "cos": torch.cos,
    "atan": torch.atan,
    "asinh": torch.asinh,
    "erf": torch.erf,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "mish": functional.mish,
}
NO_EXACT = frozenset({"silu", "mish", "gelu_tanh"})
"""The constants of these are rounded up generously."""


def known(name):
    return smooth(Elementwise(name, FUNCTIONS[name], 1.0, parameters=(3.0, 60.0)))


def test_every_activation_of_the_table_has_a_function_here():
    assert set(FUNCTIONS) == set(SMOOTH)
    assert smooth(Elementwise("relu", torch.relu, 1.0)) is None
    assert len(ROWS) > len(SMOOTH)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_slope_is_the_derivative_and_the_range_holds_and_is_attained(name):
    x = torch.linspace(-12, 12, 48001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(FUNCTIONS[name](x).sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    row = known(name)
    assert (row.derivative(x) - slope).abs().max() < 1e-13
    assert row.lowest - 1e-12 <= bend.min()
    assert bend.max() <= row.highest + 1e-12
    close = 3e-3 if name in NO_EXACT else 1e-5
    assert row.lowest >= bend.min() - close
    assert row.highest <= bend.max() + close
    assert row.lowest <= 0 <= row.highest


@pytest.mark.parametrize("name", SMOOTH)
def test_far_out_and_at_the_ends_of_float64_slopes_are_finite_and_exact(name):
    far = torch.tensor([-1e308, -1e200, -800.0, -40.0, 40.0, 800.0, 1e200, 1e308], dtype=torch.float64)
    slopes = known(name).derivative(far)
    assert slopes.isfinite().all()
    if name not in ("sin", "cos"):
        whole = slopes[torch.tensor([0, 1, 6, 7])]
        assert torch.minimum(whole.abs(), (whole - 1).abs()).max() < 1e-100


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "mish", "softplus"])
def test_slopes_err_by_less_than_what_is_promised(name):
    exact = {
        "softplus": lambda x: 1 / (1 + mp.exp(-3 * x)),
        "sigmoid": lambda x: mp.exp(-x) / (1 + mp.exp(-x)) ** 2,
        "tanh": lambda x: mp.sech(x) ** 2,
        "silu": lambda x: mp.diff(lambda t: t / (1 + mp.exp(-t)), x),
        "gelu": lambda x: mp.ncdf(x) + x * mp.npdf(x),
        "gelu_tanh": lambda x: mp.diff(
            lambda t: t / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (t + mp.mpf("0.044715") * t**3))), x
        ),
        "mish": lambda x: mp.diff(lambda t: t * mp.tanh(mp.log(1 + mp.exp(t))), x),
    }[name]
    x = torch.linspace(-20, 20, 161, dtype=torch.float64)
    with mp.workdps(60):
        errors = [
            abs(mp.mpf(s) - exact(mp.mpf(v)))
            for s, v in zip(known(name).derivative(x).tolist(), x.tolist(), strict=True)
        ]
    assert max(errors) < EVALUATED * 2.0**-53


def silu_bend(x):
    s = 1 / (1 + iv.exp(-x))
    return s * (1 - s) * (2 + x * (1 - 2 * s))


def mish_bend(x):
    s = 1 / (1 + iv.exp(-x))
    # e^2sp = (1 + e^x)², tanh(sp) = (a − 1)/(a + 1), and 1 − tanh² = 4a/(a + 1)² with a = (1 + e^x)².
    a = (1 + iv.exp(x)) ** 2
    t, q = 1 - 2 / (a + 1), 4 / (a + 1) * (1 - 1 / (a + 1))
    return 2 * q * s + x * q * s * (1 - s - 2 * t * s)


def gelu_tanh_bend(x):
    k = iv.sqrt(2 / iv.pi)
    a = iv.mpf("0.044715")
    w, w1, w2 = k * x * (1 + a * x**2), k * (1 + 3 * a * x**2), 6 * k * a * x
    e = iv.exp(2 * w)
    t, q = 1 - 2 / (e + 1), 4 / (e + 1) * (1 - 1 / (e + 1))
    return q * (w1 + x / 2 * (w2 - 2 * t * w1**2))


TAILS = {
    # |φ″| beyond R, each a decreasing function of R: σ′(2 + |x|); q(2 + 3|x|) with q ≤ 4e^(−2x), or e^x on
    # the left; q(w′ + |x|(w″ + 2w′²)/2) with q ≤ 4e^(−2w).
    "silu": lambda r: math.exp(-r) * (2 + r),
    "mish": lambda r: math.exp(-r) * (2 + 3 * r),
    "gelu_tanh": lambda r: 4 * math.exp(-1.5 * r) * r**6,
}


@pytest.mark.parametrize(
    ("name", "bend"), [("silu", silu_bend), ("mish", mish_bend), ("gelu_tanh", gelu_tanh_bend)]
)
def test_brackets_of_second_derivatives_are_proved_by_intervals(name, bend):
    row, radius = known(name), 16.0
    assert TAILS[name](radius) < min(-row.lowest, row.highest)
    # At 0 silu attains its 1/2, which no interval around 0 shows: φ″ = 2σ′ + xσ″ ≤ 2σ′, as xσ″ ≤ 0.
    highest = row.highest + 1e-3 if name == "silu" else row.highest
    waiting, looked = [(-radius, radius)], 0
    while waiting:
        low, high = waiting.pop()
        found = bend(iv.mpf([low, high]))
        looked += 1
        if row.lowest <= found.a and found.b <= highest:
            continue
        assert high - low > 1e-9, (name, low)
        middle = (low + high) / 2
        waiting += [(low, middle), (middle, high)]
    assert looked > 10
