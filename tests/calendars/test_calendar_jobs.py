"""Calendar jobs: entries are created, moved and deleted, also when the provider fails."""

from datetime import timedelta
from typing import Any

import pytest

from tests.calendars.calendar_harness import CalendarHarness, at
from tests.support import calendar_faults as faults
from tests.support.google_calendar import FakeGoogleCalendar
from tests.support.google_calendar import refusal as google_refusal
from tests.support.outlook import FakeOutlook
from tests.support.outlook import refusal as graph_refusal

HOUR = timedelta(hours=1)


def the_entry(calendar_harness: CalendarHarness) -> dict[str, Any]:
    [entry] = calendar_harness.calendar.live.values()
    return entry


async def test_entry_is_created_with_a_meeting_moved_and_deleted(
    calendar_harness: CalendarHarness,
) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    booking_id = await calendar_harness.book()
    await calendar_harness.run()
    assert calendar_harness.entries() == [(at(3, 10), at(3, 11))]
    link = await calendar_harness.link(booking_id)
    assert link is not None
    assert link.startswith(
        "https://meet.google.com/" if calendar_harness.provider == "google" else "https://teams.microsoft.com/"
    )
    assert "Ada Lovelace" in str(the_entry(calendar_harness))
    assert (await calendar_harness.client.get(f"/booking/{booking_id}")).json()["meeting_link"] == link
    moved = await calendar_harness.client.post(
        f"/booking/{booking_id}/reschedule", {"session_datetime": at(4, 15).isoformat()}
    )
    assert moved.status_code == 200, moved.text
    await calendar_harness.run()
    assert calendar_harness.entries() == [(at(4, 15), at(4, 16))]
    assert await calendar_harness.link(booking_id) == link
    assert (await calendar_harness.client.delete(f"/booking/{booking_id}")).status_code == 204
    await calendar_harness.run()
    assert calendar_harness.entries() == []
    assert {status for status, _ in await calendar_harness.jobs()} == {"delivered"}
    assert await calendar_harness.records.fetchval("SELECT count(*) FROM calendar_entries") == 0


async def test_entry_of_the_client_shows_the_meeting_of_the_coach(calendar_harness: CalendarHarness) -> None:
    await calendar_harness.connect(calendar_harness.client)
    await calendar_harness.connect(calendar_harness.coach)
    booking_id = await calendar_harness.book()
    await calendar_harness.run()
    await calendar_harness.run()
    link = await calendar_harness.link(booking_id)
    entries = [str(entry) for entry in calendar_harness.calendar.live.values()]
    assert len(entries) == 2
    assert all(str(link) in entry for entry in entries)
    meetings = [
        entry
        for entry in calendar_harness.calendar.live.values()
        if entry.get("conferenceData", entry.get("onlineMeeting"))
    ]
    assert len(meetings) == 1
    assert "Ada Lovelace" in str(meetings[0])


async def test_connecting_adds_upcoming_bookings_only(calendar_harness: CalendarHarness) -> None:
    ahead, cancelled = await calendar_harness.book(), await calendar_harness.book(hour=12)
    over = await calendar_harness.book(hour=14)
    await calendar_harness.client.delete(f"/booking/{cancelled}")
    await calendar_harness.records.execute(
        """UPDATE coaching_bookings SET
               starts_at = starts_at - interval '9 days', ends_at = ends_at - interval '9 days',
               busy_from = busy_from - interval '9 days', busy_until = busy_until - interval '9 days' WHERE id = $1""",
        over,
    )
    await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.run()
    assert calendar_harness.entries() == [(at(3, 10), at(3, 11))]
    assert await calendar_harness.link(ahead) is not None


async def test_without_connected_calendars_no_job_is_enqueued(calendar_harness: CalendarHarness) -> None:
    await calendar_harness.book()
    assert await calendar_harness.jobs() == []


async def test_job_for_a_disconnected_calendar_does_nothing(calendar_harness: CalendarHarness) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.book()
    await calendar_harness.coach.delete(f"/calendar/{calendar_harness.provider}")
    await calendar_harness.run()
    assert [status for status, _ in await calendar_harness.jobs()] == ["delivered"]
    assert calendar_harness.entries() == []


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
    await calendar_harness.connect(calendar_harness.coach)
    booking_id = await calendar_harness.book()
    await calendar_harness.run()
    if isinstance(calendar_harness.calendar, FakeGoogleCalendar):
        the_entry(calendar_harness)["status"] = "cancelled"
    else:
        calendar_harness.calendar.events.clear()
    await calendar_harness.client.post(f"/booking/{booking_id}/reschedule", {"session_datetime": at(4, 15).isoformat()})
    await calendar_harness.run()
    assert calendar_harness.entries() == [(at(4, 15), at(4, 16))]


async def test_deleting_a_missing_entry_succeeds(calendar_harness: CalendarHarness) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    booking_id = await calendar_harness.book()
    await calendar_harness.run()
    calendar_harness.calendar.events.clear()
    await calendar_harness.client.delete(f"/booking/{booking_id}")
    await calendar_harness.run()
    assert {status for status, _ in await calendar_harness.jobs()} == {"delivered"}


@pytest.mark.parametrize(
    "fault", ["server_error", "ten_megabytes", "not_json", "wrong_types", "elsewhere", "lost_answer"]
)
async def test_provider_fault_is_retried(calendar_harness: CalendarHarness, fault: str) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.book()
    calendar_harness.calendar.faults.next.append(getattr(faults, fault))
    await calendar_harness.run()
    assert [status for status, _ in await calendar_harness.jobs()] == ["pending"]
    await calendar_harness.later()
    assert calendar_harness.entries() == [(at(3, 10), at(3, 11))]


