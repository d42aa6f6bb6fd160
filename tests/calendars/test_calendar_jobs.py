"""Calendar jobs: entries are created, moved and deleted, also when the provider fails."""

from datetime import timedelta

from tests.calendars.calendar_harness import ON_GOOGLE, CalendarHarness, at
from tests.support import calendar_faults as faults
from tests.support.google_calendar import FakeGoogleCalendar

HOUR = timedelta(hours=1)


async def test_entry_is_created_with_a_meeting_moved_and_deleted(
    calendar_harness: CalendarHarness,
) -> None:
    booking_id = await calendar_harness.synced_booking()
    assert calendar_harness.entries() == [(at(3, 10), at(3, 11))]
    link = await calendar_harness.link(booking_id)
    assert link is not None
    assert link.startswith(
        "https://meet.google.com/" if calendar_harness.provider == "google" else "https://teams.microsoft.com/"
    )
    assert "Ada Lovelace" in str(calendar_harness.entry())
    assert (await calendar_harness.client.get(f"/booking/{booking_id}")).json()["meeting_link"] == link
    await calendar_harness.move(booking_id, days=4, hour=15)
    await calendar_harness.run()
    assert calendar_harness.entries() == [(at(4, 15), at(4, 16))]
    assert await calendar_harness.link(booking_id) == link
    assert (await calendar_harness.client.delete(f"/booking/{booking_id}")).status_code == 204
    await calendar_harness.run()
    assert calendar_harness.entries() == []
    assert {status for status, _ in await calendar_harness.jobs()} == {"delivered"}
    assert await calendar_harness.records.fetchval("SELECT count(*) FROM calendar_entries") == 0


async def test_entry_with_a_lost_answer_is_not_created_twice(calendar_harness: CalendarHarness) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.book()
    calendar_harness.calendar.faults.next.append(faults.lost_answer)
    await calendar_harness.run()
    [(status, error)] = await calendar_harness.jobs()
    assert status == "pending"
    assert error is not None
    assert "cannot be reached" in error
    await calendar_harness.later()
    assert calendar_harness.entries() == [(at(3, 10), at(3, 11))]


async def test_entry_with_a_lost_answer_is_deleted_with_its_booking(
    calendar_harness: CalendarHarness,
) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    booking_id = await calendar_harness.book()
    calendar_harness.calendar.faults.next.append(faults.lost_answer)
    await calendar_harness.run()
    assert len(calendar_harness.entries()) == 1
    await calendar_harness.client.delete(f"/booking/{booking_id}")
    await calendar_harness.later()
    assert calendar_harness.entries() == []


async def test_entry_deleted_by_its_owner_is_created_again_on_change(
    calendar_harness: CalendarHarness,
) -> None:
    booking_id = await calendar_harness.synced_booking()
    if isinstance(calendar_harness.calendar, FakeGoogleCalendar):
        calendar_harness.entry()["status"] = "cancelled"
    else:
        calendar_harness.calendar.events.clear()
    await calendar_harness.move(booking_id, days=4, hour=15)
    await calendar_harness.run()
    assert calendar_harness.entries() == [(at(4, 15), at(4, 16))]


async def test_deleting_a_missing_entry_succeeds(calendar_harness: CalendarHarness) -> None:
    booking_id = await calendar_harness.synced_booking()
    calendar_harness.calendar.events.clear()
    await calendar_harness.client.delete(f"/booking/{booking_id}")
    await calendar_harness.run()
    assert {status for status, _ in await calendar_harness.jobs()} == {"delivered"}


@ON_GOOGLE  # Graph answers with the meeting
async def test_delayed_google_meeting_is_polled_until_it_exists(
    calendar_harness: CalendarHarness,
) -> None:
    assert isinstance(calendar_harness.calendar, FakeGoogleCalendar)
    await calendar_harness.connect(calendar_harness.coach)
    booking_id = await calendar_harness.book()
    calendar_harness.calendar.slow_meetings = 6
    await calendar_harness.run()
    assert await calendar_harness.link(booking_id) is None
    assert [status for status, _ in await calendar_harness.jobs()] == ["pending"]
    assert len(calendar_harness.entries()) == 1
    await calendar_harness.later()
    assert await calendar_harness.link(booking_id) is not None
    assert len(calendar_harness.entries()) == 1


