"""Numbers of a report, rounded outward to nine digits, infinity and "not analysed" spelt out.

A bound is rounded up and an estimate down, in two steps that keep the direction.  `d` is the
nine-digit decimal on the safe side of the exact value `v` of a double; `x = fl(d)` is the nearest
double.  Rounding to nearest is monotone and leaves doubles alone, so `v ≤ d` gives `v = fl(v) ≤ x`
(and `≥` for estimates): the double is safe, and so is the decimal that JSON prints for it, which is
`d` itself (among subnormal numbers doubles are sparser than decimals, and only the double is).
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from lipaudit.bound import Bound, Estimate

__all__ = [
    "DIGITS",
    "Count",
    "Number",
    "Plain",
    "Record",
    "Status",
    "Unbounded",
    "as_double",
    "plain_down",
    "plain_up",
    "round_down",
    "round_up",
]

DIGITS = 9
"""Significant digits of every rounded value in the evidence."""

Status = Literal["proved", "unbounded", "witnessed", "not_analysed"]
"""How far a number may be trusted; `null` values are always one of the two that say why."""

_WITHOUT_VALUE = frozenset({"unbounded", "not_analysed"})


class Record(BaseModel):
    """A part of the report: immutable, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


def round_up(value: float, digits: int = DIGITS) -> float:
    """A double ≥ `value` that prints with at most `digits` digits (`value` itself near overflow).

    Raises:
        ValueError: for NaN, infinite and negative values.
    """
    return _round(value, digits, ROUND_CEILING)


def round_down(value: float, digits: int = DIGITS) -> float:
    """A double in [0, `value`] that prints with at most `digits` digits.

    Raises:
        ValueError: for NaN, infinite and negative values.
    """
    return _round(value, digits, ROUND_FLOOR)


def _round(value: float, digits: int, direction: str) -> float:
    if not 0 <= value < math.inf:
        msg = f"expected a finite non-negative number, got {value!r}"
        raise ValueError(msg)
    if value == 0:
        return 0.0  # also for -0.0, whose sign means nothing here
    rounded = float(Context(prec=digits, rounding=direction).create_decimal(Decimal(value)))
    return rounded if rounded < math.inf else value


class Number(Record):
    """A value, the double it stands for, and how far to trust it."""

    value: float | None = Field(ge=0, description="null where there is no finite number; `status` says why")
    hex: str | None = Field(description="the double of `value`, as float.hex prints it")
    status: Status

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if (self.value is None) != (self.status in _WITHOUT_VALUE):
            msg = f"value {self.value!r} does not go with status {self.status!r}"
            raise ValueError(msg)
        if self.hex != (None if self.value is None else self.value.hex()):
            msg = f"hex {self.hex!r} is not the double {self.value!r}"
            raise ValueError(msg)
        return self

    @classmethod
    def from_bound(cls, bound: Bound | float) -> Number:
        """An upper bound, rounded up; infinity becomes `unbounded`."""
        value = bound.value if isinstance(bound, Bound) else bound
        return cls.unbounded() if value == math.inf else cls._of(round_up(value), "proved")

    @classmethod
    def exactly(cls, value: float) -> Number:
        """A proved upper bound with all its bits; infinity becomes `unbounded`."""
        return cls.unbounded() if value == math.inf else cls._of(value, "proved")

    @classmethod
    def from_estimate(cls, estimate: Estimate | float | None) -> Number:
        """A witnessed lower bound, rounded down; None becomes `not_analysed`."""
        if estimate is None:
            return cls.not_analysed()
        value = estimate.value if isinstance(estimate, Estimate) else estimate
        return cls._of(round_down(value), "witnessed")

    @classmethod
    def unbounded(cls) -> Number:
        """Nothing finite was proved."""
        return cls(value=None, hex=None, status="unbounded")

    @classmethod
    def not_analysed(cls) -> Number:
        """Nobody looked."""
        return cls(value=None, hex=None, status="not_analysed")

    @classmethod
    def _of(cls, value: float, status: Status) -> Number:
        return cls(value=value, hex=value.hex(), status=status)


class Unbounded(Record):
    """Infinity where a bare number is expected: `{"value": null, "status": "unbounded", "hex": null}`."""

    value: None = None
    hex: None = None
    status: Literal["unbounded"] = "unbounded"


Plain = float | Unbounded
"""A bare number, or infinity spelt out."""


def plain_up(value: float) -> Plain:
    """`value` rounded up, or infinity spelt out."""
    return Unbounded() if value == math.inf else round_up(value)


def plain_down(value: float) -> Plain:
    """`value` rounded down, or infinity spelt out."""
    return Unbounded() if value == math.inf else round_down(value)


def as_double(number: Plain) -> float:
    """The number, infinite where a report says so in words."""
    return math.inf if isinstance(number, Unbounded) else number


def _as_count(value: object) -> object:
    # bool is an int to Python; a report that says "true images" is a defect of the writer
    if isinstance(value, bool):
        msg = "a count is a whole number, not a truth value"
        raise ValueError(msg)  # noqa: TRY004 -- pydantic turns ValueError into a message with the field's name
    return value


Count = Annotated[int, BeforeValidator(_as_count), Field(ge=0)]
"""How many; never rounded."""