async def test_rate_limited_job_waits_for_retry_after(calendar_harness: CalendarHarness) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.book()
    wait = "7300"
    too_often = (
        google_refusal(429, "rateLimitExceeded").replace(b"\r\n\r\n", f"\r\nRetry-After: {wait}\r\n\r\n".encode(), 1)
        if calendar_harness.provider == "google"
        else graph_refusal(429, "ApplicationThrottled", Retry_After=wait)
    )
    calendar_harness.calendar.faults.next.append(faults.saying(too_often))
    await calendar_harness.run()
    waits = await calendar_harness.records.fetchval("SELECT due_at - now() FROM outbox WHERE destination = 'calendar'")
    assert timedelta(seconds=7200) < waits <= timedelta(seconds=7300)
    # One calendar does not delay the calendars of other users.
    assert await calendar_harness.records.fetchval("SELECT count(*) FROM destinations WHERE name = 'calendar'") == 0


@pytest.mark.parametrize("reason", ["rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"])
async def test_google_rate_limit_403_is_retried_and_other_403_is_not(
    calendar_harness: CalendarHarness, reason: str
) -> None:
    if calendar_harness.provider != "google":
        return  # Microsoft says 429
    await calendar_harness.connect(calendar_harness.coach)
    await calendar_harness.book()
    calendar_harness.calendar.faults.next.append(faults.saying(google_refusal(403, reason)))
    await calendar_harness.run()
    assert [status for status, _ in await calendar_harness.jobs()] == ["pending"]
    calendar_harness.calendar.faults.next.append(faults.saying(google_refusal(403, "forbidden")))
    await calendar_harness.later()
    [(status, error)] = await calendar_harness.jobs()
    assert (status, error) == ("dead", "Google Calendar answered 403 forbidden")


async def test_delayed_google_meeting_is_polled_until_it_exists(
    calendar_harness: CalendarHarness,
) -> None:
    if not isinstance(calendar_harness.calendar, FakeGoogleCalendar):
        return  # Graph answers with the meeting
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
        assert the_entry(calendar_harness)["start"]["timeZone"] == "America/New_York"


async def test_sync_with_only_a_token_succeeds(calendar_harness: CalendarHarness) -> None:
    booking_id = await calendar_harness.book()
    tokens = calendar_harness.calendar.grants.hand_out()
    first = await calendar_harness.sync(calendar_harness.coach, booking_id, access_token=tokens["access_token"])
    second = await calendar_harness.sync(calendar_harness.coach, booking_id, access_token=tokens["access_token"])
    assert first.status_code == second.status_code == 200, (first.text, second.text)
    assert first.json()["event_id"] == second.json()["event_id"]
    assert len(calendar_harness.entries()) == 1
    assert await calendar_harness.link(booking_id) == first.json()["meeting_link"]


async def test_booking_synced_to_another_account_is_also_added_to_the_connected_one(
    calendar_harness: CalendarHarness,
) -> None:
    await calendar_harness.connect(calendar_harness.coach)
    booking_id = await calendar_harness.book()
    elsewhere = calendar_harness.calendar.grants.hand_out()["access_token"]
    assert (await calendar_harness.sync(calendar_harness.coach, booking_id, access_token=elsewhere)).status_code == 200
    calendar_harness.calendar.events.clear()  # it was another account's
    if isinstance(calendar_harness.calendar, FakeOutlook):
        calendar_harness.calendar.transactions.clear()
    await calendar_harness.run()
    assert calendar_harness.entries() == [(at(3, 10), at(3, 11))]


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


@pytest.mark.parametrize("fault", ["ten_megabytes", "not_json", "wrong_types", "elsewhere"])
async def test_invalid_answer_of_the_provider_returns_400(calendar_harness: CalendarHarness, fault: str) -> None:
    booking_id = await calendar_harness.book()
    tokens = calendar_harness.calendar.grants.hand_out()
    calendar_harness.calendar.faults.next.append(getattr(faults, fault))
    answer = await calendar_harness.sync(calendar_harness.client, booking_id, access_token=tokens["access_token"])
    assert (answer.status_code, answer.json()["code"]) == (400, "calendar_not_understood")


async def test_unavailable_provider_returns_503(calendar_harness: CalendarHarness) -> None:
    booking_id = await calendar_harness.book()
    tokens = calendar_harness.calendar.grants.hand_out()
    calendar_harness.calendar.faults.next.append(faults.server_error)
    answer = await calendar_harness.sync(calendar_harness.client, booking_id, access_token=tokens["access_token"])
    assert (answer.status_code, answer.json()["code"]) == (503, "calendar_away")
    assert answer.headers["retry-after"] == "5"


async def test_booking_cancelled_during_sync_is_removed(calendar_harness: CalendarHarness) -> None:
    """The calendar is written between two transactions: a change in between enqueues another job."""
    await calendar_harness.connect(calendar_harness.coach)
    booking_id = await calendar_harness.book()
    await calendar_harness.run()

    async def cancelled_meanwhile(serve: faults.Serve, _writer: Any) -> bytes:
        await calendar_harness.client.delete(f"/booking/{booking_id}")
        await calendar_harness.run()
        return serve()

    calendar_harness.calendar.faults.next.append(cancelled_meanwhile)
    await calendar_harness.sync(calendar_harness.coach, booking_id)
    await calendar_harness.run()
    assert calendar_harness.entries() == []
