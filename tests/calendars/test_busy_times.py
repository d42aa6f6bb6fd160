"""A coach who is busy in their own calendar is not booked then."""

import asyncio
from datetime import datetime, timedelta

from tests.calendars.calendar_harness import ON_GOOGLE, ON_OUTLOOK, CalendarHarness, at
from tests.support import calendar_faults as faults
from tests.support.outlook import FakeOutlook

HOUR = timedelta(hours=1)


async def test_busy_time_in_the_calendar_of_the_coach_cannot_be_booked(calendar_harness: CalendarHarness) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    calendar_harness.is_busy(at(3, 10), at(3, 11))
    refused = await calendar_harness.ask_for(at(3, 10.5))
    assert (refused.status_code, refused.json()["detail"]) == (400, "Time slot is not available")
    assert (await calendar_harness.ask_for(at(3, 11))).status_code == 201
    slots = await calendar_harness.client.get(
        f"/booking/coach/{calendar_harness.coach_uuid}/availability",
        params={"start_date": at(3, 0).isoformat(), "end_date": at(4, 0).isoformat()},
    )
    starts = {datetime.fromisoformat(slot["start"]) for slot in slots.json()["available_slots"]}
    assert at(3, 9) in starts
    assert at(3, 10) not in starts


async def test_busy_time_far_ahead_cannot_be_booked(calendar_harness: CalendarHarness) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    for days in (89, 180, 355):
        calendar_harness.is_busy(at(days, 10), at(days, 11))
    for days in (89, 180, 355):
        assert (await calendar_harness.ask_for(at(days, 10))).status_code == 400, days
        assert (await calendar_harness.ask_for(at(days, 11))).status_code == 201, days


@ON_GOOGLE
async def test_without_connected_calendar_the_same_time_is_free(calendar_harness: CalendarHarness) -> None:
    """Negative control of the test above."""
    calendar_harness.is_busy(at(3, 10), at(3, 11))
    assert (await calendar_harness.ask_for(at(3, 10.5))).status_code == 201


async def test_own_entry_does_not_block_rescheduling(calendar_harness: CalendarHarness) -> None:
    booking_id = await calendar_harness.synced_booking()
    calendar_harness.is_busy(at(3, 12), at(3, 13))
    await calendar_harness.forget_freshness()
    body = {"session_datetime": at(3, 10.5).isoformat()}
    moved = await calendar_harness.client.post(f"/booking/{booking_id}/reschedule", body)
    assert moved.status_code == 200, moved.text
    assert await calendar_harness.busy() == [(at(3, 12), at(3, 13))]
    await calendar_harness.forget_freshness()
    refused = await calendar_harness.client.post(
        f"/booking/{booking_id}/reschedule", {"session_datetime": at(3, 12).isoformat()}
    )
    assert refused.status_code == 400


async def test_invalid_answer_breaks_no_booking_and_keeps_known_busy_times(
    calendar_harness: CalendarHarness,
) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    calendar_harness.is_busy(at(3, 10), at(3, 11))
    await calendar_harness.parts.calendars.read_busy_times()
    for name in ("server_error", "ten_megabytes", "not_json", "wrong_types", "elsewhere", "lost_answer"):
        await calendar_harness.forget_freshness()
        calendar_harness.calendar.faults.next.append(getattr(faults, name))
        assert await calendar_harness.parts.calendars.read_busy_times() == 0, name
        assert await calendar_harness.busy() == [(at(3, 10), at(3, 11))]
    due = await calendar_harness.records.fetchval("SELECT busy_due_at - now() FROM calendar_connections")
    assert timedelta(minutes=50) < due <= timedelta(hours=1), "it has not been read for an hour, so it waits as long"
    assert await calendar_harness.records.fetchval("SELECT last_error FROM calendar_connections") is not None


@ON_GOOGLE
async def test_two_workers_read_each_calendar_once(calendar_harness: CalendarHarness) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    book = calendar_harness.parts.calendars.read_busy_times.book
    claims = await asyncio.gather(*(book.claim_due(limit=5, every=timedelta(minutes=5)) for _ in range(6)))
    assert sum(len(claim) for claim in claims) == 1


@ON_OUTLOOK  # Google answers on one page, with times that are busy
async def test_outlook_is_read_to_its_last_page_and_only_busy_entries_count(calendar_harness: CalendarHarness) -> None:
    assert isinstance(calendar_harness.calendar, FakeOutlook)
    await calendar_harness.connect(calendar_harness.coach)
    for hour in range(8):
        calendar_harness.is_busy(at(5, hour), at(5, hour + 1))
    day = at(6, 0).date().isoformat()
    calendar_harness.calendar.busy(f"{day}T09:00:00", f"{day}T10:00:00", "free")
    calendar_harness.calendar.busy(f"{day}T10:00:00", f"{day}T11:00:00", "workingElsewhere")
    calendar_harness.calendar.busy(f"{day}T11:00:00", f"{day}T12:00:00", cancelled=True)
    calendar_harness.calendar.busy(f"{day}T12:00:00", f"{day}T13:00:00", "tentative")
    assert await calendar_harness.parts.calendars.read_busy_times() == 1
    assert await calendar_harness.busy() == [(at(5, hour), at(5, hour + 1)) for hour in range(8)] + [
        (at(6, 12), at(6, 13))
    ]


@ON_OUTLOOK
async def test_outlook_next_page_on_another_host_gets_no_token(calendar_harness: CalendarHarness) -> None:
    assert isinstance(calendar_harness.calendar, FakeOutlook)
    await calendar_harness.connect(calendar_harness.coach)
    for hour in range(8):
        calendar_harness.is_busy(at(5, hour), at(5, hour + 1))
    calendar_harness.calendar.next_page = "https://evil.example/v1.0/me/calendarView?$skip=3"
    assert await calendar_harness.parts.calendars.read_busy_times() == 0
    assert "lies elsewhere" in await calendar_harness.records.fetchval("SELECT last_error FROM calendar_connections")
