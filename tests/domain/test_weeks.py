"""Weeks in the local time of a zone, across the changes of its clock."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from domain.time import Interval
from domain.weeks import Week, weeks_of

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("moment", "monday"),
    [
        ("2026-06-01T00:00:00+02:00", date(2026, 6, 1)),
        ("2026-05-31T23:59:59+02:00", date(2026, 5, 25)),
        ("2026-06-07T21:59:59Z", date(2026, 6, 1)),
        ("2026-06-07T22:00:00Z", date(2026, 6, 8)),
    ],
)
def test_week_begins_on_the_monday_of_local_time(moment: str, monday: date) -> None:
    assert Week.of(datetime.fromisoformat(moment), BERLIN) == Week(monday, BERLIN)


def test_week_starts_at_local_midnight_also_after_a_change_of_the_clock() -> None:
    before = Week(date(2026, 3, 23), BERLIN)
    assert before.starts_at == datetime(2026, 3, 22, 23, tzinfo=UTC)
    assert before.starts_at.tzinfo is UTC
    assert before.later(1) == Week(date(2026, 3, 30), BERLIN)
    assert before.later(1).starts_at == datetime(2026, 3, 29, 22, tzinfo=UTC)
    assert before.later(3).later(-3) == before


def test_weeks_of_a_window_are_those_that_overlap_it() -> None:
    monday, next_monday = datetime(2026, 5, 31, 22, tzinfo=UTC), datetime(2026, 6, 7, 22, tzinfo=UTC)
    second = timedelta(seconds=1)

    def mondays(starts_at: datetime, ends_at: datetime) -> list[date]:
        found = weeks_of(Interval(starts_at, ends_at), BERLIN)
        assert all(week.zone is BERLIN for week in found)
        return [week.begins_on for week in found]

    assert mondays(monday, next_monday) == [date(2026, 6, 1)]
    assert mondays(monday, next_monday + second) == [date(2026, 6, 1), date(2026, 6, 8)]
    assert mondays(monday - second, monday) == [date(2026, 5, 25)]
    assert mondays(monday - second, monday + second) == [date(2026, 5, 25), date(2026, 6, 1)]
