"""Exact numbers are read exactly, and nothing else is read at all."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.report.exact import read_exact


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("36/255", Fraction(36, 255)),
        ("0.1", Fraction(1, 10)),
        (" 1 / 3 ", Fraction(1, 3)),
        ("-2.1", Fraction(-21, 10)),
        (".5", Fraction(1, 2)),
        ("2.", Fraction(2)),
        ("1e-3", Fraction(1, 1000)),
    ],
)
def test_reads(text, value):
    assert read_exact(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nan",
        "inf",
        "1/0",
        "1/2/3",
        "1_000",
        "٣",
        "1e999999999",
        "1e999",
        "1e300/1e-300",
        "0x10",
        "1" * 200,
        "1 2",
        "/2",
        "1/",
        "--1",
    ],
)
def test_refuses(text):
    with pytest.raises(ValueError, match=r"no number|divides by zero|too large"):
        read_exact(text)


@given(st.fractions(max_denominator=10**9, min_value=-(10**9), max_value=10**9))
def test_inverts_str(value):
    assert read_exact(str(value)) == value
