"""Now, or what SOURCE_DATE_EPOCH says: seconds since 1970-01-01 00:00 UTC, a whole number.

Where the variable is set no clock is read, neither for dates nor for durations: the same inputs then give the
same report, byte for byte.

https://reproducible-builds.org/specs/source-date-epoch/
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
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


def judging_day(started: str, at: datetime) -> date:
    """The day by which waivers of a report are judged: no variable makes it earlier than the audit.

    Args:
        started: when the audit began, as the report says it.
        at: the moment of judging.
    """
    with contextlib.suppress(ValueError, OverflowError):
        began = datetime.fromisoformat(started)
        return max(at.date(), began.astimezone(UTC).date() if began.tzinfo else began.date())
    return at.date()
