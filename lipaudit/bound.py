"""The two directions a number can be trusted in, as types.

A `Bound` is ≥ the true value, an `Estimate` is ≤ it and was seen (a witness exists), a `Bracket` is
both.  None of them carries arithmetic: combining guarantees is `rounding`'s work, so that a bare `*`
cannot lose a rounding error, and nothing turns an `Estimate` into a `Bound`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lipaudit import rounding
from lipaudit.errors import Falsified

__all__ = ["Bound", "Bracket", "Estimate"]


@dataclass(frozen=True, slots=True)
class Bound:
    """An upper bound: true value ≤ `value`, rounding included.

    Args:
        value: non-negative; `inf` means that nothing is proved, and then `note` says why.
        method: what proved it (a row of a method table, or a rule's name).
        note: assumptions, or the reason for `inf`.

    Raises:
        ValueError: for NaN and negative values, and for `inf` without a reason.
    """

    value: float
    method: str
    note: str = ""

    def __post_init__(self) -> None:
        if not self.value >= 0:
            msg = f"a bound is a non-negative number, got {self.value!r} from {self.method}"
            raise ValueError(msg)
        if self.value == math.inf and not self.note:
            msg = f"an infinite bound needs a reason ({self.method})"
            raise ValueError(msg)

    @classmethod
    def unbounded(cls, why: str, method: str = "none") -> Bound:
        """Nothing is proved, and here is why."""
        return cls(math.inf, method, why)

    @classmethod
    def computed(cls, value: float, method: str, note: str = "") -> Bound:
        """A value rounded up; where that is `inf`, it overflowed."""
        return cls(value, method, note or ("above the largest float64" if value == math.inf else ""))

    @property
    def is_finite(self) -> bool:
        """Whether anything is proved."""
        return self.value < math.inf


@dataclass(frozen=True, slots=True)
class Estimate:
    """A lower bound with a witness: true value ≥ `value`.

    Args:
        value: non-negative and finite, rounded down below the witness' own rounding error.
        method: what found the witness.
        note: what the witness is.

    Raises:
        ValueError: for NaN, negative and infinite values.
    """

    value: float
    method: str
    note: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.value < math.inf:
            msg = f"an estimate is finite and non-negative, got {self.value!r} from {self.method}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Bracket:
    """`below.value ≤ true value ≤ above.value`.

    Raises:
        Falsified: if the ends cross; one of the two proofs is then wrong.
    """

    above: Bound
    below: Estimate

    def __post_init__(self) -> None:
        if self.below.value > self.above.value:
            msg = (
                f"bound {self.above.value!r} ({self.above.method}) lies below the witnessed value "
                f"{self.below.value!r} ({self.below.method})"
            )
            raise Falsified(msg, hint="this is a defect of lipaudit: please report the model")

    @property
    def slack(self) -> float:
        """above / below, rounded up: 1 is exact (0/0 counts as 1), inf says nothing."""
        if self.above.value == 0:
            return 1.0
        return rounding.div_up(self.above.value, self.below.value)
