"""What a policy file may hold: its tables as pydantic models, before they mean anything.

Numbers keep the text they were written as: `max = 0.1` is one tenth, not the double beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, PlainValidator

from lipaudit.policy.day import read_day
from lipaudit.policy.space import Space
from lipaudit.report.exact import read_exact

__all__ = ["BudgetTable", "PolicyTable", "RequireTable", "WaiverTable", "Written"]

_LONGEST = 300  # characters of a name or a sentence


@dataclass(frozen=True, slots=True)
class Written:
    """A number of a policy file.

    Args:
        value: ≥ 0, exact; 60% is 3/5.
        text: as it was written.
        percent: whether it was a percentage.
    """

    value: Fraction
    text: str
    percent: bool


def _written(value: object) -> Written:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError('expected a number, or text such as "36/255" or "60%"')  # noqa: TRY004 -- as below
    text = str(value).strip()
    number = text.removesuffix("%")
    exact = read_exact(number.strip())
    if exact < 0:
        raise ValueError(f"{text} is negative")
    percent = number != text
    return Written(exact / 100 if percent else exact, text, percent)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("expected text in quotes")  # noqa: TRY004 -- pydantic wants ValueError
    text = value.strip()
    if not text or len(text) > _LONGEST:
        raise ValueError("the text is empty" if not text else f"longer than {_LONGEST} characters")
    if not text.isprintable():
        raise ValueError("the text holds characters that do not print")
    return text


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError('expected a list such as ["conv*"], with at least one entry')
    return tuple(map(_text, value))


def _text_or_texts(value: object) -> tuple[str, ...]:
    return (_text(value),) if isinstance(value, str) else _texts(value)


def _count(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError("expected a whole number from 1")
    return value


def _yes(value: object) -> bool:
    if value is not True:
        raise ValueError("only true can be required: leave the line out instead")
    return True


def _digest(value: object) -> str:
    text = _text(value).lower().removeprefix("sha256:")
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise ValueError("expected 64 hexadecimal digits, as in a report")
    return text


Number = Annotated[Written, PlainValidator(_written)]
Line = Annotated[str, PlainValidator(_text)]
Patterns = Annotated[tuple[str, ...], PlainValidator(_texts)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BudgetTable(_Table):
    """`[[budget]]`; which keys go with which metric is told in `reading`."""

    metric: Literal["lipschitz", "slack", "certified_accuracy", "clean_accuracy"]
    id: Line | None = None
    layers: Patterns | None = None
    max: Number | None = None
    min: Number | None = None
    eps: Number | None = None
    baseline: Line | None = None
    max_increase: Number | None = None
    max_decrease: Number | None = None


class RequireTable(_Table):
    """`[require]`, one field per clause."""

    min_samples: Annotated[int, PlainValidator(_count)] | None = None
    dataset: Line | None = None
    dataset_fingerprint: Annotated[str, PlainValidator(_digest)] | None = None
    official: Annotated[bool, PlainValidator(_yes)] | None = None
    trust: Annotated[tuple[str, ...], PlainValidator(_text_or_texts)] | None = None
    coverage: Number | None = None
    attacked: Annotated[bool, PlainValidator(_yes)] | None = None
    threat_space: Space | None = None
    weights_sha256: Annotated[str, PlainValidator(_digest)] | None = None
    arithmetic: Literal["real"] | None = None


class WaiverTable(_Table):
    """`[[waiver]]`."""

    budget: Line
    reason: Line
    owner: Line
    expires: Annotated[date, PlainValidator(read_day)]
    layers: Patterns | None = None


class PolicyTable(_Table):
    """The whole file, or `[tool.lipaudit]`."""

    budget: tuple[BudgetTable, ...] = ()
    require: RequireTable | None = None
    waiver: tuple[WaiverTable, ...] = ()
