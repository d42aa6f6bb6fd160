"""When a coach can be booked: by example, and by properties against the slow model."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.availability import (
    MINUTES_A_DAY,
    Availability,
    Hours,
    SlotUnavailable,
    merged,
    search_window,
    statistics_window,
    zone_of,
)
from domain.errors import Invalid
from domain.time import Interval
from tests.domain.availability_model import Model

GRAIN = timedelta(minutes=15)
MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
BEFORE = datetime(2026, 5, 1, tzinfo=UTC)


def minutes(number: int) -> timedelta:
    return timedelta(minutes=number)


def at(hour: float, day: int = 0) -> datetime:
    return MONDAY + timedelta(days=day, hours=hour)


def between(begins: float, ends: float) -> Interval:
    return Interval(at(begins), at(ends))


def starts(availability: Availability, *busy: Interval, length: int = 60, now: datetime = BEFORE) -> list[float]:
    """The hours at which slots of the Monday begin."""
    found = availability.slots(between(0, 24), minutes(length), busy, now)
    return [(slot.starts_at - MONDAY) / timedelta(hours=1) for slot in found]


def test_default_hours_of_a_coach_are_nine_to_five() -> None:
    assert starts(Availability(slot_step=minutes(60))) == [9, 10, 11, 12, 13, 14, 15, 16]
    assert starts(Availability(), length=480) == [9]


def test_override_of_a_day_replaces_the_weekly_hours() -> None:
    monday = MONDAY.date()
    assert starts(Availability(overrides={monday: ()})) == []
    assert starts(Availability(overrides={monday: (Hours(60, 120),)})) == [1]


def test_hours_over_midnight_are_continuous() -> None:
    night = dict.fromkeys(range(7), (Hours(0, 120), Hours(22 * 60, 24 * 60)))
    found = Availability(weekly=night).slots(Interval(at(20), at(30)), minutes(120), [], BEFORE)
    assert [slot.starts_at for slot in found] == [at(22), at(22.5), at(23), at(23.5), at(24)]


def test_closing_at_23_59_means_end_of_day() -> None:
    until_midnight, last_minute = (Availability(weekly={0: (Hours(22 * 60, closes),)}) for closes in (1440, 1439))
    assert starts(until_midnight) == starts(last_minute) == [22, 22.5, 23]
    last_minute.refuse(between(23, 24), [], BEFORE)
    assert last_minute.weekly[0] == (Hours(22 * 60, 1439),), "it is shown as it was entered"
    night = dict.fromkeys(range(7), (Hours(0, 120), Hours(22 * 60, 1439)))
    found = Availability(weekly=night).slots(Interval(at(20), at(30)), minutes(120), [], BEFORE)
    assert [slot.starts_at for slot in found] == [at(22), at(22.5), at(23), at(23.5), at(24)]
    overridden = Availability(overrides={MONDAY.date(): (Hours(23 * 60, 1439),)})
    assert starts(overridden) == [23]


def test_hours_until_23_59_can_be_followed_by_the_last_minute() -> None:
    hours = (Hours(23 * 60, 1439), Hours(1439, 1440))
    assert starts(Availability(weekly={0: hours})) == [23]


@pytest.mark.parametrize("closes", [1438, 1425])
def test_other_closing_times_are_exact(closes: int) -> None:
    assert starts(Availability(weekly={0: (Hours(22 * 60, closes),)})) == [22, 22.5]


def test_buffer_keeps_time_before_and_after_free() -> None:
    meeting = between(12, 13)
    assert starts(Availability(), meeting) == [9, 9.5, 10, 10.5, 11, 13, 13.5, 14, 14.5, 15, 15.5, 16]
    after = Availability(buffer_after=minutes(30))
    assert starts(after, meeting) == [9, 9.5, 10, 10.5, 13, 13.5, 14, 14.5, 15, 15.5, 16]
    before = Availability(buffer_before=minutes(60))
    assert starts(before, meeting) == [9, 9.5, 10, 10.5, 11, 14, 14.5, 15, 15.5, 16]


def test_past_and_too_early_slots_are_not_offered() -> None:
    assert starts(Availability(), now=at(14)) == [14, 14.5, 15, 15.5, 16]
    assert starts(Availability(minimum_notice=minutes(90)), now=at(14)) == [15.5, 16]
    assert starts(Availability(minimum_notice=minutes(60)), now=at(14, day=-1)) == starts(Availability())


def test_slots_beyond_the_booking_horizon_are_not_offered() -> None:
    near = Availability(bookable_ahead=timedelta(days=1))
    assert starts(near, now=at(10, day=-1)) == [9, 9.5, 10]
    assert starts(near, now=at(8, day=-1)) == []


def test_slots_lie_completely_within_the_window() -> None:
    found = Availability().slots(between(10.25, 12.25), minutes(60), [], BEFORE)
    assert [slot.starts_at for slot in found] == [at(10.5), at(11)]


def test_session_can_start_between_steps() -> None:
    Availability().refuse(between(9.1, 10.1), [], BEFORE)
    with pytest.raises(SlotUnavailable):
        Availability().refuse(between(8.9, 9.9), [], BEFORE)


@pytest.mark.parametrize(
    "name", ["", "Berlin", "America", "../etc/passwd", "/etc/passwd", "a\0b", "x" * 9000, "\udcff", "right/Asia/Tokyo"]
)
def test_unknown_time_zone_is_rejected(name: str) -> None:
    with pytest.raises(Invalid, match="Validation"):
        zone_of(name)
    with pytest.raises(Invalid):
        Availability(timezone=name)


@pytest.mark.parametrize(
    "nonsense",
    [
        {"weekly": {0: (Hours(0, 60), Hours(59, 120))}},
        {"overrides": {date(2026, 1, 1): (Hours(0, 60), Hours(0, 60))}},
        {"buffer_before": minutes(-1)},
        {"buffer_after": minutes(1441)},
        {"minimum_notice": timedelta(days=367)},
        {"slot_step": minutes(4)},
        {"slot_step": minutes(0)},
        {"bookable_ahead": timedelta(0)},
        {"bookable_ahead": timedelta(days=3661)},
    ],
)
def test_invalid_settings_are_rejected(nonsense: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        Availability(**nonsense)


def test_bounds_of_a_setting_are_stated_in_minutes() -> None:
    with pytest.raises(Invalid) as rejected:
        Availability(slot_step=minutes(4))
    assert rejected.value.details == {"slot_step_minutes": "Must be between 5 and 1440 minutes"}


def test_hours_of_a_day_may_touch() -> None:
    assert starts(Availability(weekly={0: (Hours(60, 120), Hours(120, 180))})) == [1, 1.5, 2]
    with pytest.raises(Invalid) as rejected:
        Availability(weekly={0: (Hours(60, 121), Hours(120, 180))})
    assert rejected.value.details == {"weekly_hours": "The hours of one day must not overlap"}


def test_change_of_the_clock_is_exact_to_the_second() -> None:
    # From UTC-0:44:30 to UTC: the clock goes from 0:00:00 on Friday to 0:44:30, half a minute before its only minute of
    # hours ends. A change found a second late leaves a closed second at midnight, one found early opens a second more.
    change, second = datetime(1972, 1, 7, 0, 44, 30, tzinfo=UTC), timedelta(seconds=1)
    early = datetime(1971, 1, 1, tzinfo=UTC)
    friday = Availability(timezone="Africa/Monrovia", weekly={4: (Hours(44, 45),)})
    from_thursday = replace(friday, weekly={**friday.weekly, 3: (Hours(0, MINUTES_A_DAY),)})
    friday.refuse(Interval(change, change + 30 * second), [], early)
    # The search begins at the start of the session, so these end it at both seconds before the change.
    for seconds in range(1, 9):
        from_thursday.refuse(Interval(change - seconds * second, change + 30 * second), [], early)
    for closed in (Interval(change - second, change + second), Interval(change, change + 31 * second)):
        with pytest.raises(SlotUnavailable):
            friday.refuse(closed, [], early)


@pytest.mark.parametrize(("opens", "closes"), [(60, 60), (61, 60), (-1, 60), (0, 1441)])
def test_invalid_hours_are_rejected(opens: int, closes: int) -> None:
    with pytest.raises(Invalid):
        Hours(opens, closes)


DAY = timedelta(days=1)
WINDOWS = pytest.mark.parametrize(("window", "days"), [(search_window, 30), (statistics_window, 371)])


@WINDOWS
def test_window_has_a_longest_length(window: Callable[[datetime, datetime], Interval], days: int) -> None:
    assert window(MONDAY, MONDAY + days * DAY) == Interval(MONDAY, MONDAY + days * DAY)
    with pytest.raises(Invalid) as rejected:
        window(MONDAY, MONDAY + days * DAY + timedelta(microseconds=1))
    assert rejected.value.details == {"end_date": f"Date range cannot exceed {days} days"}


@WINDOWS
@pytest.mark.parametrize("ends", [MONDAY, MONDAY - DAY])
def test_window_ends_after_its_start(
    window: Callable[[datetime, datetime], Interval], days: int, ends: datetime
) -> None:
    with pytest.raises(Invalid) as rejected:
        window(MONDAY, ends)
    assert rejected.value.details == {"end_date": "End date must be after start date"}


@WINDOWS
def test_window_until_the_last_minute_of_a_day_includes_all_of_it(
    window: Callable[[datetime, datetime], Interval], days: int
) -> None:
    # The last minute does not count against the longest length.
    last = MONDAY + days * DAY
    assert window(MONDAY, last - timedelta(seconds=1)) == Interval(MONDAY, last)
    assert window(MONDAY, at(23 + 59 / 60)) == Interval(MONDAY, at(24))
    assert window(MONDAY, at(23.5)) == between(0, 23.5)


@WINDOWS
def test_window_lies_between_1970_and_2099(window: Callable[[datetime, datetime], Interval], days: int) -> None:
    with pytest.raises(Invalid) as rejected:
        window(datetime(1969, 12, 31, tzinfo=UTC), datetime(1970, 1, 2, tzinfo=UTC))
    assert rejected.value.details.keys() == {"start_date"}
    with pytest.raises(Invalid) as rejected:
        window(datetime(2099, 12, 31, tzinfo=UTC), datetime(2100, 1, 2, tzinfo=UTC))
    assert rejected.value.details.keys() == {"end_date"}


def test_change_of_the_clock_a_day_after_the_window_changes_nothing() -> None:
    # Hours are looked up over a day more than the window, which ends here with the change itself.
    berlin = Availability(timezone="Europe/Berlin", slot_step=minutes(60))
    change = datetime(2026, 3, 29, 1, tzinfo=UTC)
    window = Interval(change - 2 * DAY, change - DAY)
    found = berlin.slots(window, minutes(240), [], datetime(2026, 1, 1, tzinfo=UTC))
    assert [(change - slot.starts_at) / timedelta(hours=1) for slot in found] == [41, 40, 39, 38, 37]


# Properties

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Cairo")
# Berlin, New York and Cairo, Lord Howe, in both directions; and nothing at all.
CHANGES = (
    "2026-03-29",
    "2026-10-25",
    "2026-03-08",
    "2026-11-01",
    "2026-10-03",
    "2026-04-04",
    "2026-10-29",
    "2026-07-15",
)

near = st.integers(-1, 1)
quarters = st.integers(0, 96).map(lambda number: number * 15)


@st.composite
def working_days(draw: st.DrawFn) -> tuple[Hours, ...]:
    edges = sorted(draw(st.sets(quarters, max_size=4)))
    if len(edges) % 2 == 0 and edges and draw(st.booleans()):
        edges[-1] = 24 * 60 - 1  # 23:59, which means the end of the day
    return tuple(Hours(opens, closes) for opens, closes in zip(edges[::2], edges[1::2], strict=False))


def quarter_hours(least: int, most: int) -> st.SearchStrategy[timedelta]:
    return st.integers(least, most).map(lambda number: number * GRAIN)


@st.composite
def intervals(draw: st.DrawFn, around: datetime, longest: int = 40) -> Interval:
    begins = around + draw(quarter_hours(-120, 120))
    return Interval(begins, begins + draw(quarter_hours(1, longest)))


@st.composite
def situations(draw: st.DrawFn) -> tuple[Model, Interval, timedelta]:
    """A coach with what keeps them busy, a window about a change of clocks, and a length."""
    around = datetime.fromisoformat(draw(st.sampled_from(CHANGES))).replace(tzinfo=UTC)
    availability = Availability(
        timezone=draw(st.sampled_from(ZONES)),
        weekly={day: draw(working_days()) for day in range(7)},
        overrides={
            (around + timedelta(days=day)).date(): draw(working_days()) for day in draw(st.sets(st.integers(-1, 1)))
        },
        buffer_before=draw(quarter_hours(0, 4)),
        buffer_after=draw(quarter_hours(0, 4)),
        minimum_notice=draw(quarter_hours(0, 100)),
        slot_step=draw(quarter_hours(1, 6)),
        bookable_ahead=draw(st.none() | quarter_hours(96, 300)),
    )
    busy = draw(st.lists(intervals(around), max_size=4))
    model = Model(availability, busy, around + draw(quarter_hours(-300, 100)), GRAIN)
    return model, draw(intervals(around, longest=200)), draw(quarter_hours(1, 12))


@given(situations())
def test_slots_equal_those_of_the_model_are_sorted_and_avoid_busy_times(
    situation: tuple[Model, Interval, timedelta],
) -> None:
    model, window, length = situation
    found = model.availability.slots(window, length, model.busy, model.now)
    assert found == model.slots(window, length)
    assert found == sorted(set(found), key=lambda slot: slot.starts_at)
    for slot in found:
        assert window.starts_at <= slot.starts_at < slot.ends_at <= window.ends_at
        assert slot.ends_at - slot.starts_at == length
        kept = model.availability.with_buffers(slot)
        assert not any(kept.starts_at < each.ends_at and each.starts_at < kept.ends_at for each in model.busy)


@given(situations())
def test_bookable_times_equal_those_of_the_model_and_include_every_slot(
    situation: tuple[Model, Interval, timedelta],
) -> None:
    model, window, length = situation
    offered = model.availability.slots(window, length, model.busy, model.now)
    start = window.starts_at
    while start + length <= window.ends_at:
        session = Interval(start, start + length)
        assert is_bookable(model, session) == model.may_be_booked(session)
        start += 5 * GRAIN
    assert all(is_bookable(model, slot) for slot in offered)


def is_bookable(model: Model, session: Interval) -> bool:
    try:
        model.availability.refuse(session, model.busy, model.now)
    except SlotUnavailable:
        return False
    return True


@given(st.lists(intervals(MONDAY), max_size=8))
def test_merged_intervals_cover_the_same_time_without_overlap(given: list[Interval]) -> None:
    result = merged(given)
    assert all(earlier.ends_at < later.starts_at for earlier, later in pairwise(result))
    for number in range(-130, 170):
        instant = MONDAY + number * GRAIN
        assert _covers(result, instant) == _covers(given, instant)


def _covers(intervals: list[Interval], instant: datetime) -> bool:
    return any(each.starts_at <= instant < each.ends_at for each in intervals)
