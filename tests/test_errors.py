"""The tree of exceptions and the exit code each ends with."""

from __future__ import annotations

import pickle

import pytest

from lipaudit import errors
from lipaudit.errors import ExitCode, LipauditError

CODES = {
    "LipauditError": 70,
    "UsageError": 2,
    "Incomplete": 3,
    "InputRefused": 4,
    "Unreached": 1,
    "UnsafeInput": 4,
    "ConversionMismatch": 4,
    "InputUnavailable": 5,
    "NotCovered": 2,
    "Falsified": 70,
}


def test_every_error_is_listed_here():
    assert {*CODES, "ExitCode"} == set(errors.__all__)


@pytest.mark.parametrize("name", CODES)
def test_an_error_says_what_and_what_to_do(name):
    kind = getattr(errors, name)
    assert issubclass(kind, LipauditError)
    assert not issubclass(kind, (ValueError, OSError))
    plain, hinted = kind("layer 3 is odd"), kind("layer 3 is odd", hint="make it even")
    assert plain.exit_code == CODES[name]
    assert str(plain) == plain.message == "layer 3 is odd"
    assert plain.hint == ""
    assert str(hinted) == "layer 3 is odd\n  hint: make it even"
    assert hinted.message == "layer 3 is odd"


@pytest.mark.parametrize("name", CODES)
def test_an_error_survives_another_process(name):
    error = getattr(errors, name)("what", hint="do")
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is type(error)
    assert (copied.message, copied.hint, copied.exit_code) == ("what", "do", error.exit_code)


def test_refusals_are_caught_together():
    for kind in (errors.UnsafeInput, errors.ConversionMismatch):
        with pytest.raises(errors.InputRefused):
            raise kind("no")
    assert not issubclass(errors.InputUnavailable, errors.InputRefused)
    assert not issubclass(errors.NotCovered, errors.Incomplete)


def test_exit_codes_are_the_documented_ones_and_mean_something():
    assert {c.name: int(c) for c in ExitCode} == {
        "PASS": 0,
        "BUDGET": 1,
        "USAGE": 2,
        "INCOMPLETE": 3,
        "REFUSED": 4,
        "UNAVAILABLE": 5,
        "INTERNAL": 70,
        "INTERRUPTED": 130,
    }
    meanings = [c.meaning for c in ExitCode]
    assert all(meanings)
    assert len(set(meanings)) == len(meanings)
