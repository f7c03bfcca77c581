"""How a number or a name is shown to a person: rounded in the safe direction, nothing hidden in it.

Bounds go up, estimates, radii and accuracies go down; `—` means "not analysed" and 0 never does.
Names come from foreign files: what does not print (escape codes, line breaks, direction marks) is
shown as its code, so that a layer's name can neither colour the screen nor forge a verdict line.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from lipaudit.errors import ExitCode
from lipaudit.report.exact import read_exact
from lipaudit.report.judgement import BudgetOutcome
from lipaudit.report.number import Number, Plain

__all__ = [
    "NOT_ANALYSED",
    "bound_text",
    "code_words",
    "eps_text",
    "estimate_text",
    "percent_down",
    "percent_up",
    "plural",
    "printable",
    "radius_text",
    "shape_text",
    "shown_down",
    "shown_up",
    "slack_text",
    "stored_text",
    "waived_words",
]

NOT_ANALYSED = "—"

_UNBOUNDED = "unbounded"
_DIGITS = 5
_NEAR, _MOST_DIGITS = Decimal("1e-3"), 12
_FIXED = (Decimal("1e-3"), Decimal("1e7"))  # outside of it, exponents are easier to compare than zeros


def shown_up(value: float, digits: int = _DIGITS) -> str:
    """A decimal ≥ `value`."""
    return _decimal(value, max(digits, _beyond_one(value)), ROUND_CEILING)


def shown_down(value: float, digits: int = _DIGITS) -> str:
    """A decimal ≤ `value`."""
    return _decimal(value, max(digits, _beyond_one(value)), ROUND_FLOOR)


def stored_text(value: float) -> str:
    """A number of a report as its JSON spells it: it was rounded when it was written."""
    return repr(value).removesuffix(".0")


def bound_text(number: Number) -> str:
    """An upper bound: rounded up, `unbounded`, or `—`."""
    if number.value is None:
        return _UNBOUNDED if number.status == "unbounded" else NOT_ANALYSED
    return shown_up(number.value)


def estimate_text(number: Number) -> str:
    """A lower bound: rounded down, or `—`."""
    return NOT_ANALYSED if number.value is None else shown_down(number.value)


def slack_text(slack: Plain | None) -> str:
    """upper / lower: rounded up, `unbounded`, or `—`."""
    if slack is None:
        return NOT_ANALYSED
    return _decimal(slack, _DIGITS, ROUND_CEILING) if isinstance(slack, float) else _UNBOUNDED


def radius_text(radius: Plain | None) -> str:
    """A radius: rounded down, `unbounded` (the network is constant), or `—`."""
    if radius is None:
        return NOT_ANALYSED
    return shown_down(radius, 4) if isinstance(radius, float) else _UNBOUNDED


def eps_text(exact: str) -> str:
    """An asked radius as it was asked, with its size where that is no decimal: `36/255 = 0.1411…`."""
    if "/" not in exact:
        return printable(exact)
    value = read_exact(exact)
    size = f"{float(value):.4g}"
    return f"{printable(exact)} {'=' if read_exact(size) == value else '≈'} {size}"


def percent_down(count: int, n: int) -> str:
    """`count / n` in percent, two decimals, rounded down: 100.00 % means every one."""
    return f"{_hundredths(10_000 * count // n)} %" if n else NOT_ANALYSED


def percent_up(count: int, n: int) -> str:
    """`count / n` in percent, two decimals, rounded up."""
    return f"{_hundredths(-(-10_000 * count // n))} %" if n else NOT_ANALYSED


def plural(count: int, noun: str, several: str = "") -> str:
    """`1 layer`, `3 layers`."""
    return f"{count} {noun if count == 1 else several or noun + 's'}"


def shape_text(shape: tuple[int, ...]) -> str:
    """`1×28×28`; a single number is in brackets."""
    return "×".join(map(str, shape)) if len(shape) > 1 else f"({', '.join(map(str, shape))})"


def printable(text: str) -> str:
    r"""The text itself, verbatim, except that what does not print becomes a visible `\x1b` code."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _decimal(value: float, digits: int, direction: str) -> str:
    rounded = Context(prec=digits, rounding=direction).create_decimal(Decimal(value))
    if rounded == 0:
        return "0"
    shown = rounded.normalize(Context(prec=digits))
    return f"{shown:f}" if _FIXED[0] <= abs(shown) < _FIXED[1] else f"{shown:e}"


def _beyond_one(value: float) -> int:
    """Digits that show by how much a number just above 1 is above it: there 1.0001 would hide 1.00000005."""
    excess = Decimal(value) - 1
    return min(_MOST_DIGITS, 1 - excess.adjusted()) + 1 if 0 < excess < _NEAR else 0


def _hundredths(number: int) -> str:
    return f"{number // 100}.{number % 100:02d}"


def code_words(code: int, budgets: Iterable[BudgetOutcome]) -> str:
    """What a verdict's exit code means: of 0, that budgets which had to be waived do not pass."""
    if code == ExitCode.PASS and any(budget.waived for budget in budgets):
        return "every other budget passes and the analysis is complete"
    return ExitCode(code).meaning


def waived_words(budgets: Iterable[BudgetOutcome]) -> str:
    """` with 1 budget waived`, to follow a verdict; empty if none is."""
    waived = sum(budget.waived for budget in budgets)
    return f" with {plural(waived, 'budget')} waived" if waived else ""
