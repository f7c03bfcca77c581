"""What came of checking a report: what differs, what was proved again, what nobody looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from lipaudit.bound import Bound
from lipaudit.errors import ExitCode
from lipaudit.report.number import Number

__all__ = ["Difference", "Ledger", "Verification"]

NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that the report claims and that is not so.

    Args:
        where: the field, as a path within `evidence` or in words.
        claimed: what the report says.
        proved: what was proved, or found, in its place.
    """

    where: str
    claimed: str
    proved: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The result.

    Args:
        differences: what is claimed and not so; any of them refuses the report.
        proved: what was proved again, in words.
        unproved: what should have been proved again and could not be: nothing is known of it.
        unchecked: what a report says besides, and nobody looked at.
    """

    differences: tuple[Difference, ...]
    proved: tuple[str, ...]
    unproved: tuple[str, ...]
    unchecked: tuple[str, ...]

    @property
    def exit_code(self) -> ExitCode:
        """0 only if everything that can be proved again was."""
        if self.differences:
            return ExitCode.REFUSED
        return ExitCode.INCOMPLETE if self.unproved else ExitCode.PASS


@dataclass(slots=True)
class Ledger:
    """Collects the parts of a `Verification`."""

    differences: list[Difference] = field(default_factory=list)
    proved: list[str] = field(default_factory=list)
    unproved: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def differs(self, where: str, claimed: object, proved: object) -> None:
        """The report is wrong here."""
        self.differences.append(Difference(where, _words(claimed), _words(proved)))

    def holds(self, since: int, text: str) -> None:
        """Something was proved again, if nothing differs since there were so many differences."""
        if len(self.differences) == since:
            self.proved.append(text)

    def equal(self, where: str, claimed: object, found: object) -> bool:
        """Whether both are the same; noted if not."""
        if claimed == found:
            return True
        self.differs(where, claimed, found)
        return False

    def at_least(self, where: str, claimed: Number, proved: Bound) -> bool:
        """Whether an upper bound that is claimed follows from the one that is proved; noted if not.

        A report rounds up to nine digits, and so is the proved value before it is compared.
        """
        if claimed.status == "unbounded":
            return True
        known = Number.from_bound(proved)
        below = claimed.value is None or known.value is None or claimed.value < known.value
        if claimed.status != "proved" or below:
            shown = repr(known.value) if proved.value < math.inf else NOTHING
            self.differs(where, repr(claimed.value) if claimed.value is not None else claimed.status, shown)
            return False
        return True

    def closed(self) -> Verification:
        """The result, each line once."""
        lists = (self.differences, self.proved, self.unproved, self.unchecked)
        return Verification(*(tuple(dict.fromkeys(rows)) for rows in lists))  # type: ignore[arg-type]


def _words(value: object) -> str:
    """As a person writes it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value)) or NOTHING
    return NOTHING if value is None else str(value)
