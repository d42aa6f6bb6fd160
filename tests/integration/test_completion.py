"""Bookings whose event has ended, the reminders of bookings from before there were any, and who may see them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

import asyncpg
import pytest
from sqlalchemy import text

from application.unit_of_work import OpenUnitOfWork
from domain.events import EventId
from domain.ids import AppointmentRef, BookingRef
from infrastructure import container
from infrastructure.postgres import migrations
from infrastructure.postgres.events import repository
from infrastructure.postgres.events.repository import PostgresEvents
from infrastructure.postgres.statistics import PostgresOperationalStatistics
from infrastructure.settings import Settings
from tests.support.appointments import books, free_hour, promoted, uuid_of
from tests.support.load import many_users
from tests.support.people import People, Person
from tests.support.reminder_harness import DAY, HOUR, MINUTE, Inbox, ReminderHarness, SettableClock
from tests.support.without_locks import PAUSE


@pytest.fixture
async def harness(
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> AsyncIterator[ReminderHarness]:
    """Without a mail server."""
    clock = SettableClock()
    parts = container.build(make_settings(), container.Substitutes(clock=clock))
    yield ReminderHarness(parts, database, clock, Inbox(), "")
    await parts.close()


async def completions(harness: ReminderHarness) -> list[tuple[str, int]]:
    """Destination and number of the messages for completed bookings."""
    rows = await harness.records.fetch(
        "SELECT destination, count(*) FROM outbox WHERE fact = 'booking_completed' GROUP BY 1 ORDER BY 1"
    )
    return [(row[0], row[1]) for row in rows]


async def test_bookings_are_completed_after_their_event_ends(harness: ReminderHarness) -> None:
    person, booking = await harness.a_booking(DAY)
    harness.clock.moment += DAY + HOUR - MINUTE
    assert await harness.complete() == 0
    harness.clock.moment += MINUTE
    assert (await harness.complete(), await harness.complete()) == (1, 0)
    assert await harness.records.fetchval("SELECT status FROM bookings WHERE id = $1", booking) == "completed"
    assert await completions(harness) == [("crm", 1)]
    event = await harness.records.fetchval("SELECT event_id FROM bookings WHERE id = $1", booking)
    review = await harness.parts.use_cases.write_review(person, event, rating=5, comment=None)
    assert review.rating == 5


async def _completed_by_four_workers(harness: ReminderHarness, open_work: OpenUnitOfWork | None = None) -> int:
    """How many times they say that they completed an event of 1000."""
    host = await harness.person("facilitator")
    event = await harness.event(host, DAY, capacity=1000)
    await many_users(harness.records, 1000)
    await harness.records.execute(
        """INSERT INTO bookings (event_id, user_id, status, payment_status, created_at)
           SELECT $1, id, 'confirmed', 'not_required', now() FROM users WHERE role = 'user'""",
        event,
    )
    harness.clock.moment += 2 * DAY
    completed = sum(await asyncio.gather(*(harness.complete(open_work) for _ in range(4))))
    assert await harness.records.fetchval("SELECT count(*) FROM bookings WHERE status = 'completed'") == 1000
    return completed


async def test_concurrent_workers_complete_an_event_of_1000_once(harness: ReminderHarness) -> None:
    assert await _completed_by_four_workers(harness) == 1
    assert await completions(harness) == [("crm", 1000)]


class Unlocked(PostgresEvents):
    """Takes up what others have in hand, too."""

    together = asyncio.Barrier(4)

    async def _mark_completed(self, now: datetime, limit: int) -> Sequence[EventId]:
        await self._session.execute(text("SELECT"))
        await self.together.wait()
        without_guard = repository._COMPLETE.replace("FOR UPDATE SKIP LOCKED", "")
        rows = await self._session.execute(text(without_guard), {"now": now, "limit": limit})
        await asyncio.sleep(5 * PAUSE)
        return [EventId(row) for row in rows.scalars()]


async def test_without_lock_workers_complete_the_same_event(harness: ReminderHarness) -> None:
    async with asyncio.timeout(30):
        assert await _completed_by_four_workers(harness, harness.units(events=Unlocked)) > 1
    assert await completions(harness) == [("crm", 1000)], "each booking changes once, so its message is written once"


async def test_booking_is_completed_with_any_payment_status(harness: ReminderHarness) -> None:
    """Only an open hold is waited for: an offline payment may be reported days later."""
    statuses = ["pending", "failed", "completed", "refunded"]
    for payment_status in statuses:
        _, booking = await harness.a_booking(HOUR)
        await harness.records.execute("UPDATE bookings SET payment_status = $2 WHERE id = $1", booking, payment_status)
    harness.clock.moment += DAY
    assert await harness.complete() == 4
    rows = await harness.records.fetch("SELECT status, payment_status FROM bookings ORDER BY id")
    assert [tuple(row) for row in rows] == [("completed", payment_status) for payment_status in statuses]


async def test_cancelled_booking_is_not_completed(harness: ReminderHarness) -> None:
    host, person, other = await harness.people(3, "facilitator")
    event = await harness.event(host, HOUR)
    cancelled, kept = await harness.book(person, event), await harness.book(other, event)
    await harness.parts.use_cases.cancel_booking(person, cancelled)
    harness.clock.moment += DAY
    await harness.complete()
    statuses = "SELECT status FROM bookings WHERE id = ANY($1) ORDER BY id"
    assert [row[0] for row in await harness.records.fetch(statuses, [cancelled, kept])] == ["cancelled", "completed"]
    assert await completions(harness) == [("crm", 1)]


async def test_migration_plans_reminders_for_existing_bookings(harness: ReminderHarness, database_url: str) -> None:
    _, booking = await harness.a_booking(3 * DAY)
    _, soon = await harness.a_booking(2 * HOUR)
    cancels, cancelled = await harness.a_booking(3 * DAY)
    await harness.parts.use_cases.cancel_booking(cancels, cancelled)
    session = await harness.session(await harness.person(), await harness.coach(), 3 * DAY)
    await asyncio.to_thread(migrations.downgrade, database_url, "0006")
    await asyncio.to_thread(migrations.upgrade, database_url)
    planned = [(24, "planned", None), (1, "planned", None)]
    assert await harness.rows(BookingRef(booking)) == planned
    assert await harness.rows(BookingRef(soon)) == planned[1:]
    assert await harness.rows(BookingRef(cancelled)) == []
    assert (
        sorted(await harness.rows(AppointmentRef(session)), key=lambda row: -row[0])
        == [planned[0]] * 2 + [planned[1]] * 2
    )


# Over HTTP


async def test_booking_by_any_contract_has_reminders(ada: Person, john: Person, shared_people: People) -> None:
    bob = await shared_people.user("Bob")
    for path, field in (("/bookings", "event_id"), ("/api/bookings", "event_id"), ("/api/bookings", "session_id")):
        event = await john.creates_event(in_days=3)
        for person, key in ((ada, None), (bob, f"key-{event['id']}")):
            answer = await person.post(path, {field: event["id"]}, key=key)
            assert answer.is_success, answer.text
        for person in (ada, bob):
            mine = (await person.get("/bookings")).json()["bookings"][0]
            shown = (await person.get(f"/bookings/{mine['id']}/reminders")).json()
            assert shown["booking_id"] == mine["id"]
            assert [(each["offset_minutes"], each["status"]) for each in shown["reminders"]] == [
                (1440, "planned"),
                (60, "planned"),
            ]
            assert {each["recipient"] for each in shown["reminders"]} == {person.name}


async def test_only_user_facilitator_and_admin_see_reminders_of_a_seat(
    ada: Person, john: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    booking = await ada.books((await john.creates_event())["id"])
    path = f"/bookings/{booking['id']}/reminders"
    admin = await promoted(await shared_people.user(), shared_database)
    assert [(await person.get(path)).status_code for person in (ada, john, admin)] == [200, 200, 200]
    for stranger in (await shared_people.user(), await shared_people.facilitator("Jane")):
        assert (await stranger.get(path)).status_code == 403
    assert (await shared_people._api.get(path)).status_code == 401
    assert (await ada.get("/bookings/999999/reminders")).status_code == 404


async def test_only_client_coach_and_admin_see_reminders_of_an_appointment(
    ada: Person, john: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    booking = await books(ada, await uuid_of(john), free_hour())
    path = f"/booking/{booking['id']}/reminders"
    admin = await promoted(await shared_people.user(), shared_database)
    assert [(await person.get(path)).status_code for person in (ada, john, admin)] == [200, 200, 200]
    shown = (await ada.get(path)).json()["reminders"]
    assert sorted(each["recipient"] for each in shown if each["offset_minutes"] == 60) == [ada.name, john.name]
    assert (await (await shared_people.user()).get(path)).status_code == 403
    assert (await shared_people._api.get(path)).status_code == 401


async def test_reminders_planned_over_a_minute_ago_are_late(harness: ReminderHarness) -> None:
    for seconds, status in ((70, "planned"), (80, "planned"), (50, "planned"), (-3600, "planned"), (80, "sent")):
        _, booking = await harness.a_booking(30 * MINUTE)
        await harness.records.execute(
            """INSERT INTO reminders (booking_id, user_id, "before", starts_at, due_at, status)
               SELECT id, user_id, '1 h', now(), now() - make_interval(secs => $2), $3 FROM bookings WHERE id = $1""",
            *(booking, seconds, status),
        )
    assert (await PostgresOperationalStatistics(harness.parts.database).read()).reminders_late == 2
