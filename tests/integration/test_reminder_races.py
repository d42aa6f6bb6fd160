"""Concurrent processing of reminders. Each test has a negative control without the guard."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import datetime

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from application.notifications.ports import QueuedReminder
from domain.accounts import User
from domain.ids import BookingId, BookingRef
from domain.reminders import Reminded, Reminder, ReminderId
from infrastructure.postgres.reminders import repository
from infrastructure.postgres.reminders.queries import PostgresReminderQueries
from infrastructure.postgres.reminders.repository import PostgresReminders
from infrastructure.settings import Settings
from tests.support.reminder_harness import DAY, HOUR, MINUTE, ReminderHarness, reminder_harness
from tests.support.without_locks import PAUSE


@pytest.fixture
async def harness(
    make_shared_settings: Callable[..., Settings], emptied_database: asyncpg.Connection
) -> AsyncIterator[ReminderHarness]:
    async with reminder_harness(make_shared_settings(), emptied_database) as harness:
        yield harness


def part(harness: ReminderHarness, kind: type[PostgresReminders]) -> Callable[[AsyncSession], PostgresReminders]:
    return lambda session: kind(session, harness.parts.settings.reminder_offsets, now=harness.clock.now())


# Two of one person are due at once, and each is in the hands of another worker


class OneEach(PostgresReminders):
    """A worker with room for a single reminder: the other one is the next worker's."""

    async def claim_due(self, now: datetime, *, limit: int) -> Sequence[tuple[Reminder, Reminded]]:
        due = await super().claim_due(now, limit=1)
        await asyncio.sleep(PAUSE)
        return due


class KnowingOnlyTheirOwn(OneEach):
    """Does not see what another worker holds."""

    async def claim_due(self, now: datetime, *, limit: int) -> Sequence[tuple[Reminder, Reminded]]:
        return [(replace(reminder, latest=True), about) for reminder, about in await super().claim_due(now, limit=1)]


class TrustingBook(PostgresReminderQueries):
    """Takes a reminder for what it was when it was queued."""

    async def find(self, reminder_id: ReminderId, now: datetime) -> QueuedReminder | None:
        found = await super().find(reminder_id, now)
        if found is None:
            return None
        reminder = replace(found.reminder, latest=True)
        return replace(found, reminder=reminder, about=replace(found.about, starts_at=reminder.starts_at))


async def _mails_after_an_outage(
    harness: ReminderHarness, kind: type[PostgresReminders], *, looked_at: bool
) -> list[str]:
    person, _ = await harness.a_booking(2 * DAY)
    await harness.deliver()
    harness.clock.moment += 2 * DAY - MINUTE * 30
    units = harness.units(reminders=part(harness, kind))
    await asyncio.gather(*(harness.queue(units) for _ in range(2)))
    await harness.queue(units)
    await harness.deliver(None if looked_at else TrustingBook(harness.parts.database))
    return harness.inbox.subjects(person)[1:]


async def test_of_two_due_reminders_at_two_workers_the_last_is_sent(harness: ReminderHarness) -> None:
    assert await _mails_after_an_outage(harness, OneEach, looked_at=False) == ["In 30 minutes: Yoga"]


async def test_queued_reminder_is_replaced_by_the_next_due_one(harness: ReminderHarness) -> None:
    assert await _mails_after_an_outage(harness, KnowingOnlyTheirOwn, looked_at=True) == ["In 30 minutes: Yoga"]


async def test_without_check_of_later_reminders_both_are_sent(harness: ReminderHarness) -> None:
    sent = await _mails_after_an_outage(harness, KnowingOnlyTheirOwn, looked_at=False)
    assert sent == ["In 30 minutes: Yoga"] * 2


# The event is moved while a worker has its reminders in hand


class Slow(PostgresReminders):
    """Thinks between looking and queueing."""

    looking: asyncio.Event

    async def claim_due(self, now: datetime, *, limit: int) -> Sequence[tuple[Reminder, Reminded]]:
        due = await super().claim_due(now, limit=limit)
        self.looking.set()
        await asyncio.sleep(5 * PAUSE)
        return due


async def _moved_during_delivery(harness: ReminderHarness, *, looked_at: bool) -> tuple[User, BookingId]:
    host, person = await harness.people(2, "facilitator")
    event = await harness.event(host, DAY + MINUTE)
    booking = await harness.book(person, event)
    await harness.deliver()
    harness.clock.moment += MINUTE
    Slow.looking = asyncio.Event()
    queueing = asyncio.create_task(harness.queue(harness.units(reminders=part(harness, Slow))))
    await Slow.looking.wait()
    await harness.move(host, event, 2 * DAY)
    assert await queueing == 1
    await harness.deliver(None if looked_at else TrustingBook(harness.parts.database))
    return person, booking


async def test_event_moved_during_delivery_is_reminded_at_its_new_time_only(
    harness: ReminderHarness,
) -> None:
    person, booking = await _moved_during_delivery(harness, looked_at=True)
    assert [subject for subject in harness.inbox.subjects(person) if subject.endswith(": Yoga")][1:] == [
        "New time: Yoga"
    ]
    assert await harness.rows(BookingRef(booking)) == [
        *((24, "skipped", "moved"), (1, "skipped", "moved")),
        *((24, "planned", None), (1, "planned", None)),
    ]
    await harness.pass_(2 * DAY)
    await harness.pass_(23 * HOUR)
    assert harness.inbox.subjects(person)[2:] == ["Tomorrow: Yoga", "In an hour: Yoga"]


async def test_without_check_before_sending_the_old_time_is_mailed(harness: ReminderHarness) -> None:
    person, _ = await _moved_during_delivery(harness, looked_at=False)
    assert "In 3 days: Yoga" in harness.inbox.subjects(person)


# Brought back to life by several at once


async def _revived_by_four(harness: ReminderHarness) -> list[str]:
    host, person = await harness.people(2, "facilitator")
    event = await harness.event(host, 2 * DAY)
    booking = await harness.book(person, event)
    await harness.deliver()
    for by in (DAY, -DAY):
        await harness.move(host, event, by)
    await harness.records.execute("UPDATE outbox SET status = 'delivered' WHERE fact = 'booking_moved'")
    together = asyncio.Barrier(4)

    async def align() -> None:
        async with harness.parts.open_work() as work:
            await together.wait()
            await work.reminders.align_bookings([booking])  # type: ignore[attr-defined]
            await work.commit()

    await harness.records.execute("UPDATE reminders SET status = 'skipped', reason = 'booking_cancelled'")
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(align())
    await harness.pass_(DAY)
    return harness.inbox.subjects(person)[1:]


async def test_reminders_restored_concurrently_are_sent_once(harness: ReminderHarness) -> None:
    assert await _revived_by_four(harness) == ["Tomorrow: Yoga"]


async def test_without_constraint_restored_reminders_are_sent_many_times(
    harness: ReminderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.records.execute("ALTER TABLE reminders DROP CONSTRAINT uq_reminders_once")
    without_guard, _, _ = repository._ALIGN.partition("ON CONFLICT")
    monkeypatch.setattr(repository, "_ALIGN", without_guard)
    assert len(await _revived_by_four(harness)) > 1
