"""What Google and Graph do by their documents that a simpler provider would not."""

import contextlib
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from infrastructure.calendar_providers.google import EVENTS
from tests.calendars.calendar_harness import ON_GOOGLE, CalendarHarness, at
from tests.support import calendar_faults as faults
from tests.support.google_calendar import FakeGoogleCalendar
from tests.support.google_calendar import refusal as google_refusal
from tests.support.outlook import FakeOutlook

DAY = timedelta(days=1)


async def test_moving_an_entry_keeps_its_online_meeting(calendar_harness: CalendarHarness) -> None:
    """Graph keeps the way into a Teams meeting in the entry's text."""
    booking_id = await calendar_harness.synced_booking()
    link = await calendar_harness.link(booking_id)
    await calendar_harness.move(booking_id, days=4, hour=15)
    await calendar_harness.run()
    assert calendar_harness.entries() == [(at(4, 15), at(4, 16))]
    entry = calendar_harness.entry()
    assert str(link) in str(entry.get("onlineMeeting") or entry.get("conferenceData"))


@pytest.mark.parametrize(("repeats", "days"), [(True, 4), (False, 90)])
async def test_moved_entry_with_a_lost_answer_is_not_duplicated(
    calendar_harness: CalendarHarness, repeats: bool, days: int
) -> None:
    if isinstance(calendar_harness.calendar, FakeOutlook):
        calendar_harness.calendar.repeats = repeats
    await calendar_harness.connect(calendar_harness.coach)
    booking_id = await calendar_harness.book()
    calendar_harness.calendar.faults.next.append(faults.lost_answer)
    await calendar_harness.run()
    await calendar_harness.move(booking_id, days=days, hour=15)
    await calendar_harness.later()
    assert calendar_harness.entries() == [(at(days, 15), at(days, 16))]
    await calendar_harness.client.delete(f"/booking/{booking_id}")
    await calendar_harness.run()
    assert calendar_harness.entries() == []


async def test_entry_with_a_lost_answer_moved_far_away_is_deleted(
    calendar_harness: CalendarHarness,
) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    booking_id = await calendar_harness.book()
    calendar_harness.calendar.faults.next.append(faults.lost_answer)
    await calendar_harness.run()
    await calendar_harness.move(booking_id, days=90, hour=15)
    await calendar_harness.client.delete(f"/booking/{booking_id}")
    await calendar_harness.later()
    assert calendar_harness.entries() == []


@ON_GOOGLE  # Graph leaves out a meeting that it cannot make
async def test_account_without_google_meet_gets_entries_without_meeting(
    calendar_harness: CalendarHarness,
) -> None:
    assert isinstance(calendar_harness.calendar, FakeGoogleCalendar)
    calendar_harness.calendar.has_meet = False
    booking_id = await calendar_harness.synced_booking()
    assert calendar_harness.entries() == [(at(3, 10), at(3, 11))]
    assert await calendar_harness.link(booking_id) is None
    assert {status for status, _ in await calendar_harness.jobs()} == {"delivered"}
    synced = await calendar_harness.sync(calendar_harness.coach, booking_id)
    assert (synced.status_code, synced.json()["meeting_link"]) == (200, None)
    await calendar_harness.move(booking_id, days=4, hour=15)
    await calendar_harness.run()
    assert calendar_harness.entries() == [(at(4, 15), at(4, 16))]


# A private entry over one's own session


@pytest.mark.parametrize("hours", [(10, 11), (10.5, 11.5)])
async def test_private_entry_over_an_own_appointment_blocks_the_time(
    calendar_harness: CalendarHarness, hours: tuple[float, float]
) -> None:
    booking_id = await calendar_harness.synced_booking()
    calendar_harness.is_busy(at(3, hours[0]), at(3, hours[1]))
    await calendar_harness.forget_freshness()
    assert await calendar_harness.parts.calendars.read_busy_times() == 1
    quarters = [at(3, quarter / 4) for quarter in range(96)]
    taken = [each for each in quarters if any(starts <= each < ends for starts, ends in await calendar_harness.busy())]
    assert taken == [each for each in quarters if at(3, hours[0]) <= each < at(3, hours[1])]
    # After the appointment has moved, the private entry still blocks the time.
    if hours == (10, 11):
        await calendar_harness.move(booking_id, days=3, hour=14)
        refused = await calendar_harness.ask_for(at(3, 10))
        assert (refused.status_code, refused.json()["detail"]) == (400, "Time slot is not available")


