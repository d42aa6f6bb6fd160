"""What a reminder's mail says of the time it was held up, and what is said of one that could not be delivered."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from domain.appointments import AppointmentStatus
from domain.ids import AppointmentRef, BookingId, BookingRef
from infrastructure.postgres import migrations
from infrastructure.settings import Settings
from tests.support.reminder_harness import DAY, HOUR, MINUTE, ReminderHarness, reminder_harness


@pytest.fixture
async def harness(
    make_shared_settings: Callable[..., Settings], emptied_database: asyncpg.Connection
) -> AsyncIterator[ReminderHarness]:
    async with reminder_harness(make_shared_settings(), emptied_database) as harness:
        yield harness


QUEUED = (24, "queued", None)
SENT = (24, "sent", None)
UNDELIVERABLE = (24, "failed", "undeliverable")
DISCARDED = (24, "failed", "discarded")


async def a_queued_reminder(harness: ReminderHarness) -> BookingId:
    """A booking whose reminder was tried once, while mail was unavailable."""
    _, booking = await harness.a_booking(DAY + MINUTE)
    await harness.deliver()
    harness.inbox.unavailable = True
    await harness.pass_(MINUTE)
    return booking


async def test_discarded_reminder_stays_discarded(harness: ReminderHarness) -> None:
    harness.tries = 1
    booking = await a_queued_reminder(harness)
    await harness.parts.administration.dead_letters.discard(await harness.reminder_message())
    assert (await harness.rows(BookingRef(booking)))[0] == DISCARDED
    await harness.records.execute("DELETE FROM outbox")
    assert (await harness.rows(BookingRef(booking)))[0] == DISCARDED


async def test_reminder_without_a_message_id_is_recorded_too(
    make_settings: Callable[..., Settings], database: asyncpg.Connection, database_url: str
) -> None:
    async with reminder_harness(make_settings(), database) as harness:
        harness.tries = 1
        booking = await a_queued_reminder(harness)
        await asyncio.to_thread(migrations.downgrade, database_url, "0009")
        await asyncio.to_thread(migrations.upgrade, database_url)
        assert (await harness.rows(BookingRef(booking)))[0] == UNDELIVERABLE


async def test_mail_is_composed_from_the_data_at_send_time(harness: ReminderHarness) -> None:
    host, person = await harness.people(2, "facilitator")
    event = await harness.event(host, DAY + MINUTE)
    booking = await harness.book(person, event)
    await harness.records.execute(
        "UPDATE bookings SET payment_status = 'pending', hold_until = $2 WHERE id = $1",
        *(booking, harness.clock.now() + HOUR),
    )
    await harness.deliver()
    harness.clock.moment += MINUTE
    await harness.queue()

    def renamed(details: Any) -> Any:
        return replace(details, title="Pilates", virtual_link="https://meet.example.com/pilates")

    await harness.parts.use_cases.update_event(host, event, renamed)
    await harness.records.execute(
        "UPDATE bookings SET payment_status = 'completed', hold_until = NULL WHERE id = $1", booking
    )
    await harness.records.execute("UPDATE users SET email = 'new.address@example.com' WHERE id = $1", person.id)
    await harness.deliver()
    [mail] = [mail for mail in harness.inbox.mails if mail["Subject"] == "Tomorrow: Pilates"]
    body = mail.get_body(("plain",))
    assert mail["To"].addresses[0].addr_spec == "new.address@example.com"
    assert body is not None
    assert "https://meet.example.com/pilates" in body.get_content()
    assert "Pay by" not in body.get_content()


async def test_mails_to_client_and_coach_use_the_names_at_send_time(harness: ReminderHarness) -> None:
    client, coach = await harness.person(), await harness.coach()
    session = await harness.session(client, coach, DAY + MINUTE)
    await harness.parts.appointment.change_appointment_status(coach, session, AppointmentStatus.CONFIRMED)
    await harness.deliver()
    harness.clock.moment += MINUTE
    await harness.queue()
    await harness.records.execute("UPDATE users SET name = 'Mira' WHERE id = $1", coach.id)
    await harness.records.execute("UPDATE users SET name = 'Ada' WHERE id = $1", client.id)
    await harness.deliver()
    assert harness.inbox.subjects(client)[-1] == "Tomorrow: Coaching with Mira"
    assert harness.inbox.subjects(coach)[-1] == "Tomorrow: Coaching with Ada"


async def test_completed_appointment_is_not_reminded(harness: ReminderHarness) -> None:
    client, coach = await harness.person(), await harness.coach()
    session = await harness.session(client, coach, DAY + MINUTE)
    for status in (AppointmentStatus.CONFIRMED, AppointmentStatus.COMPLETED):
        await harness.parts.appointment.change_appointment_status(coach, session, status)
    await harness.pass_(MINUTE)
    assert (await harness.rows(AppointmentRef(session)))[:2] == [(24, "skipped", "too_late")] * 2
