"""Slots around every change of every zone's clock, against a slow and independent model.

Usually the changes from 2024 to 2027 are looked at, in LONG_RUN those until 2037. The zones that change alike are
looked at once. Each change meets one set of hours; with EVERY_CHANGE=1 all of them.
"""

import os
import zoneinfo
from bisect import bisect_left
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from io import BytesIO
from itertools import cycle, pairwise
from typing import Any
from zoneinfo import ZoneInfo
from zoneinfo._common import load_data
from zoneinfo._zoneinfo import ZoneInfo as PlainZone  # type: ignore[import-not-found]

import pytest
import tzdata  # type: ignore[import-untyped]

from domain.availability import Availability, Hours
from domain.time import Interval
from tests.domain.availability_model import Model

EVERY_CHANGE = bool(os.environ.get("EVERY_CHANGE"))
GRAIN = timedelta(minutes=15)
LONG_RUN = EVERY_CHANGE or bool(os.environ.get("LONG_RUN"))
SINCE, UNTIL = datetime(2024, 1, 1, tzinfo=UTC), datetime(2038 if LONG_RUN else 2028, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def every_day(*hours: tuple[float, float]) -> dict[int, tuple[Hours, ...]]:
    return dict.fromkeys(range(7), tuple(Hours(round(opens * 60), round(closes * 60)) for opens, closes in hours))


# Around the clock; what begins or ends in the hour that comes twice or never; over midnight; in two pieces.
HOURS = (
    every_day((0, 24)),
    every_day((1.5, 3.5)),
    every_day((2, 3), (23, 24)),
    every_day((22, 24), (0, 2)),
    every_day((0.5, 2.25), (2.5, 9)),
    every_day((22, 24 - 1 / 60), (0, 2)),
)
STEPS = (timedelta(minutes=30), timedelta(minutes=45))


def offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    found = instant.astimezone(zone).utcoffset()
    assert found is not None
    return found


def changes(zone: ZoneInfo, since: datetime, until: datetime) -> Iterator[datetime]:
    """Looks every fifth day, then for the quarter of an hour of those in which the offset changed."""
    step = timedelta(days=5)
    looks = [since + number * step for number in range((until - since) // step + 1)]
    offsets = [offset(zone, look) for look in looks]
    for look, before, after in zip(looks, offsets, offsets[1:], strict=False):
        if before != after:
            found = look + bisect_left(range(step // GRAIN), True, key=_has(zone, look, after)) * GRAIN
            assert offset(zone, found - GRAIN) == before, "one change within the days"
            yield found


def _has(zone: ZoneInfo, look: datetime, after: timedelta) -> Callable[[int], bool]:
    return lambda number: offset(zone, look + number * GRAIN) == after


@cache
def different_zones() -> dict[str, tuple[datetime, ...]]:
    """One name for each way in which zones change, with its changes."""
    by_rules: dict[tuple[Any, ...], str] = {}
    for name in sorted(zoneinfo.available_timezones() - {"Factory", "localtime"}):
        by_rules.setdefault(_rules_of(name), name)
    by_changes: dict[tuple[timedelta, ...], tuple[str, tuple[datetime, ...]]] = {}
    for name in by_rules.values():
        zone = ZoneInfo(name)
        found = tuple(changes(zone, SINCE, UNTIL))
        moves = [part for change in found for part in (change - SINCE, offset(zone, change))]
        by_changes.setdefault((offset(zone, SINCE), *moves), (name, found))
    return dict(by_changes.values())


def _rules_of(name: str) -> tuple[Any, ...]:
    """The same for zones that are alike since 2024: offset, listed changes, and the rule for the time after them."""
    zone = ZoneInfo(name)
    _, moments, *_, rule = load_data(BytesIO(_file(name)))
    listed = [(at, offset(zone, datetime.fromtimestamp(at, UTC))) for at in moments if at >= SINCE.timestamp()]
    return offset(zone, SINCE), *listed, rule if rule and b"," in rule else None


def _file(name: str) -> bytes:
    for directory in (*zoneinfo.TZPATH, os.path.join(os.path.dirname(tzdata.__file__), "zoneinfo")):  # noqa: PTH118, PTH120
        path = os.path.join(directory, name)  # noqa: PTH118 (a zone's name is no path of ours)
        if os.path.isfile(path):  # noqa: PTH113
            with open(path, "rb") as file:  # noqa: PTH123
                return file.read()
    return name.encode()


def check(timezone: str, change: datetime, weekly: dict[int, tuple[Hours, ...]], step: timedelta) -> None:
    availability = Availability(timezone=timezone, weekly=weekly, slot_step=step)
    window = Interval(change - timedelta(hours=14), change + timedelta(hours=14))
    length = timedelta(minutes=60)
    expected = Model(availability, [], LONG_AGO, GRAIN).slots(window, length)
    assert availability.slots(window, length, [], LONG_AGO) == expected, (timezone, change, weekly, step)


def test_slots_around_every_offset_change_of_every_zone_equal_the_model() -> None:
    zones = different_zones()
    hours, steps = cycle(HOURS), cycle(STEPS)
    checked = 0
    for timezone, found in zones.items():
        for change in found or [datetime(2030, 6, 1, tzinfo=UTC)]:
            for weekly in HOURS if EVERY_CHANGE else [next(hours)]:
                for step in STEPS if EVERY_CHANGE else [next(steps)]:
                    check(timezone, change, weekly, step)
                    checked += 1
    # A database of zones that lost its changes would make this test easy.
    assert len(zones) > 60
    assert checked > (800 if LONG_RUN else 230)


def test_no_zone_changes_its_offset_twice_within_three_hours_since_1970() -> None:
    """As the search for changes takes for granted."""
    for name in sorted(zoneinfo.available_timezones()):
        known = [moment for moment in PlainZone(name)._trans_utc if moment >= 0]
        assert all(later - earlier > 3 * 3600 for earlier, later in pairwise(known)), name


# Changes that are out of the ordinary, and of other times.
ODD = {
    "the day that Samoa left out": ("Pacific/Apia", date(2011, 12, 30)),
    "the day that Kwajalein left out": ("Pacific/Kwajalein", date(1993, 8, 21)),
    "half an hour in Lord Howe": ("Australia/Lord_Howe", date(2026, 10, 3)),
    "half an hour back in Lord Howe": ("Australia/Lord_Howe", date(2026, 4, 4)),
    "two hours on Troll": ("Antarctica/Troll", date(2026, 3, 29)),
    "two hours back on Troll": ("Antarctica/Troll", date(2026, 10, 25)),
    "the Ramadan of Morocco": ("Africa/Casablanca", date(2026, 2, 15)),
    "after the Ramadan of Morocco": ("Africa/Casablanca", date(2026, 3, 22)),
    "another zone for Juba": ("Africa/Juba", date(2021, 1, 31)),
    "clocks put back at midnight in Cairo": ("Africa/Cairo", date(2026, 10, 29)),
    "the hour after midnight that Beirut left out": ("Asia/Beirut", date(2026, 3, 28)),
    "clocks put back over midnight in the Azores": ("Atlantic/Azores", date(2026, 10, 25)),
    "Nuuk on the evening before": ("America/Nuuk", date(2026, 3, 28)),
    "Volgograd's last move": ("Europe/Volgograd", date(2020, 12, 26)),
    "Nepal's quarter": ("Asia/Kathmandu", date(1986, 1, 1)),
    "Pyongyang's half hour back": ("Asia/Pyongyang", date(2018, 5, 4)),
}


@pytest.mark.parametrize("name", ODD)
def test_slots_around_unusual_offset_changes_equal_the_model(name: str) -> None:
    timezone, day = ODD[name]
    around = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    for weekly in HOURS:
        for step in STEPS:
            check(timezone, around, weekly, step)


@pytest.mark.parametrize(
    ("timezone", "day", "grain"),
    [
        ("Africa/Monrovia", date(1972, 1, 7), timedelta(seconds=30)),  # -0:44:30 to UTC
        ("Asia/Kathmandu", date(1970, 6, 1), timedelta(minutes=15)),  # 5:30
        ("Europe/Dublin", date(1971, 10, 31), timedelta(minutes=15)),
    ],
)
def test_offsets_with_seconds_are_exact(timezone: str, day: date, grain: timedelta) -> None:
    availability = Availability(timezone=timezone, weekly=every_day((0, 2.5), (22, 24)))
    around = datetime(day.year, day.month, day.day, tzinfo=UTC)
    window = Interval(around - timedelta(hours=12), around + timedelta(hours=12))
    expected = Model(availability, [], datetime(1969, 1, 1, tzinfo=UTC), grain).slots(window, timedelta(minutes=60))
    assert expected
    assert availability.slots(window, timedelta(minutes=60), [], datetime(1969, 1, 1, tzinfo=UTC)) == expected


def test_skipped_hour_has_no_slots_and_repeated_hour_has_slots_twice() -> None:
    availability = Availability(timezone="Europe/Berlin", weekly=every_day((1, 4)), slot_step=timedelta(minutes=60))

    def starts(day: date) -> list[str]:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=3)
        window = Interval(midnight, midnight + timedelta(hours=12))
        found = availability.slots(window, timedelta(minutes=60), [], LONG_AGO)
        return [slot.starts_at.astimezone(ZoneInfo("Europe/Berlin")).strftime("%H:%M %Z") for slot in found]

    assert starts(date(2026, 3, 29)) == ["01:00 CET", "03:00 CEST"]
    assert starts(date(2026, 10, 25)) == ["01:00 CEST", "02:00 CEST", "02:00 CET", "03:00 CET"]
