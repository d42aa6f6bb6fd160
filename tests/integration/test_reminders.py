"""Reminders as rows that live with their booking, and what comes of them: real use cases, PostgreSQL and SMTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.appointments import AppointmentStatus
from domain.ids import AppointmentRef, BookingRef
from domain.outbox import Delivered, Destination, Message, MessageId, MessageType
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
    make_settings: Callable[..., Settings], database: asyncpg.Connection
) -> AsyncIterator[ReminderHarness]:
    async with reminder_harness(make_settings(), database) as harness:
        yield harness


# Rows that live with their booking


@pytest.mark.parametrize(
    ("starts_in", "hours"),
    [(2 * DAY, [24, 1]), (DAY + timedelta(seconds=1), [24, 1]), (DAY, [1]), (2 * HOUR, [1]), (HOUR, []), (MINUTE, [])],
)
async def test_booking_has_a_reminder_for_each_future_offset(
    harness: ReminderHarness, starts_in: timedelta, hours: Sequence[int]
) -> None:
    _, booking = await harness.a_booking(starts_in)
    assert await harness.rows(BookingRef(booking)) == [(hour, "planned", None) for hour in hours]


async def test_offsets_none_plan_no_reminder(make_settings: Callable[..., Settings], harness: ReminderHarness) -> None:
    parts = container.build(make_settings(reminder_offsets="none"), container.Substitutes(clock=harness.clock))
    other = replace(harness, parts=parts)
    _, booking = await other.a_booking(2 * DAY)
    session = await other.session(await other.person(), await other.coach(), 2 * DAY)
    assert (await other.rows(BookingRef(booking)), await other.rows(AppointmentRef(session))) == ([], [])
    await parts.close()


async def test_moved_event_gets_new_reminders(harness: ReminderHarness) -> None:
    host = await harness.person("facilitator")
    event = await harness.event(host, 3 * DAY)
    booking = await harness.book(await harness.person(), event)
    await harness.move(host, event, DAY)
    assert await harness.rows(BookingRef(booking)) == [
        (24, "skipped", "moved"),
        (1, "skipped", "moved"),
        (24, "planned", None),
        (1, "planned", None),
    ]


async def test_event_moved_back_gets_its_old_reminders(harness: ReminderHarness) -> None:
    host = await harness.person("facilitator")
    event = await harness.event(host, 3 * DAY)
    booking = await harness.book(await harness.person(), event)
    for by in (DAY, -DAY):
        await harness.move(host, event, by)
    assert await harness.rows(BookingRef(booking)) == [*PLANNED, (24, "skipped", "moved"), (1, "skipped", "moved")]


async def test_reminder_sent_for_a_start_is_not_repeated(harness: ReminderHarness) -> None:
    host, person = await harness.people(2, "facilitator")
    event = await harness.event(host, 25 * HOUR)
    booking = await harness.book(person, event)
    await harness.pass_(HOUR + MINUTE)
    for by in (3 * DAY, -3 * DAY):
        await harness.move(host, event, by)
    await harness.pass_(MINUTE)
    assert (24, "sent", None) in await harness.rows(BookingRef(booking))
    assert harness.inbox.subjects(person).count("Tomorrow: Yoga") == 1
    await harness.pass_(23 * HOUR)
    assert harness.inbox.subjects(person)[-1] == "In an hour: Yoga"


async def test_new_location_changes_no_reminder(harness: ReminderHarness) -> None:
    host = await harness.person("facilitator")
    event = await harness.event(host, 3 * DAY)
    booking = await harness.book(await harness.person(), event)
    await harness.parts.use_cases.update_event(host, event, lambda details: replace(details, location="Garden"))
    assert await harness.rows(BookingRef(booking)) == PLANNED


async def test_cancelled_booking_skips_its_reminders_and_a_new_one_has_its_own(harness: ReminderHarness) -> None:
    host, person = await harness.people(2, "facilitator")
    event = await harness.event(host, 3 * DAY)
    booking = await harness.book(person, event)
    await harness.parts.use_cases.cancel_booking(person, booking)
    again = await harness.book(person, event)
    assert await harness.rows(BookingRef(booking)) == CANCELLED
    assert await harness.rows(BookingRef(again)) == PLANNED


@pytest.mark.parametrize("way", ["cancel_event", "delete_event"])
async def test_cancelled_event_skips_its_reminders(harness: ReminderHarness, way: str) -> None:
    host, *people = await harness.people(4, "facilitator")
    event = await harness.event(host, 3 * DAY)
    bookings = [await harness.book(person, event) for person in people]
    await getattr(harness.parts.use_cases, way)(host, event)
    assert [await harness.rows(BookingRef(booking)) for booking in bookings] == [CANCELLED] * 3


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


async def test_expired_hold_is_not_reminded(harness: ReminderHarness) -> None:
    person, booking = await harness.a_booking(DAY + MINUTE)
    held_until = harness.clock.now() + MINUTE
    await harness.records.execute("UPDATE bookings SET hold_until = $2 WHERE id = $1", booking, held_until)
    await harness.pass_(MINUTE)
    assert (await harness.rows(BookingRef(booking)))[0] == (24, "skipped", "not_confirmed")
    assert "Tomorrow: Yoga" not in harness.inbox.subjects(person)


@pytest.mark.parametrize(
    ("outage", "rows", "subjects"),
    [
        (5 * HOUR, [(24, "sent", None), (1, "planned", None)], ["In 19 hours: Yoga"]),
        (DAY - HOUR + MINUTE, [(24, "skipped", "superseded"), (1, "sent", None)], ["In an hour: Yoga"]),
        (DAY + MINUTE, [(24, "skipped", "too_late"), (1, "skipped", "too_late")], []),
    ],
)
@pytest.mark.parametrize("what", ["mail", "worker"])
async def test_after_an_outage_useful_reminders_are_sent_and_others_skipped(
    harness: ReminderHarness, outage: timedelta, rows: Sequence[object], subjects: Sequence[str], what: str
) -> None:
    person, booking = await harness.a_booking(2 * DAY)
    await harness.deliver()
    harness.clock.moment += DAY
    if what == "mail":
        harness.inbox.unavailable = True
        await harness.pass_(timedelta(0))
        assert (await harness.rows(BookingRef(booking)))[0] == (24, "queued", None)
    harness.clock.moment += outage
    if what == "mail":
        await harness.pass_(timedelta(0))
        harness.inbox.unavailable = False
    await harness.pass_(timedelta(0))
    assert await harness.rows(BookingRef(booking)) == rows
    assert harness.inbox.subjects(person)[1:] == subjects


@pytest.mark.parametrize(
    ("way", "reason"), [("cancel", "booking_cancelled"), ("move", "moved"), ("pay", "not_confirmed")]
)
async def test_change_between_queueing_and_delivery_is_respected(
    harness: ReminderHarness, way: str, reason: str
) -> None:
    host, person = await harness.people(2, "facilitator")
    event = await harness.event(host, DAY + MINUTE)
    booking = await harness.book(person, event)
    harness.clock.moment += MINUTE
    assert await harness.queue() == 1
    match way:
        case "cancel":
            await harness.parts.use_cases.cancel_booking(person, booking)
        case "move":
            await harness.move(host, event, DAY)
        case _:
            await harness.records.execute("UPDATE bookings SET hold_until = $1", harness.clock.now())
    await harness.deliver()
    assert (await harness.rows(BookingRef(booking)))[0] == (24, "skipped", reason)
    assert "Tomorrow: Yoga" not in harness.inbox.subjects(person)


async def test_sent_reminder_is_not_repeated_if_its_message_is_not_recorded(harness: ReminderHarness) -> None:
    """As when the worker dies between the two."""
    person, booking = await harness.a_booking(DAY + MINUTE)
    await harness.pass_(MINUTE)
    [row] = await harness.reminder_messages()
    message = _message(row)
    assert await harness.sender().deliver(message) == Delivered("was sent before")
    assert harness.inbox.subjects(person).count("Tomorrow: Yoga") == 1
    assert (await harness.rows(BookingRef(booking)))[0] == (24, "sent", None)


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


async def test_ten_thousand_due_reminders_are_queued_in_one_run(harness: ReminderHarness) -> None:
    host = await harness.person("facilitator")
    event = await harness.event(host, DAY, capacity=10_000)
    await many_users(harness.records, 10_000)
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
    assert await harness.queue() == 10_000
    assert await harness.records.fetchval("SELECT count(*) FROM reminders WHERE status = 'queued'") == 10_000
    assert len(await harness.reminder_messages()) == 10_000
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
