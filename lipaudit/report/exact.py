"""Numbers as people write them, read exactly: `36/255`, `0.5`, `1e-3`, `-2.1`.

`fractions.Fraction(text)` reads more than that (underscores, foreign digits) and `1e999999999` would
make it build a number of a billion digits, so the grammar and the size are checked first.
"""

from __future__ import annotations

import math
import re
import sys
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator

__all__ = ["ExactText", "double_below", "read_exact"]

_DECIMAL = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_NUMBER = re.compile(rf"[+-]?{_DECIMAL}")
_COMMA = re.compile(r"([0-9]+),([0-9]+)")
_LARGEST = Fraction(sys.float_info.max)
_LONGEST = 100  # characters; an exact double such as 0.1 needs 57, a fraction of two of them is rare


def read_exact(text: str) -> Fraction:
    """The rational number that `text` denotes: a decimal, or two of them with a slash between.

    Raises:
        ValueError: if it is neither, has a zero denominator, or exceeds the range of float64.
    """
    parts = [part.strip() for part in text.split("/")]
    if len(text) > _LONGEST or len(parts) > 2 or not all(map(_NUMBER.fullmatch, parts)):
        raise ValueError(f"{text[:_LONGEST]!r} is no number such as 0.5 or 36/255{_pointed(text)}")
    value, divisor = Fraction(parts[0]), Fraction(parts[-1]) if len(parts) == 2 else Fraction(1)
    if divisor == 0:
        raise ValueError(f"{text!r} divides by zero")
    if abs(value / divisor) > _LARGEST:
        raise ValueError(f"{text!r} is too large: no float64 reaches it")
    return value / divisor


def double_below(exact: Fraction) -> float:
    """The largest double that is not above a number: what keeps it keeps the number, compared exactly."""
    value = float(exact)
    return value if Fraction(value) <= exact else math.nextafter(value, -math.inf)


def _pointed(text: str) -> str:
    """What a decimal comma should have been; one before three digits may part thousands as well."""
    found = _COMMA.fullmatch(text.strip())
    if found is None or len(text) > _LONGEST:
        return ""
    whole, part = found.groups()
    meant = f"{whole}.{part}" + (f", or {whole}{part}" if len(part) == 3 and whole.strip("0") else "")
    return f": decimals take a point, write {meant}"


def _readable(text: str) -> str:
    read_exact(text)
    return text


ExactText = Annotated[str, AfterValidator(_readable)]
"""A string that denotes a rational number."""
