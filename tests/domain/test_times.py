from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.times import Interval, as_utc

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


def test_a_value_without_an_offset_is_utc() -> None:
    assert as_utc(datetime(2026, 12, 1, 12)) == NOON  # noqa: DTZ001


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), st.integers(-23 * 60, 23 * 60))  # noqa: DTZ001
def test_an_instant_stays_the_same_and_is_written_in_utc(local: datetime, minutes: int) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert as_utc(moment) == moment
    assert as_utc(moment).tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+00:01"]
)
def test_an_offset_may_not_lead_out_of_the_calendar(text: str) -> None:
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
def test_an_interval_ends_after_it_begins(seconds: int) -> None:
    with pytest.raises(Invalid) as refused:
        Interval(NOON, NOON + timedelta(seconds=seconds))
    assert refused.value.details.keys() == {"end_datetime"}
