"""Now, or what SOURCE_DATE_EPOCH says: seconds since 1970-01-01 00:00 UTC, a whole number.

Where the variable is set no clock tells dates or durations: the same inputs then give the same report, byte
for byte.  The clock is only asked whether a waiver has ended (`judging_day`).

https://reproducible-builds.org/specs/source-date-epoch/
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime

from lipaudit.errors import UsageError

__all__ = ["VARIABLE", "fixed_moment", "judging_day", "moment"]

VARIABLE = "SOURCE_DATE_EPOCH"
_LAST = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


def fixed_moment(environment: Mapping[str, str] = os.environ) -> datetime | None:
    """What the variable names, in UTC; None if it is not set.

    Raises:
        UsageError: if it holds no such number.
    """
    text = environment.get(VARIABLE)
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,12}", text) or int(text) > _LAST:
        raise UsageError(
            f"{VARIABLE}={text[:40]!r} is no number of seconds since 1970",
            hint=f"unset it, or write {VARIABLE}=$(date +%s)",
        )
    return datetime.fromtimestamp(int(text), UTC)


def moment(environment: Mapping[str, str] = os.environ) -> datetime:
    """The moment that the variable names, else the present one; in UTC."""
    fixed = fixed_moment(environment)
    return datetime.now(UTC) if fixed is None else fixed


def judging_day(
    at: datetime, ends: Iterable[date], started: str = "", present: datetime | None = None
) -> date:
    """The day by which waivers are judged: that of `at`, but no variable revives one that has ended.

    SOURCE_DATE_EPOCH may end a waiver early.  One that would hold by it and has ended by the clock makes the
    clock's day count; so the same inputs give the same report until a waiver's end has really passed.

    `started` stands outside a report's digest, and nothing is gained by writing another one there: whatever
    it says, a waiver that holds on the day returned has not ended by the clock.  If that day is the clock's,
    this is what holding means; else no end lies in [day, clock), and one that is not before the day is not
    before the clock's either.  A later start only ends waivers.

    Args:
        at: the moment of judging, as `moment` tells it.
        ends: the last days of the waivers.
        started: when the audit began, as its report says; "": now.  No judgement is dated before its audit.
        present: what the clock says; None: ask it.
    """
    day = max(at.date(), _day_of(started) or at.date())
    today = (datetime.now(UTC) if present is None else present).date()
    return today if any(day <= end < today for end in ends) else day


def _day_of(started: str) -> date | None:
    with contextlib.suppress(ValueError, OverflowError):
        began = datetime.fromisoformat(started)
        return began.astimezone(UTC).date() if began.tzinfo else began.date()
    return None
