"""Reminders as rows that live with their booking, and what comes of them: real use cases, PostgreSQL and SMTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import datetime

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.appointments import AppointmentStatus
from domain.ids import AppointmentRef, BookingRef
from domain.outbox import Destination, Message, MessageId, MessageType
from domain.reminders import Reminded, Reminder
from infrastructure import container
from infrastructure.postgres.reminders.repository import DUE, PostgresReminders, seen
from infrastructure.settings import Settings
from tests.support.load import many_users
from tests.support.reminder_harness import DAY, HOUR, MINUTE, ReminderHarness, reminder_harness
from tests.support.without_locks import PAUSE

PLANNED = [(24.0, "planned", None), (1.0, "planned", None)]
CANCELLED = [(24.0, "skipped", "booking_cancelled"), (1.0, "skipped", "booking_cancelled")]


@pytest.fixture
async def harness(
    make_shared_settings: Callable[..., Settings], emptied_database: asyncpg.Connection
) -> AsyncIterator[ReminderHarness]:
    async with reminder_harness(make_shared_settings(), emptied_database) as harness:
        yield harness


# Rows that live with their booking


async def test_offsets_none_plan_no_reminder(
    make_shared_settings: Callable[..., Settings], harness: ReminderHarness
) -> None:
    parts = container.build(make_shared_settings(reminder_offsets="none"), container.Substitutes(clock=harness.clock))
    other = replace(harness, parts=parts)
    _, booking = await other.a_booking(2 * DAY)
    session = await other.session(await other.person(), await other.coach(), 2 * DAY)
    assert (await other.rows(BookingRef(booking)), await other.rows(AppointmentRef(session))) == ([], [])
    await parts.close()


async def test_appointment_reminders_for_client_and_coach_follow_its_changes(harness: ReminderHarness) -> None:
    client, coach = await harness.person(), await harness.coach()
    await harness.records.execute("UPDATE users SET name = 'Mira' WHERE id = $1", coach.id)
    await harness.records.execute("UPDATE users SET name = 'Ada' WHERE id = $1", client.id)
    client, coach = replace(client, name="Ada"), replace(coach, name="Mira")
    session = await harness.session(client, coach, 3 * DAY)
    for person in (client, coach):
        assert await harness.rows(AppointmentRef(session), person) == PLANNED
    move = harness.parts.appointment.reschedule_appointment
    await move(client, session, harness.clock.now() + 4 * DAY, None)
    for person in (client, coach):
        assert await harness.rows(AppointmentRef(session), person) == [
            (24, "skipped", "moved"),
            (1, "skipped", "moved"),
            *PLANNED,
        ]
    await harness.parts.appointment.cancel_appointment(client, session)
    for person in (client, coach):
        assert (await harness.rows(AppointmentRef(session), person))[2:] == CANCELLED


# What comes of them


async def test_one_reminder_is_sent_per_offset_with_the_time_left(harness: ReminderHarness) -> None:
    person, booking = await harness.a_booking(2 * DAY)
    await harness.pass_(DAY - MINUTE)
    assert await harness.rows(BookingRef(booking)) == PLANNED
    for _ in range(3):
        await harness.pass_(MINUTE)
    assert harness.inbox.subjects(person)[1:] == ["Tomorrow: Yoga"]
    for _ in range(3):
        await harness.pass_(23 * HOUR)
    assert harness.inbox.subjects(person)[1:] == ["Tomorrow: Yoga", "In an hour: Yoga"]
    assert await harness.rows(BookingRef(booking)) == [(24, "sent", None), (1, "sent", None)]


async def test_only_confirmed_appointments_are_reminded(harness: ReminderHarness) -> None:
    client, coach = await harness.person(), await harness.coach()
    asked = await harness.session(client, coach, 2 * DAY)
    confirmed = await harness.session(client, coach, 2 * DAY + HOUR)
    await harness.parts.appointment.change_appointment_status(coach, confirmed, AppointmentStatus.CONFIRMED)
    await harness.pass_(DAY + HOUR + MINUTE)
    assert [row for row in await harness.rows(AppointmentRef(asked)) if row[0] == 24] == [
        (24, "skipped", "not_confirmed")
    ] * 2
    assert [row for row in await harness.rows(AppointmentRef(confirmed)) if row[0] == 24] == [(24, "sent", None)] * 2
    for person in (client, coach):
        assert [subject for subject in harness.inbox.subjects(person) if subject.startswith("Tomorrow")] != []


async def test_reminder_sent_twice_has_the_same_message_id(harness: ReminderHarness) -> None:
    """As when the worker dies after the server took the mail."""
    await harness.a_booking(DAY + MINUTE)
    await harness.pass_(MINUTE)
    await harness.records.execute("UPDATE reminders SET status = 'queued' WHERE status = 'sent'")
    [row] = await harness.reminder_messages()
    await harness.sender().deliver(_message(row))
    first, second = [mail for mail in harness.inbox.mails if mail["Subject"] == "Tomorrow: Yoga"]
    assert first["Message-ID"] == second["Message-ID"]


async def test_invalid_address_marks_the_reminder_undeliverable(harness: ReminderHarness) -> None:
    person, booking = await harness.a_booking(DAY + MINUTE)
    await harness.records.execute("UPDATE users SET email = 'no address' WHERE id = $1", person.id)
    await harness.pass_(MINUTE)
    assert (await harness.rows(BookingRef(booking)))[0] == (24, "failed", "undeliverable")


# Many workers, many reminders


class UnlockedReminders(PostgresReminders):
    """Reads due reminders without a lock."""

    async def claim_due(self, now: datetime, *, limit: int) -> Sequence[tuple[Reminder, Reminded]]:
        rows = await self._session.execute(text(DUE), {"now": now, "limit": limit})
        await asyncio.sleep(PAUSE)
        return [seen(row) for row in rows.mappings()]


async def _queued_by_six_workers(harness: ReminderHarness, kind: type[PostgresReminders]) -> tuple[int, int]:
    """How many reminders were queued, and how many messages there are of them."""
    host, *people = await harness.people(61, "facilitator")
    event = await harness.event(host, DAY + MINUTE, capacity=60)
    for person in people:
        await harness.book(person, event)
    harness.clock.moment += MINUTE

    def reminders(session: AsyncSession) -> PostgresReminders:
        return kind(session, (), now=harness.clock.now())

    units = harness.units(reminders=reminders)
    await asyncio.gather(*(harness.queue(units) for _ in range(6)))
    queued = await harness.records.fetchval("SELECT count(*) FROM reminders WHERE status = 'queued'")
    return queued, len(await harness.reminder_messages())


async def test_concurrent_workers_queue_each_reminder_once(harness: ReminderHarness) -> None:
    assert await _queued_by_six_workers(harness, PostgresReminders) == (60, 60)


async def test_without_lock_concurrent_workers_queue_some_twice(harness: ReminderHarness) -> None:
    queued, messages = await _queued_by_six_workers(harness, UnlockedReminders)
    assert queued == 60
    assert messages > 60


async def test_thousand_due_reminders_are_queued_in_one_run(harness: ReminderHarness) -> None:
    host = await harness.person("facilitator")
    event = await harness.event(host, DAY, capacity=1_000)
    await many_users(harness.records, 1_000)
    await harness.records.execute(
        """WITH b AS (
               INSERT INTO bookings (event_id, user_id, status, payment_status, created_at)
               SELECT $1, id, 'confirmed', 'not_required', now() FROM users WHERE role = 'user' RETURNING *
           )
           INSERT INTO reminders (booking_id, user_id, "before", starts_at, due_at)
           SELECT b.id, b.user_id, '24 hours', e.starts_at, e.starts_at - interval '24 hours'
           FROM b JOIN events e ON e.id = b.event_id""",
        event,
    )
    assert await harness.queue() == 1_000
    assert await harness.records.fetchval("SELECT count(*) FROM reminders WHERE status = 'queued'") == 1_000
    assert len(await harness.reminder_messages()) == 1_000
    assert await harness.queue() == 0


def _message(row: asyncpg.Record) -> Message:
    return Message(
        id=MessageId(row["id"]),
        destination=Destination.EMAIL,
        ordering_key=row["lane"],
        message_type=MessageType(row["fact"]),
        payload=json.loads(row["snapshot"]),
        attempt=2,
        occurred_at=row["occurred_at"],
        request_id=None,
    )
