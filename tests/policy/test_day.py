"""The last day of a waiver: one form is taken, and told to whoever wrote another."""

import re
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.policy.day import read_day

DAYS = st.dates(date(1000, 1, 1))


@given(DAYS)
def test_the_form_is_read_bare_and_in_quotes(day):
    assert read_day(day) == read_day(day.isoformat()) == day


@given(DAYS, st.sampled_from(["{0.day}.{0.month}.{0.year}", "{0:%d.%m.%Y}", "{0:%Y/%m/%d}", "{0:%Y%m%d}"]))
def test_what_is_certainly_meant_is_told(day, form):
    with pytest.raises(ValueError, match=re.escape(f"write {day}") + "$"):
        read_day(form.format(day))


@given(DAYS, st.sampled_from(["{0.day}/{0.month}/{0.year}", "{0.month}/{0.day}/{0.year}"]))
def test_with_slashes_only_where_one_number_is_no_month(day, form):
    with pytest.raises(ValueError, match="expected a day such as") as raised:
        read_day(form.format(day))
    sure = day.day > 12 or day.day == day.month
    assert (f"write {day}" in str(raised.value)) == ("write" in str(raised.value)) == sure


@pytest.mark.parametrize(
    "value",
    ["", "soon", "32.1.2027", "1.13.2027", "31.2.2027", "2027-W01-1", 20271231, True, None, 1.5, "1" * 9],
)
def test_what_is_no_day_gets_the_form_alone(value):
    with pytest.raises(ValueError, match=r"^expected a day such as 2027-01-31 \(year-month-day\)$"):
        read_day(value)


def test_a_day_that_there_is_not():
    with pytest.raises(ValueError, match=r"^there is no day 2027-02-30$"):
        read_day("2027-02-30")


def test_a_moment_is_no_day():
    with pytest.raises(ValueError, match=r"write 2027-01-31$"):
        read_day(datetime(2027, 1, 31, 12, tzinfo=UTC))
