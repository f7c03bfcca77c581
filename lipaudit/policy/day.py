"""The last day of a waiver: `2027-01-31`, bare or in quotes, and what to write where it stands otherwise.

With points the day comes first (31.12.2027); with slashes it may be the month, so that a day is told only
where one of both is above 12.
"""

from __future__ import annotations

import re
from datetime import date, datetime

__all__ = ["read_day"]

_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_YEAR_FIRST = re.compile(r"([0-9]{4})([-./]?)([0-9]{1,2})\2([0-9]{1,2})(?:[T ].*)?", re.DOTALL)
_YEAR_LAST = re.compile(r"([0-9]{1,2})([-./])([0-9]{1,2})\2([0-9]{4})")


def read_day(value: object) -> date:
    """A day of a policy file.

    Raises:
        ValueError: if it is none, or is written in another way, with the day that is certainly meant.
    """
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    text = str(value).strip()
    if isinstance(value, str) and _FORM.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError as error:
            raise ValueError(f"there is no day {text}") from error
    days = _meant(text) if isinstance(value, str | datetime) else set()
    meant = f": write {days.pop()}" if len(days) == 1 else ""
    raise ValueError(f"expected a day such as 2027-01-31 (year-month-day){meant}")


def _meant(text: str) -> set[date]:
    """The days that a text may stand for."""
    if found := _YEAR_FIRST.fullmatch(text):
        year, _, month, day = found.groups()
        return _days((year, month, day))
    if found := _YEAR_LAST.fullmatch(text):
        first, mark, second, year = found.groups()
        return _days((year, second, first), *([] if mark == "." else [(year, first, second)]))
    return set()


def _days(*texts: tuple[str, str, str]) -> set[date]:
    found = set()
    for year, month, day in texts:
        if 1 <= int(month) <= 12:
            try:
                found.add(date(int(year), int(month), int(day)))
            except ValueError:
                continue
    return found