# Syncing by hand


async def test_sync_returns_the_entry_and_stores_the_link(calendar_harness: CalendarHarness) -> None:
    booking_id = await calendar_harness.book()
    tokens = await calendar_harness.connect(calendar_harness.client)
    answer = await calendar_harness.sync(calendar_harness.client, booking_id, access_token=tokens["access_token"])
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"event_id", "meeting_link", "status"}
    assert body["status"] == "confirmed"
    assert body["event_id"] in calendar_harness.calendar.live
    assert body["meeting_link"] == await calendar_harness.link(booking_id)
    assert body["meeting_link"].startswith("https://")
    again = await calendar_harness.sync(calendar_harness.client, booking_id)
    assert again.json() == body
    await calendar_harness.run()
    assert calendar_harness.entries() == [(at(3, 10), at(3, 11))]
    if calendar_harness.provider == "google":
        assert calendar_harness.entry()["start"]["timeZone"] == "America/New_York"


@ON_GOOGLE
async def test_only_client_and_coach_can_sync_an_active_booking(calendar_harness: CalendarHarness) -> None:
    booking_id = await calendar_harness.book()
    tokens = calendar_harness.calendar.grants.hand_out()
    await calendar_harness.records.execute("UPDATE users SET role = 'admin' WHERE id = $1", calendar_harness.coach.id)
    await calendar_harness.records.execute("UPDATE coaching_bookings SET coach_id = client_id")
    stranger = await calendar_harness.sync(calendar_harness.coach, booking_id, access_token=tokens["access_token"])
    assert (stranger.status_code, stranger.json()["code"]) == (403, "not_your_coaching_to_sync")
    nothing = await calendar_harness.sync(calendar_harness.client, "019bb1c6-5a00-7000-8000-000000000001")
    assert (nothing.status_code, nothing.json()["detail"]) == (404, "Booking not found")
    unconnected = await calendar_harness.sync(calendar_harness.client, booking_id)
    assert (unconnected.status_code, unconnected.json()["code"]) == (400, "no_calendar_to_sync")
    wrong = await calendar_harness.sync(calendar_harness.client, booking_id, access_token="ya29.made-up")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "calendar_token_rejected")
    for token in ("", "two words", "ümlaut", "a\r\nX: y", "x" * 20_000):
        assert (await calendar_harness.sync(calendar_harness.client, booking_id, access_token=token)).status_code == 400
    for zone in ("Mars/Olympus", "../etc/passwd", ""):
        answer = await calendar_harness.sync(
            calendar_harness.client, booking_id, access_token=tokens["access_token"], timezone=zone
        )
        assert answer.status_code == 400
    assert (await calendar_harness.sync(calendar_harness.client, booking_id, calendar_type="caldav")).status_code == 400
    await calendar_harness.client.delete(f"/booking/{booking_id}")
    cancelled = await calendar_harness.sync(calendar_harness.client, booking_id, access_token=tokens["access_token"])
    assert (cancelled.status_code, cancelled.json()["code"]) == (400, "cancelled_not_synced")
    assert calendar_harness.entries() == []


async def test_invalid_answer_of_the_provider_returns_400(calendar_harness: CalendarHarness) -> None:
    booking_id = await calendar_harness.book()
    tokens = calendar_harness.calendar.grants.hand_out()
    calendar_harness.calendar.faults.next.append(faults.not_json)
    answer = await calendar_harness.sync(calendar_harness.client, booking_id, access_token=tokens["access_token"])
    assert (answer.status_code, answer.json()["code"]) == (400, "calendar_not_understood")


async def test_unavailable_provider_returns_503(calendar_harness: CalendarHarness) -> None:
    booking_id = await calendar_harness.book()
    tokens = calendar_harness.calendar.grants.hand_out()
    calendar_harness.calendar.faults.next.append(faults.server_error)
    answer = await calendar_harness.sync(calendar_harness.client, booking_id, access_token=tokens["access_token"])
    assert (answer.status_code, answer.json()["code"]) == (503, "calendar_away")
    assert answer.headers["retry-after"] == "5"
