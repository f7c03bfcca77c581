"""SOURCE_DATE_EPOCH: what it means, what it must not be."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.errors import UsageError
from lipaudit.moment import VARIABLE, fixed_moment, judging_day, moment


def test_seconds_since_1970():
    assert moment({VARIABLE: "0"}) == datetime(1970, 1, 1, tzinfo=UTC)
    assert fixed_moment({VARIABLE: "1796000000"}) == datetime(2026, 11, 30, 0, 53, 20, tzinfo=UTC)


def test_without_it_the_clock_counts():
    assert fixed_moment({}) is None
    assert abs(moment({}) - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "now", "1e9", " 1", "9" * 12, "9" * 400, "١"])
def test_anything_else_is_an_error(text):
    with pytest.raises(UsageError, match=VARIABLE):
        moment({VARIABLE: text})


@pytest.mark.parametrize(
    ("started", "day"),
    [
        ("2026-01-31T12:00:00+00:00", 31),
        ("2026-01-31T01:00:00+02:00", 30),
        ("2026-01-31", 31),
        ("2026-01-01T00:00:00+00:00", 15),
        ("yesterday", 15),
        ("0001-01-01T00:00:00+14:00", 15),
    ],
)
def test_waivers_are_judged_no_earlier_than_the_audit(started, day):
    assert judging_day(datetime(2026, 1, 15, tzinfo=UTC), [], started) == date(2026, 1, day)


DAYS = st.dates(date(1970, 1, 1), date(9999, 12, 31))


@given(at=DAYS, clock=DAYS, ends=st.lists(DAYS, max_size=4), started=DAYS, forged=DAYS)
def test_no_variable_and_no_date_in_a_report_revives_a_waiver(at, clock, ends, started, forged):
    def moment_of(day):
        return datetime(day.year, day.month, day.day, 23, 59, tzinfo=UTC)

    for text in ("", started.isoformat(), forged.isoformat()):
        day = judging_day(moment_of(at), ends, text, moment_of(clock))
        assert not any(day <= end < clock for end in ends)
        assert day >= (date.fromisoformat(text) if text else at) or day == clock
    if not any(at <= end < clock for end in ends):
        assert judging_day(moment_of(at), ends, "", moment_of(clock)) == at  # the same bytes each time
