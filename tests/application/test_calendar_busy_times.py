"""Rules of busy times: when connected calendars are read, and which times are used meanwhile."""

import asyncio
from datetime import timedelta

import pytest

from application.calendars import busy_times
from application.calendars.busy_times import EVERY, FRESH, LONGEST_PAUSE
from domain.accounts import Role, User
from domain.calendars import CalendarUnavailable, Provider
from domain.errors import Unavailable
from domain.time import Interval
from tests.application.calendar_application import MINUTE, SECOND, CalendarApplication, hours

APPLICATION = CalendarApplication

YEAR = timedelta(days=365)


def busy(app: CalendarApplication, coach: User) -> list[Interval]:
    return sorted(app.connection(coach).busy, key=lambda each: each.starts_at)


def reads(app: CalendarApplication) -> int:
    return app.google.calls.count("busy")


# Periodically


async def test_busy_times_of_the_next_year_are_read(app: CalendarApplication, coach: User) -> None:
    now = app.clock.now()
    near, far = hours(10), Interval(now + YEAR, now + YEAR + MINUTE)
    too_far = Interval(now + YEAR + timedelta(days=2), now + YEAR + timedelta(days=3))
    app.google.foreign += [near, far, too_far]
    assert await app.read_busy_times() == 1
    assert busy(app, coach) == [near, far]
    assert app.connection(coach).busy_read_at == now


async def test_each_calendar_is_read_every_five_minutes(app: CalendarApplication, coach: User) -> None:
    assert (await app.read_busy_times(), await app.read_busy_times()) == (1, 0)
    app.clock.advance(EVERY - SECOND)
    assert await app.read_busy_times() == 0
    app.clock.advance(SECOND)
    assert await app.read_busy_times() == 1
    assert reads(app) == 2


async def test_calendars_of_all_coaches_are_read_and_those_of_clients_are_not(app: CalendarApplication) -> None:
    for _ in range(3):
        await app.connected_coach()
    await app.connected(await app.person(Role.ADMIN))
    await app.connected(await app.person())
    assert await app.read_busy_times() == 4


async def test_read_busy_times_replace_the_stored_ones(app: CalendarApplication, coach: User) -> None:
    app.google.foreign[:] = [hours(10), hours(12)]
    await app.read_busy_times()
    app.google.foreign[:] = [hours(12), hours(14)]
    app.clock.advance(EVERY)
    await app.read_busy_times()
    assert busy(app, coach) == [hours(12), hours(14)]


async def test_own_entries_are_no_busy_times(app: CalendarApplication, coach: User) -> None:
    appointment_id = await app.appointment(coach)
    await app.run()
    app.google.foreign.append(hours(12))
    await app.read_busy_times()
    assert busy(app, coach) == [hours(12)]
    await app.move(appointment_id, 15)
    app.clock.advance(EVERY)
    await app.read_busy_times()
    assert busy(app, coach) == [hours(12)], "the entry is still at its earlier time"


async def test_failed_read_keeps_the_stored_busy_times(app: CalendarApplication, coach: User) -> None:
    app.google.foreign.append(hours(10))
    await app.read_busy_times()
    app.clock.advance(EVERY)
    app.google.faults.append(CalendarUnavailable("away"))
    assert await app.read_busy_times() == 0
    row = app.connection(coach)
    assert (row.busy, row.last_error) == ((hours(10),), "away")
    app.clock.advance(EVERY)
    assert await app.read_busy_times() == 1
    assert app.connection(coach).last_error is None


async def test_interval_grows_with_the_failures_up_to_an_hour(app: CalendarApplication, coach: User) -> None:
    await app.read_busy_times()
    pauses = []
    for _ in range(7):
        app.clock.moment = app.connection(coach).busy_due_at
        app.google.faults.append(CalendarUnavailable())
        assert await app.read_busy_times() == 0
        pauses.append(app.connection(coach).busy_due_at - app.clock.now())
    assert pauses == [EVERY, 2 * EVERY, 4 * EVERY, 8 * EVERY, *[LONGEST_PAUSE] * 3]


