"""Axes: round ticks, never too many, and 1 always on a logarithmic one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.report.html.axis import linear_ticks, log_axis, tick_text

SIZES = st.floats(1e-300, 1e300)


@given(st.floats(1e-12, 1e12), st.integers(1, 30))
def test_linear_ticks_are_round_and_few(end, most):
    ticks = linear_ticks(end, most)
    assert ticks[0] == 0
    assert ticks[-1] <= end * (1 + 1e-9)
    assert 1 <= len(ticks) <= most + 1
    if len(ticks) > 1:
        assert f"{ticks[1]:.12e}".strip("0")[0] in "125"


@given(st.lists(SIZES, max_size=5))
def test_a_logarithmic_axis_holds_its_values(values):
    axis = log_axis(values)
    assert axis.low < 1 < axis.high
    for value in values:
        assert 0 <= axis.place(value) <= 100
    for one, two in zip(sorted(values), sorted(values)[1:], strict=False):
        assert axis.place(one) <= axis.place(two)
    assert all(axis.low * 0.999 <= tick <= axis.high * 1.001 for tick in axis.ticks)
    assert 1 <= len(axis.ticks) <= 9


@pytest.mark.parametrize("values", [[], [1.0], [0.9997, 1.0], [0.88, 22.0], [1e-3, 1e15], [0.0, math.inf]])
def test_one_has_a_tick(values):
    assert 1 in log_axis(values).ticks


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.002, "0.002"), (1, "1"), (20_000, "20,000"), (1e6, "10⁶"), (1e-5, "10⁻⁵"), (2e9, "2·10⁹")],
)
def test_tick_texts(value, text):
    assert tick_text(value) == text
