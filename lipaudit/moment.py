"""Now, or what SOURCE_DATE_EPOCH says: seconds since 1970-01-01 00:00 UTC, a whole number.

Where the variable is set no clock is read, neither for dates nor for durations: the same inputs then give the
same report, byte for byte.

https://reproducible-builds.org/specs/source-date-epoch/
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from lipaudit.errors import UsageError

__all__ = ["VARIABLE", "fixed_moment", "moment"]

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
