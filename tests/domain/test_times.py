from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.time import Interval, as_utc, end_of_day, entered_day, entered_instant, entered_interval

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)


def test_time_without_an_offset_is_utc() -> None:
    assert as_utc(datetime(2026, 12, 1, 12)) == NOON  # noqa: DTZ001


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), st.integers(-23 * 60, 23 * 60))  # noqa: DTZ001
def test_time_is_converted_to_utc_without_changing_the_instant(local: datetime, minutes: int) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert as_utc(moment) == moment
    assert as_utc(moment).tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+00:01"]
)
def test_offset_that_leaves_the_calendar_is_rejected(text: str) -> None:
    moment = datetime.fromisoformat(text)
    with pytest.raises(Invalid):
        as_utc(moment)
    with pytest.raises(Invalid) as refused:
        Interval(moment, NOON)
    assert refused.value.details.keys() == {"start_datetime"}
    with pytest.raises(Invalid) as refused:
        Interval(NOON, moment)
    assert refused.value.details.keys() == {"end_datetime"}


def test_an_interval_is_stored_in_utc() -> None:
    local = timezone(timedelta(hours=5, minutes=30))
    interval = Interval(datetime(2026, 12, 1, 17, 30, tzinfo=local), datetime(2026, 12, 1, 13))  # noqa: DTZ001
    assert (interval.starts_at, interval.ends_at) == (NOON, NOON + timedelta(hours=1))
    assert interval.starts_at.tzinfo is interval.ends_at.tzinfo is UTC


@pytest.mark.parametrize("seconds", [0, -1, -86400])
def test_interval_must_end_after_it_starts(seconds: int) -> None:
    with pytest.raises(Invalid) as refused:
        Interval(NOON, NOON + timedelta(seconds=seconds))
    assert refused.value.details == {"end_datetime": "Must be after the start"}


@pytest.mark.parametrize(
    "text",
    ["1970-01-01T00:00:00Z", "2099-12-31T23:59:59.999999Z", "2100-01-01T13:59:59+14:00", "1969-12-31T10:00:00-14:00"],
)
def test_dates_from_1970_to_2099_are_accepted(text: str) -> None:
    moment = datetime.fromisoformat(text)
    assert entered_instant(moment, "at") == moment


@pytest.mark.parametrize(
    "text",
    [
        "1969-12-31T23:59:59.999999Z",
        "1970-01-01T00:00:00+00:01",
        "2100-01-01T00:00:00Z",
        "2099-12-31T23:59:59-00:01",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
        "0001-01-01T00:00:00",
    ],
)
def test_date_outside_1970_to_2099_is_rejected_with_its_field(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        entered_instant(datetime.fromisoformat(text), "at")
    assert refused.value.details == {"at": "Must be between 1970-01-01 and 2099-12-31"}


@given(st.datetimes(), st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_date_range_applies_in_utc_for_every_offset(local: datetime, minutes: int) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    try:
        kept: datetime | None = entered_instant(moment, "at")
    except Invalid:
        kept = None
    expected = datetime(1970, 1, 1, tzinfo=UTC) <= moment < datetime(2100, 1, 1, tzinfo=UTC)
    assert (kept is not None) == expected
    assert kept is None or (kept == moment and kept.tzinfo is UTC)


@pytest.mark.parametrize(
    ("day", "is_kept"),
    [
        (date(1969, 12, 31), False),
        (date(1970, 1, 1), True),
        (date(2099, 12, 31), True),
        (date(2100, 1, 1), False),
        (date.max, False),
        (date.min, False),
    ],
)
def test_days_have_the_same_range(day: date, is_kept: bool) -> None:
    if is_kept:
        assert entered_day(day, "on") == day
    else:
        with pytest.raises(Invalid) as refused:
            entered_day(day, "on")
        assert refused.value.details.keys() == {"on"}


@pytest.mark.parametrize(
    ("given", "end"),
    [
        ("2026-12-01T23:59:59Z", "2026-12-02T00:00:00Z"),
        ("2026-12-01T23:59:00Z", "2026-12-02T00:00:00Z"),
        ("2026-12-01T23:59:59.999999Z", "2026-12-02T00:00:00Z"),
        ("2026-12-31T23:59:59-08:00", "2027-01-01T00:00:00-08:00"),
        ("2099-12-31T23:59:59Z", "2100-01-01T00:00:00Z"),
        ("2026-12-01T23:58:59Z", "2026-12-01T23:58:59Z"),
        ("2026-12-02T00:00:00Z", "2026-12-02T00:00:00Z"),
        ("2026-12-02T04:59:59Z", "2026-12-02T04:59:59Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_last_minute_of_a_day_means_its_end(given: str, end: str) -> None:
    assert end_of_day(datetime.fromisoformat(given)) == datetime.fromisoformat(end)


def test_stored_interval_may_lie_outside_the_range() -> None:
    assert Interval(NOON, LAST).ends_at == LAST


def test_only_changed_times_are_validated() -> None:
    stored = Interval(NOON, LAST)
    sooner = Interval(NOON - timedelta(hours=1), LAST)
    assert entered_interval(stored, stored) == stored
    assert entered_interval(sooner, stored) == sooner
    with pytest.raises(Invalid) as refused:
        entered_interval(stored)
    assert refused.value.details.keys() == {"end_datetime"}
    with pytest.raises(Invalid):
        entered_interval(Interval(NOON, LAST - timedelta(days=1)), stored)
