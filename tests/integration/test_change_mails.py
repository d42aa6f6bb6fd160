"""Mails about changes on real servers: what SMTP receives, locks of PostgreSQL, a transaction that does not end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import asyncpg
import pytest
from icalendar import Calendar
from sqlalchemy.ext.asyncio import AsyncSession

from application.unit_of_work import UnitOfWork
from domain.accounts import User
from domain.events import EventId
from domain.ids import AppointmentId, BookingId
from infrastructure.postgres.events.repository import PostgresEvents
from infrastructure.postgres.outbox.change_mails import PostgresChangeMails
from infrastructure.postgres.outbox.writer import PostgresMessages
from infrastructure.settings import Settings
from tests.support.messages import until
from tests.support.reminder_harness import DAY, HOUR, MINUTE, ReminderHarness, reminder_harness
from tests.support.without_locks import unlocked

WINDOW = 5 * MINUTE


@pytest.fixture
async def harness(
    make_shared_settings: Callable[..., Settings], emptied_database: asyncpg.Connection
) -> AsyncIterator[ReminderHarness]:
    async with reminder_harness(make_shared_settings(change_mail_merge_minutes="5"), emptied_database) as harness:
        yield harness


async def _booked(harness: ReminderHarness) -> tuple[User, EventId, User, BookingId]:
    host, person = await harness.person("facilitator"), await harness.person()
    event_id = await harness.event(host, 7 * DAY)
    booking_id = await harness.book(person, event_id)
    await harness.deliver()
    return host, event_id, person, booking_id


async def _rename(harness: ReminderHarness, host: User, event_id: EventId, title: str) -> None:
    await harness.parts.use_cases.update_event(host, event_id, lambda details: replace(details, title=title))


def _entry(mail: EmailMessage) -> Any:
    [part] = [part for part in mail.walk() if part.get_content_type() == "text/calendar"]
    [entry] = Calendar.from_ical(part.get_content()).walk("VEVENT")
    return entry


async def test_merged_mail_shows_the_first_and_the_last_state_and_has_the_newest_entry(
    harness: ReminderHarness,
) -> None:
    host, event_id, person, _ = await _booked(harness)
    await _rename(harness, host, event_id, "Pilates")
    await harness.move(host, event_id, HOUR)
    await harness.book(await harness.person(), event_id)  # also a new version of the calendar entry
    await harness.move(host, event_id, HOUR)
    await harness.deliver()
    assert harness.inbox.subjects(person) == ["You are booked: Yoga"]
    harness.clock.moment += WINDOW
    assert await harness.queue_change_mails() == 1
    await harness.deliver()
    assert harness.inbox.subjects(person)[1:] == ["New name and time: Pilates"]
    [first, last] = [mail for mail in harness.inbox.mails if person.email in str(mail["To"])]
    body = last.get_body(("plain",))
    assert body is not None
    assert "Previous name: Yoga" in body.get_content()
    before, after = _entry(first), _entry(last)
    assert after["UID"] == before["UID"]
    assert after["DTSTART"].dt - before["DTSTART"].dt == 2 * HOUR
    assert after["SUMMARY"] == "Pilates"
    assert after["SEQUENCE"] == await harness.records.fetchval("SELECT version FROM events WHERE id = $1", event_id)


async def test_moved_appointment_has_one_mail_to_each_side(harness: ReminderHarness) -> None:
    client, coach = await harness.person(), await harness.coach()
    appointment_id: AppointmentId = await harness.session(client, coach, 7 * DAY)
    await harness.deliver()
    starts_at = harness.clock.now() + 7 * DAY
    for hours in (2, 4):
        move = harness.parts.appointment.reschedule_appointment
        await move(client, appointment_id, starts_at + hours * HOUR, None)
    harness.clock.moment += WINDOW
    await harness.queue_change_mails()
    await harness.deliver()
    for person in (client, coach):
        [_, last] = [mail for mail in harness.inbox.mails if person.email in str(mail["To"])]
        assert str(last["Subject"]).startswith("Moved: ")
        body = last.get_body(("plain",))
        assert body is not None
        assert "Was:" in body.get_content()
        entry = _entry(last)
        assert entry["DTSTART"].dt == (starts_at + 4 * HOUR).replace(microsecond=0)
        assert entry["SEQUENCE"] == 2


# A cancellation while a worker enqueues the mail


class Paused(PostgresMessages):
    """Waits before it enqueues mails about a changed event."""

    reached = asyncio.Event()
    goes_on = asyncio.Event()

    async def enqueue_event_changed(self, *about: Any, **more: Any) -> None:
        Paused.reached.set()
        await Paused.goes_on.wait()
        await super().enqueue_event_changed(*about, **more)


def _paused(harness: ReminderHarness) -> Callable[[AsyncSession], PostgresChangeMails]:
    usual: Any = harness.parts.open_work

    def make(session: AsyncSession) -> PostgresChangeMails:
        when: dict[str, Any] = {"now": harness.clock.now(), "request_id": None}
        return PostgresChangeMails(session, Paused(session, usual._routes, **when), window=WINDOW, **when)

    return make


_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def _cancelled_meanwhile(harness: ReminderHarness, **parts: Callable[..., Any]) -> list[str]:
    """The types of the mails to the participant, as they are delivered."""
    host, event_id, person, booking_id = await _booked(harness)
    await _rename(harness, host, event_id, "Pilates")
    harness.clock.moment += WINDOW
    Paused.reached, Paused.goes_on = asyncio.Event(), asyncio.Event()
    worker = asyncio.create_task(harness.queue_change_mails(harness.units(change_mails=_paused(harness), **parts)))
    await Paused.reached.wait()
    cancelling = asyncio.create_task(harness.parts.use_cases.cancel_booking(person, booking_id))
    await until(lambda: harness.records.fetchval(_WAITING))
    Paused.goes_on.set()
    await asyncio.gather(worker, cancelling)
    rows = await harness.records.fetch(
        "SELECT fact FROM outbox WHERE lane = $1 AND destination = 'email' ORDER BY seq", f"booking:{booking_id}"
    )
    return [row["fact"] for row in rows[1:]]


async def test_cancellation_waits_for_the_worker_and_is_the_last_mail(harness: ReminderHarness) -> None:
    assert await _cancelled_meanwhile(harness) == ["booking_moved", "booking_cancelled"]


async def test_without_the_lock_the_mail_about_the_change_would_follow_the_cancellation(
    harness: ReminderHarness,
) -> None:
    """The negative control: the worker does not lock the event."""
    parts = {"events": unlocked(PostgresEvents)}
    assert await _cancelled_meanwhile(harness, **parts) == ["booking_cancelled", "booking_moved"]


# A change while a worker enqueues the mail


async def test_change_during_the_enqueuing_has_a_mail_of_its_own(harness: ReminderHarness) -> None:
    host, event_id, person, _ = await _booked(harness)
    await _rename(harness, host, event_id, "Pilates")
    harness.clock.moment += WINDOW
    Paused.reached, Paused.goes_on = asyncio.Event(), asyncio.Event()
    worker = asyncio.create_task(harness.queue_change_mails(harness.units(change_mails=_paused(harness))))
    await Paused.reached.wait()
    changing = asyncio.create_task(_rename(harness, host, event_id, "Tai Chi"))
    await until(lambda: harness.records.fetchval(_WAITING))
    Paused.goes_on.set()
    await asyncio.gather(worker, changing)
    harness.clock.moment += WINDOW
    await harness.queue_change_mails()
    await harness.deliver()
    assert harness.inbox.subjects(person)[1:] == ["New name: Pilates", "New name: Tai Chi"]


# A worker dies


async def test_what_a_worker_has_not_committed_is_enqueued_by_another_one(harness: ReminderHarness) -> None:
    host, event_id, person, _ = await _booked(harness)
    await _rename(harness, host, event_id, "Pilates")
    harness.clock.moment += WINDOW

    class Died(Exception):
        pass

    @asynccontextmanager
    async def mortal() -> AsyncIterator[UnitOfWork]:
        async with harness.parts.open_work() as work:

            async def commit(made: object = None) -> None:
                raise Died

            setattr(work, "commit", commit)  # noqa: B010
            yield work

    with pytest.raises(Died):
        await harness.queue_change_mails(mortal)
    for _ in range(2):
        await harness.queue_change_mails()
        await harness.deliver()
    assert harness.inbox.subjects(person)[1:] == ["New name: Pilates"]


async def test_two_workers_enqueue_one_mail(harness: ReminderHarness) -> None:
    host, event_id, person, _ = await _booked(harness)
    await _rename(harness, host, event_id, "Pilates")
    harness.clock.moment += WINDOW
    await asyncio.gather(*(harness.queue_change_mails() for _ in range(4)))
    await harness.deliver()
    assert harness.inbox.subjects(person)[1:] == ["New name: Pilates"]


async def test_reminder_does_not_wait_for_a_change(harness: ReminderHarness) -> None:
    host, event_id, person, _ = await _booked(harness)
    harness.clock.moment += 6 * DAY - timedelta(minutes=1)
    await _rename(harness, host, event_id, "Pilates")
    await harness.pass_(MINUTE)
    assert harness.inbox.subjects(person)[1:] == ["Tomorrow: Pilates"]
    harness.clock.moment += WINDOW
    await harness.queue_change_mails()
    await harness.deliver()
    assert harness.inbox.subjects(person)[2:] == ["New name: Pilates"]