@ON_GOOGLE  # Outlook's are in test_busy_times
async def test_only_google_entries_that_block_time_count(
    calendar_harness: CalendarHarness,
) -> None:
    assert isinstance(calendar_harness.calendar, FakeGoogleCalendar)
    await calendar_harness.synced_booking()
    starts, ends = ({"dateTime": at(3, hour).isoformat()} for hour in (10, 11))
    no, yes = ({"self": True, "responseStatus": status} for status in ("declined", "accepted"))
    calendar_harness.calendar.more += [
        {"id": "f1", "transparency": "transparent", "start": starts, "end": ends},
        {"id": "f2", "attendees": [no], "start": starts, "end": ends},
        {"id": "f3", "status": "cancelled", "start": starts, "end": ends},
        {"id": "f4", "start": starts, "end": starts},
    ]
    await calendar_harness.forget_freshness()
    assert await calendar_harness.parts.calendars.read_busy_times() == 1
    assert await calendar_harness.busy() == []
    day = at(3, 0).date()
    whole = {"start": {"date": day.isoformat()}, "end": {"date": (day + DAY).isoformat()}}
    calendar_harness.calendar.more += [
        {"id": "f5", "attendees": [yes], "start": starts, "end": ends},
        {"id": "f6", **whole},
    ]
    await calendar_harness.forget_freshness()
    assert await calendar_harness.parts.calendars.read_busy_times() == 1
    berlin = at(3, 0).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    assert await calendar_harness.busy() == [(berlin, berlin + DAY), (at(3, 10), at(3, 11))]


@ON_GOOGLE
async def test_invalid_day_in_the_google_list_breaks_no_booking(calendar_harness: CalendarHarness) -> None:
    assert isinstance(calendar_harness.calendar, FakeGoogleCalendar)
    await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.book()

    async def as_ever(serve: faults.Serve, _writer: Any) -> bytes:
        return serve()

    days: list[dict[str, str]] = [{"date": "0001-01-01"}, {"date": "yesterday"}, {}]
    for odd in days:
        await calendar_harness.forget_freshness()
        said = {"timeZone": "Asia/Kolkata", "items": [{"id": "f1", "start": odd, "end": {"date": "0001-01-02"}}]}
        # freeBusy is asked five times for a year.
        calendar_harness.calendar.faults.next += [as_ever] * 5 + [faults.saying(faults.as_json(said))]
        assert await calendar_harness.parts.calendars.read_busy_times() == 0
        assert await calendar_harness.records.fetchval("SELECT last_error FROM calendar_connections") == (
            "Google Calendar tells times that are none"
        )


@ON_GOOGLE
async def test_temporarily_unreadable_google_calendar_keeps_known_busy_times(calendar_harness: CalendarHarness) -> None:
    assert isinstance(calendar_harness.calendar, FakeGoogleCalendar)
    await calendar_harness.connect(calendar_harness.coach)
    calendar_harness.is_busy(at(3, 10), at(3, 11))
    assert await calendar_harness.parts.calendars.read_busy_times() == 1
    await calendar_harness.forget_freshness()
    error = {"domain": "global", "reason": "internalError"}
    odd = {"kind": "calendar#freeBusy", "calendars": {"primary": {"errors": [error], "busy": []}}}
    calendar_harness.calendar.faults.next.append(faults.saying(faults.as_json(odd)))
    assert await calendar_harness.parts.calendars.read_busy_times() == 0
    assert await calendar_harness.busy() == [(at(3, 10), at(3, 11))]


