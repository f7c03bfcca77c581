"""What can go wrong, and the exit code it ends with.

    LipauditError                       70  internal error (also every exception that is not in this tree)
    ├── UsageError                       2  a flag, a budget or a policy that cannot be meant
    ├── Unreached                        1  a repair that does not get to where it was asked to
    ├── Incomplete                       3  the analysis ran but cannot answer what was asked
    ├── InputRefused                     4  the input is here and is not acceptable
    │   ├── UnsafeInput                  4  … because reading it would run foreign code
    │   └── ConversionMismatch           4  … because our graph computes something else
    ├── InputUnavailable                 5  the input is not here
    ├── NotCovered                       -  a spectral method does not apply to a map (never reaches a user)
    └── Falsified                       70  a claim of ours was beaten by our own attack

Every error says what is wrong, where, and (`hint`) what to do next.  Expected bad outcomes of an
analysis ("no rule for aten.foo") are values with a reason, not exceptions.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "ConversionMismatch",
    "ExitCode",
    "Falsified",
    "Incomplete",
    "InputRefused",
    "InputUnavailable",
    "LipauditError",
    "NotCovered",
    "Unreached",
    "UnsafeInput",
    "UsageError",
]


class ExitCode(IntEnum):
    """The documented exit codes; `meaning` is what the last line of output says."""

    PASS = 0
    BUDGET = 1
    USAGE = 2
    INCOMPLETE = 3
    REFUSED = 4
    UNAVAILABLE = 5
    INTERNAL = 70
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """One line in plain words."""
        return _MEANING[self]


_MEANING = {
    ExitCode.PASS: "every budget passes (or none was set) and the analysis is complete",
    ExitCode.BUDGET: "a budget fails, or stays inconclusive",
    ExitCode.USAGE: "usage, config or policy error",
    ExitCode.INCOMPLETE: "the analysis is incomplete",
    ExitCode.REFUSED: "input refused",
    ExitCode.UNAVAILABLE: "input unavailable",
    ExitCode.INTERNAL: "internal error",
    ExitCode.INTERRUPTED: "interrupted",
}


class LipauditError(Exception):
    """Base of the tree: `message` says what and where, `hint` what to do next."""

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def meaning(self) -> str:
        """What the exit code says here."""
        return self.exit_code.meaning

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class UsageError(LipauditError):
    """A flag, budget or policy that cannot be meant."""

    exit_code = ExitCode.USAGE


class Unreached(LipauditError):
    """A repair whose result does not keep the limit that was asked for: there is no result."""

    exit_code = ExitCode.BUDGET

    @property
    def meaning(self) -> str:
        """No budget was judged."""
        return "the limit is not reached"


class Incomplete(LipauditError):
    """The analysis cannot answer what was asked (no sample evaluated, outputs not finite, …)."""

    exit_code = ExitCode.INCOMPLETE


class InputRefused(LipauditError):
    """The input exists and is not acceptable: truncated, wrong shape, NaN weights, …."""

    exit_code = ExitCode.REFUSED


class UnsafeInput(InputRefused):
    """Reading the input would run code that it brings along."""


class ConversionMismatch(InputRefused):
    """The converted graph does not compute what the reference runtime computes."""


class InputUnavailable(LipauditError):
    """The input is not where it was said to be."""

    exit_code = ExitCode.UNAVAILABLE


class NotCovered(LipauditError):
    """A spectral method has no statement about this map, or not within the memory it may use."""

    exit_code = ExitCode.USAGE


class Falsified(LipauditError):
    """An attack of our own beat a claim of ours: a defect of this program."""
