"""Recurrence rules: the same local time, a bounded number of occurrences, and no expensive rules."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from domain.appointments import MAX_OCCURRENCES
from domain.errors import Invalid
from infrastructure.recurrence_rules import RecurrenceRules

BERLIN = ZoneInfo("Europe/Berlin")
FIRST = datetime(2026, 10, 12, 8, tzinfo=UTC)
"""Monday, 10 o'clock in Berlin."""


def days(rule: str, first: datetime = FIRST, zone: ZoneInfo = BERLIN) -> list[str]:
    found = RecurrenceRules().occurrences(rule, first, zone, at_most=MAX_OCCURRENCES)
    return [f"{each.astimezone(zone):%y%m%d %H:%M %z}" for each in found]


def test_local_time_stays_when_clocks_change() -> None:
    autumn = ["261012 10:00 +0200", "261019 10:00 +0200", "261026 10:00 +0100", "261102 10:00 +0100"]
    assert days("FREQ=WEEKLY;COUNT=4") == autumn
    assert days("RRULE:FREQ=WEEKLY;UNTIL=20261102") == autumn
    assert days("FREQ=WEEKLY;UNTIL=20261102T085959Z") == autumn[:3]
    assert days("FREQ=WEEKLY;UNTIL=20261102T090000Z") == autumn


def test_skipped_local_time_is_later_and_repeated_one_is_the_first() -> None:
    spring = datetime(2026, 3, 28, 1, 30, tzinfo=UTC)
    assert days("FREQ=DAILY;COUNT=3", spring) == ["260328 02:30 +0100", "260329 03:30 +0200", "260330 02:30 +0200"]
    autumn = datetime(2026, 10, 24, 0, 30, tzinfo=UTC)
    assert days("FREQ=DAILY;COUNT=2", autumn) == ["261024 02:30 +0200", "261025 02:30 +0200"]
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert days("FREQ=DAILY;COUNT=2", second) == ["261025 02:30 +0100", "261026 02:30 +0100"]


def test_months_without_the_day_are_skipped() -> None:
    last = datetime(2027, 1, 31, 9, tzinfo=UTC)
    assert days("FREQ=MONTHLY;COUNT=3", last) == ["270131 10:00 +0100", "270331 10:00 +0200", "270531 10:00 +0200"]
    leap = datetime(2028, 2, 29, 9, tzinfo=UTC)
    assert days("FREQ=YEARLY;COUNT=2", leap, BERLIN) == ["280229 10:00 +0100", "320229 10:00 +0100"]


def test_weekdays_are_those_of_the_actual_years() -> None:
    for year in (2024, 2025, 2026, 2027, 2028, 2050, 2071, 2089):
        first = datetime(year, 1, 1, 9, tzinfo=UTC)
        found = days("FREQ=MONTHLY;BYDAY=2TU;COUNT=40", first, ZoneInfo("UTC"))
        for each in found:
            day = datetime.strptime(each[:6], "%y%m%d").replace(tzinfo=UTC)
            assert day.replace(year=year // 100 * 100 + day.year % 100).weekday() == 1
            assert 8 <= day.day <= 14
        assert len(found) == 40
        assert found[1][2:4] == "02"


NASTY = [
    "",
    "weekly",
    "FREQ=SECONDLY;COUNT=5",
    "FREQ=MINUTELY;COUNT=5",
    "FREQ=HOURLY;COUNT=5",
    "FREQ=DAILY",
    "FREQ=DAILY;COUNT=0",
    "FREQ=DAILY;COUNT=1000000000",
    "FREQ=DAILY;COUNT=3;UNTIL=20270101",
    "FREQ=DAILY;UNTIL=20270101",
    "FREQ=WEEKLY;UNTIL=20400101",
    "FREQ=WEEKLY;UNTIL=20200101",
    "FREQ=WEEKLY;UNTIL=20269999",
    "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=3",
    "FREQ=DAILY;BYYEARDAY=9999;COUNT=1",
    "FREQ=DAILY;BYWEEKNO=99;COUNT=1",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;COUNT=3",
    "FREQ=YEARLY;INTERVAL=999;COUNT=2",
    "FREQ=DAILY;INTERVAL=1000000000;COUNT=2",
    "FREQ=DAILY;BYHOUR=1,2,3;BYMINUTE=1,2,3;BYSECOND=1,2,3;COUNT=2",
    "FREQ=YEARLY;BYEASTER=1;COUNT=2",
    "FREQ=DAILY;COUNT=2;COUNT=3",
    "FREQ=WEEKLY;BYDAY=XX;COUNT=2",
    "FREQ=MONTHLY;BYDAY=99999999999999999999MO;COUNT=2",
    "FREQ=DAILY;BYMONTHDAY=" + "9" * 400 + ";COUNT=1",
    "FREQ=YEARLY;BYDAY=" + ",".join(["MO"] * 3000) + ";COUNT=2",
    "X" * 10_000,
    "FREQ=DAILY;COUNT=2\nEXDATE:20261012T100000",
    "DTSTART:19700101T000000\nRRULE:FREQ=DAILY;COUNT=2",
    "FREQ=DAILY;COUNT=٣",
]


@pytest.mark.parametrize("rule", NASTY)
def test_expensive_rule_is_rejected(rule: str) -> None:
    with pytest.raises(Invalid) as refused:
        days(rule)
    assert set(refused.value.details) == {"rrule"}
