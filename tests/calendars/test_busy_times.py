"""A coach who is busy in their own calendar is not booked then."""

import asyncio
from datetime import datetime, timedelta

from tests.calendars.calendar_harness import Desk, at
from tests.support import calendar_faults as faults
from tests.support.outlook import FakeOutlook

HOUR = timedelta(hours=1)


async def test_a_time_that_is_taken_in_the_coachs_calendar_cannot_be_booked(desk: Desk) -> None:
    await desk.connect(desk.coach)
    desk.is_busy(at(3, 10), at(3, 11))
    refused = await desk.ask_for(at(3, 10.5))
    assert (refused.status_code, refused.json()["detail"]) == (400, "Time slot is not available")
    assert (await desk.ask_for(at(3, 11))).status_code == 201
    slots = await desk.client.get(
        f"/booking/coach/{desk.coach_uuid}/availability",
        params={"start_date": at(3, 0).isoformat(), "end_date": at(4, 0).isoformat()},
    )
    starts = {datetime.fromisoformat(slot["start"]) for slot in slots.json()["available_slots"]}
    assert at(3, 9) in starts
    assert at(3, 10) not in starts


async def test_so_is_a_time_far_ahead(desk: Desk) -> None:
    await desk.connect(desk.coach)
    for days in (89, 180, 355):
        desk.is_busy(at(days, 10), at(days, 11))
    for days in (89, 180, 355):
        assert (await desk.ask_for(at(days, 10))).status_code == 400, days
        assert (await desk.ask_for(at(days, 11))).status_code == 201, days


async def test_without_the_calendar_the_same_time_is_free(desk: Desk) -> None:
    """The twin of the test above."""
    desk.is_busy(at(3, 10), at(3, 11))
    assert (await desk.ask_for(at(3, 10.5))).status_code == 201


async def test_what_is_freed_in_the_calendar_can_be_booked_and_the_round_reads_it(desk: Desk) -> None:
    await desk.connect(desk.coach)
    desk.is_busy(at(3, 10), at(3, 11))
    assert await desk.parts.calendars.read_busy_times() == 1
    assert await desk.busy() == [(at(3, 10), at(3, 11))]
    # It is nobody's turn again for five minutes.
    assert await desk.parts.calendars.read_busy_times() == 0
    desk.calendar.foreign.clear()
    await desk.forget_freshness()
    assert await desk.parts.calendars.read_busy_times() == 1
    assert await desk.busy() == []
    assert (await desk.ask_for(at(3, 10))).status_code == 201


async def test_what_was_read_just_now_is_not_read_again_for_every_booking(desk: Desk) -> None:
    await desk.connect(desk.coach)
    for hour in (9, 10, 11):
        await desk.book(hour=hour)
    assert desk.readings() == 1


async def test_our_own_entry_does_not_keep_its_booking_from_being_moved(desk: Desk) -> None:
    await desk.connect(desk.coach)
    booking_id = await desk.book()
    await desk.run()
    desk.is_busy(at(3, 12), at(3, 13))
    await desk.forget_freshness()
    body = {"session_datetime": at(3, 10.5).isoformat()}
    moved = await desk.client.post(f"/booking/{booking_id}/reschedule", body)
    assert moved.status_code == 200, moved.text
    assert await desk.busy() == [(at(3, 12), at(3, 13))]
    await desk.forget_freshness()
    refused = await desk.client.post(f"/booking/{booking_id}/reschedule", {"session_datetime": at(3, 12).isoformat()})
    assert refused.status_code == 400


async def test_a_client_is_not_asked_for_their_busy_times(desk: Desk) -> None:
    await desk.connect(desk.client)
    assert await desk.parts.calendars.read_busy_times() == 0


async def test_a_calendar_that_hangs_delays_a_booking_and_does_not_stop_it(desk: Desk) -> None:
    await desk.connect(desk.coach)
    desk.is_busy(at(3, 10), at(3, 11))
    await desk.parts.calendars.read_busy_times()
    await desk.forget_freshness()
    desk.calendar.faults.always = faults.hang
    # What was read last counts.
    assert (await desk.ask_for(at(3, 10))).status_code == 400
    assert (await desk.ask_for(at(3, 14))).status_code == 201
    assert desk.readings() == 2


async def test_nothing_a_provider_answers_breaks_a_booking_or_forgets_what_was_known(desk: Desk) -> None:
    await desk.connect(desk.coach)
    desk.is_busy(at(3, 10), at(3, 11))
    await desk.parts.calendars.read_busy_times()
    for name in ("server_error", "ten_megabytes", "not_json", "wrong_types", "elsewhere", "lost_answer"):
        await desk.forget_freshness()
        desk.calendar.faults.next.append(getattr(faults, name))
        assert await desk.parts.calendars.read_busy_times() == 0, name
        assert await desk.busy() == [(at(3, 10), at(3, 11))]
    due = await desk.records.fetchval("SELECT busy_due_at - now() FROM calendar_connections")
    assert timedelta(minutes=50) < due <= timedelta(hours=1), "it has not been read for an hour, so it waits as long"
    assert await desk.records.fetchval("SELECT last_error FROM calendar_connections") is not None


async def test_two_workers_read_each_calendar_once(desk: Desk) -> None:
    await desk.connect(desk.coach)
    book = desk.parts.calendars.read_busy_times.book
    claims = await asyncio.gather(*(book.claim_due(limit=5, every=timedelta(minutes=5)) for _ in range(6)))
    assert sum(len(claim) for claim in claims) == 1


async def test_outlook_is_read_to_its_last_page_and_only_what_is_busy_counts(desk: Desk) -> None:
    if not isinstance(desk.calendar, FakeOutlook):
        return  # Google answers on one page, with times that are busy
    await desk.connect(desk.coach)
    for hour in range(8):
        desk.is_busy(at(5, hour), at(5, hour + 1))
    day = at(6, 0).date().isoformat()
    desk.calendar.busy(f"{day}T09:00:00", f"{day}T10:00:00", "free")
    desk.calendar.busy(f"{day}T10:00:00", f"{day}T11:00:00", "workingElsewhere")
    desk.calendar.busy(f"{day}T11:00:00", f"{day}T12:00:00", cancelled=True)
    desk.calendar.busy(f"{day}T12:00:00", f"{day}T13:00:00", "tentative")
    assert await desk.parts.calendars.read_busy_times() == 1
    assert await desk.busy() == [(at(5, hour), at(5, hour + 1)) for hour in range(8)] + [(at(6, 12), at(6, 13))]


async def test_a_token_does_not_go_where_outlooks_next_page_is_said_to_be(desk: Desk) -> None:
    if not isinstance(desk.calendar, FakeOutlook):
        return
    await desk.connect(desk.coach)
    for hour in range(8):
        desk.is_busy(at(5, hour), at(5, hour + 1))
    desk.calendar.next_page = "https://evil.example/v1.0/me/calendarView?$skip=3"
    assert await desk.parts.calendars.read_busy_times() == 0
    assert "lies elsewhere" in await desk.records.fetchval("SELECT last_error FROM calendar_connections")