@ON_GOOGLE  # Microsoft asks for all or nothing
async def test_without_google_busy_permission_entries_are_read_instead(
    calendar_harness: CalendarHarness,
) -> None:
    """People tick permissions off one by one."""
    assert isinstance(calendar_harness.calendar, FakeGoogleCalendar)
    calendar_harness.calendar.grants.scope = EVENTS
    await calendar_harness.synced_booking()
    for hours in ((10.5, 11.5), (14, 15)):
        calendar_harness.is_busy(at(3, hours[0]), at(3, hours[1]))
    await calendar_harness.forget_freshness()
    calendar_harness.calendar.faults.next.append(faults.saying(google_refusal(403, "insufficientPermissions")))
    assert await calendar_harness.parts.calendars.read_busy_times() == 1
    assert await calendar_harness.busy() == [(at(3, 10.5), at(3, 11.5)), (at(3, 14), at(3, 15))]


# Connecting again


async def test_connecting_another_account_adds_all_upcoming_bookings(calendar_harness: CalendarHarness) -> None:
    booking_id = await calendar_harness.synced_booking()
    before = dict(calendar_harness.calendar.events)
    calendar_harness.calendar.events.clear()  # another account
    if isinstance(calendar_harness.calendar, FakeOutlook):
        calendar_harness.calendar.transactions.clear()
        elsewhere = faults.as_json({"error": {"code": "ErrorInvalidMailboxItemId"}}, 400)
        calendar_harness.calendar.faults.next.append(faults.saying(elsewhere))
    await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.run()
    assert calendar_harness.entries() == [(at(3, 10), at(3, 11))]
    assert str(await calendar_harness.link(booking_id)) in str(calendar_harness.entry())
    assert len(before) == 1
    assert {status for status, _ in await calendar_harness.jobs()} == {"delivered"}


@pytest.mark.parametrize("guarded", [True, False])
async def test_without_reconnect_check_the_new_account_misses_an_entry(
    calendar_harness: CalendarHarness, guarded: bool
) -> None:
    """The negative control does not detect the reconnect and leaves the new account empty."""
    await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.book()

    async def connected_meanwhile(serve: faults.Serve, _writer: Any) -> bytes:
        answer = serve()
        await calendar_harness.connect(calendar_harness.coach)
        calendar_harness.calendar.events.clear()  # another account
        if isinstance(calendar_harness.calendar, FakeOutlook):
            calendar_harness.calendar.transactions.clear()
        return answer

    calendar_harness.calendar.faults.next.append(connected_meanwhile)
    same_time = "NEW.connected_at = OLD.connected_at; RETURN NEW;"
    async with (
        contextlib.nullcontext() if guarded else calendar_harness.trigger("calendar_connections", "UPDATE", same_time)
    ):
        await calendar_harness.run()
        await calendar_harness.run()
    assert calendar_harness.entries() == ([(at(3, 10), at(3, 11))] if guarded else [])


@pytest.mark.parametrize("guarded", [True, False])
async def test_without_version_check_an_older_change_overwrites_a_newer_one(
    calendar_harness: CalendarHarness, guarded: bool
) -> None:
    """Synced by hand while the worker moves it. The negative control enqueues no job for the change in between."""
    booking_id = await calendar_harness.synced_booking()

    async with contextlib.AsyncExitStack() as controls:

        async def moved_meanwhile(serve: faults.Serve, _writer: Any) -> bytes:
            await calendar_harness.move(booking_id, days=4, hour=15)
            await calendar_harness.run()
            assert calendar_harness.entries() == [(at(4, 15), at(4, 16))]
            if not guarded:
                no_message = calendar_harness.trigger("outbox", "INSERT", "RETURN NULL;")
                await controls.enter_async_context(no_message)
            return serve()

        calendar_harness.calendar.faults.next.append(moved_meanwhile)
        assert (await calendar_harness.sync(calendar_harness.coach, booking_id)).status_code == 200
    await calendar_harness.run()
    assert calendar_harness.entries() == ([(at(4, 15), at(4, 16))] if guarded else [(at(3, 10), at(3, 11))])


@ON_GOOGLE
async def test_calendar_with_undecryptable_tokens_can_be_disconnected(calendar_harness: CalendarHarness) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.records.execute(
        "UPDATE calendar_connections SET tokens = set_byte(tokens, 30, 0) || '\\x00'"
    )
    assert (await calendar_harness.coach.get("/calendar/connections")).status_code == 200
    assert (await calendar_harness.coach.delete(f"/calendar/{calendar_harness.provider}")).status_code == 204
    assert (await calendar_harness.coach.get("/calendar/connections")).json() == []
