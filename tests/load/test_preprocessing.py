"""Preprocessing metadata: exact numbers, or a clear refusal."""

import json
from fractions import Fraction

import pytest

from lipaudit.errors import InputRefused
from lipaudit.load.preprocessing import Preprocessing, parse_metadata, parse_number

GOOD = {
    "version": 1,
    "layout": "chw",
    "scale": "1/255",
    "mean": [0.1307],
    "std": ["0.3081"],
    "input_shape": [1, 28, 28],
}


def test_numbers_are_exact():
    parsed = parse_metadata(json.dumps(GOOD))
    assert parsed == Preprocessing(
        layout="chw",
        scale=Fraction(1, 255),
        mean=(Fraction(1307, 10000),),
        std=(Fraction(3081, 10000),),
        input_shape=(1, 28, 28),
        source="metadata",
    )


def test_only_the_version_is_needed():
    assert parse_metadata('{"version": 1}') == Preprocessing(source="metadata", silent=True)
    assert not parse_metadata('{"version": 1, "mean": []}').silent


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version"),
        ({"version": None}, "version"),
        ({"gamma": 2}, "unknown key 'gamma'"),
        ({"layout": "nchw"}, "layout"),
        ({"layout": 3}, "layout"),
        ({"scale": 0}, "scale is 0"),
        ({"scale": "fast"}, "scale"),
        ({"scale": True}, "scale"),
        ({"scale": "1e999999999"}, "scale"),
        ({"scale": "1/0"}, "divides by zero"),
        ({"mean": [0.1, 0.2]}, "channels"),
        ({"mean": ["nan"]}, "mean"),
        ({"mean": [None]}, "mean"),
        ({"std": [0.0]}, "std holds 0"),
        ({"mean": [1, 2, 3], "std": [1, 2], "input_shape": None}, "mean has 3 numbers and std 2"),
        ({"input_shape": [1, -28]}, "input_shape"),
        ({"input_shape": "28"}, "input_shape"),
        ({"input_shape": [1.5]}, "input_shape"),
    ],
)
def test_bad_values_are_refused(change, says):
    with pytest.raises(InputRefused, match=says):
        parse_metadata(json.dumps({**GOOD, **change}))


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '{"version": 1, "version": 1}', '{"scale": NaN, "version": 1}', "[" * 9000]
)
def test_not_such_an_object(text):
    with pytest.raises(InputRefused, match="metadata lipaudit"):
        parse_metadata(text)


def test_parse_number():
    assert parse_number("-1.5e-3") == Fraction(-3, 2000)
    assert parse_number(" 36/255 ") == Fraction(36, 255)
    for bad in ("", "inf", "1//2", "0x10", "1_0", "1" * 50, "1e-9999"):
        with pytest.raises(ValueError, match="not a number"):
            parse_number(bad)