async def test_revoked_calendar_is_not_read_any_more(app: CalendarApplication, coach: User) -> None:
    app.google.end_consent()
    assert await app.read_busy_times() == 0
    app.clock.advance(LONGEST_PAUSE)
    await app.read_busy_times()
    assert app.google.calls.count("refresh") == 1
    assert app.connection(coach).status == "reconnect"


async def test_calendar_connected_again_during_a_read_keeps_no_times_of_the_previous_account(
    app: CalendarApplication, coach: User
) -> None:
    app.google.foreign.append(hours(10))

    async def connected_again() -> None:
        app.clock.advance(SECOND)
        await app.connected(coach)

    app.google.before.append(connected_again)
    await app.read_busy_times()
    assert busy(app, coach) == []


async def test_unavailable_database_ends_no_read(
    app: CalendarApplication, coach: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object, **__: object) -> None:
        raise Unavailable

    for method in ("keep", "postpone"):
        monkeypatch.setattr(app.busy_store, method, unavailable)
    assert await app.read_busy_times() == 0
    monkeypatch.undo()
    app.clock.advance(EVERY)
    assert await app.read_busy_times() == 1


# Before a booking


async def refreshed(app: CalendarApplication, coach: User) -> None:
    await app.connected_calendars.refresh(coach.uuid)


async def test_times_older_than_thirty_seconds_are_read_before_a_booking(app: CalendarApplication, coach: User) -> None:
    await refreshed(app, coach)
    app.google.foreign.append(hours(10))
    app.clock.advance(FRESH)
    await refreshed(app, coach)
    assert (reads(app), busy(app, coach)) == (1, [])
    app.clock.advance(SECOND)
    await refreshed(app, coach)
    assert (reads(app), busy(app, coach)) == (2, [hours(10)])


async def test_only_the_calendars_of_the_coach_are_read(app: CalendarApplication, coach: User) -> None:
    await app.connected(coach, Provider.OUTLOOK)
    await app.connected_coach()
    await refreshed(app, coach)
    assert (reads(app), app.outlook.calls.count("busy")) == (1, 1)


async def test_concurrent_calls_share_one_read(app: CalendarApplication, coach: User) -> None:
    app.google.before.append(lambda: asyncio.sleep(0))
    await asyncio.gather(*(refreshed(app, coach) for _ in range(5)))
    assert reads(app) == 1


async def test_calendar_that_could_not_be_read_is_not_read_again_in_that_time(
    app: CalendarApplication, coach: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.google.faults.append(CalendarUnavailable())
    await refreshed(app, coach)
    await refreshed(app, coach)
    assert reads(app) == 1
    monkeypatch.setattr(busy_times, "FRESH", timedelta(0))
    await refreshed(app, coach)
    assert reads(app) == 2
    app.clock.advance(SECOND)
    monkeypatch.undo()
    app.clock.advance(FRESH)
    await refreshed(app, coach)
    assert reads(app) == 3, "a successful read ends the pause"


async def test_slow_calendar_delays_a_booking_only_for_a_time(
    app: CalendarApplication, coach: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The read continues without the caller."""
    may_answer = asyncio.Event()

    async def answer() -> None:
        await may_answer.wait()

    monkeypatch.setattr(busy_times, "PATIENCE_SECONDS", 0.01)
    app.google.before.append(answer)
    app.google.foreign.append(hours(10))
    while not app.read_busy_times._under_way:  # a busy machine may take longer to begin it
        await refreshed(app, coach)
    assert busy(app, coach) == []
    (read,) = app.read_busy_times._under_way.values()
    may_answer.set()
    assert await read
    assert busy(app, coach) == [hours(10)]
    assert app.read_busy_times._under_way == {}


async def test_unavailable_database_stops_no_booking(
    app: CalendarApplication, coach: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object, **__: object) -> None:
        raise Unavailable

    monkeypatch.setattr(app.busy_store, "list_stale", unavailable)
    await refreshed(app, coach)
    assert reads(app) == 0
