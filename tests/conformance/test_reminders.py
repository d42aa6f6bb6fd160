"""The ports of reminders, in memory and in PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from application.notifications.ports import ReminderQueries, ReminderResults, ReminderView
from application.outbox.ports import DeadLetters, OutboxClaims
from application.ports import PageRequest
from application.unit_of_work import UnitOfWork
from domain.errors import Invalid
from domain.ids import BookingId, BookingRef
from domain.outbox import Destination, Failed, MessageType
from domain.reminders import Reminded, Reminder, ReminderId, SkipReason
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from infrastructure.postgres.reminders.queries import PostgresReminderQueries
from infrastructure.postgres.reminders.repository import PostgresReminderResults
from tests.conformance.booking_adapters import DAY, HOUR, NOW, BookingAdapters, in_memory, in_postgres, inr
from tests.support.memory.claims import MemoryOutboxClaims
from tests.support.memory.reminders import MemoryReminderQueries, MemoryReminderResults
from tests.support.memory.store import SettableClock, Store

OFFSETS = (DAY, HOUR)
SECOND, LONG = timedelta(seconds=1), timedelta(minutes=10)


@dataclass
class ReminderAdapters:
    """Reminders a day and an hour before the start. `bookings` reserves seats without planning any."""

    bookings: BookingAdapters
    queries: ReminderQueries
    results: ReminderResults
    claims: OutboxClaims
    letters: DeadLetters

    async def booking(self, starts_in: timedelta = 2 * DAY) -> BookingId:
        """A free booking with two planned reminders."""
        event = await self.bookings.event(starts_in=starts_in, price=inr(0))
        return (await self.bookings.booked(event)).id

    async def move(self, booking_id: BookingId, by: timedelta) -> None:
        async with self.changing() as work:
            event_id = await work.bookings.find_event_id(booking_id)
            assert event_id is not None
            event = await work.events.get(event_id)
            interval = event.details.interval
            moved = replace(interval, starts_at=interval.starts_at + by, ends_at=interval.ends_at + by)
            details = replace(event.details, interval=moved)
            await work.events.save(event.with_details(details, NOW))

    async def cancel(self, booking_id: BookingId) -> None:
        async with self.changing() as work:
            booking = await work.bookings.get(booking_id)
            cancelled = booking.cancelled(NOW, event_starts_at=NOW + 2 * DAY, by=booking.user_id)
            await work.bookings.save(cancelled)

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[UnitOfWork]:
        async with self.bookings.changing() as work:
            yield work

    async def due(self, now: datetime, *, limit: int = 10_000) -> list[tuple[Reminder, Reminded]]:
        async with self.bookings.open_work() as work:
            return list(await work.reminders.claim_due(now, limit=limit))

    async def due_of(self, booking_id: BookingId, now: datetime) -> list[tuple[Reminder, Reminded]]:
        return [each for each in await self.due(now) if each[0].about == BookingRef(booking_id)]

    async def views(self, booking_id: BookingId) -> list[ReminderView]:
        return list((await self.queries.list_of(BookingRef(booking_id), PageRequest())).items)

    async def states(self, booking_id: BookingId) -> list[tuple[float, str, str | None]]:
        """Hours before the start, status and reason; the next one first."""
        return [(view.before / HOUR, view.status, view.reason) for view in await self.views(booking_id)]

    async def queued(self, booking_id: BookingId) -> ReminderId:
        """The reminder of a day before, with its message in the outbox."""
        (reminder, _), *_ = await self.due_of(booking_id, NOW + DAY)
        async with self.changing() as work:
            await work.reminders.queue([reminder.id])
        return reminder.id


def reminders_in_memory() -> ReminderAdapters:
    store, clock = Store(), SettableClock(NOW)
    bookings = in_memory(store, clock, reminder_offsets=OFFSETS)
    return ReminderAdapters(
        bookings,
        MemoryReminderQueries(store),
        MemoryReminderResults(store),
        MemoryOutboxClaims(store, clock),
        bookings.stored_messages,
    )


def reminders_in_postgres(database: Database) -> ReminderAdapters:
    bookings = in_postgres(database, reminder_offsets=OFFSETS)
    return ReminderAdapters(
        bookings,
        PostgresReminderQueries(database),
        PostgresReminderResults(database),
        PostgresOutboxClaims(database),
        bookings.stored_messages,
    )


@pytest.fixture(params=["memory", "postgres"])
def reminders(request: pytest.FixtureRequest) -> ReminderAdapters:
    if request.param == "memory":
        return reminders_in_memory()
    return reminders_in_postgres(request.getfixturevalue("postgres_database"))


async def test_due_reminder_has_the_state_of_its_booking(reminders: ReminderAdapters) -> None:
    booking_id = await reminders.booking()
    booking = await reminders.bookings.booking(booking_id)
    assert await reminders.due_of(booking_id, NOW + DAY - timedelta(seconds=1)) == []
    ((reminder, about),) = await reminders.due_of(booking_id, NOW + DAY)
    starts_at = NOW + 2 * DAY
    assert reminder == Reminder(reminder.id, BookingRef(booking_id), booking.user_id, DAY, starts_at, latest=True)
    assert about == Reminded(starts_at, is_cancelled=False, is_confirmed=True, is_over=False)


@pytest.mark.parametrize(("starts_in", "hours"), [(DAY + SECOND, [24, 1]), (DAY, [1]), (HOUR, [])])
async def test_only_future_reminders_are_planned(
    reminders: ReminderAdapters, starts_in: timedelta, hours: list[int]
) -> None:
    booking_id = await reminders.booking(starts_in)
    assert await reminders.states(booking_id) == [(hour, "planned", None) for hour in hours]
    moved_id = await reminders.booking(3 * DAY)
    await reminders.move(moved_id, starts_in - 3 * DAY)
    planned = [state for state in await reminders.states(moved_id) if state[1] == "planned"]
    assert planned == [(hour, "planned", None) for hour in hours]


async def test_cancelled_event_skips_the_reminders_of_its_bookings(reminders: ReminderAdapters) -> None:
    event = await reminders.bookings.event(starts_in=2 * DAY, price=inr(0))
    bookings = [(await reminders.bookings.booked(event)).id for _ in range(2)]
    async with reminders.changing() as work:
        stored = await work.events.get(event.id)
        await work.events.save(stored.cancelled(NOW, by=stored.facilitator_id))
    for booking_id in bookings:
        assert await reminders.states(booking_id) == [(hour, "skipped", "booking_cancelled") for hour in (24, 1)]


async def test_sent_reminder_is_not_planned_again_for_the_same_start(reminders: ReminderAdapters) -> None:
    booking_id = await reminders.booking()
    await reminders.results.record(await reminders.queued(booking_id), None, NOW + DAY)
    for by in (DAY, -DAY):
        await reminders.move(booking_id, by)
    assert (await reminders.states(booking_id))[:2] == [(24, "sent", None), (1, "planned", None)]


async def test_reminder_is_not_the_latest_when_the_next_one_is_due(reminders: ReminderAdapters) -> None:
    booking_id = await reminders.booking()
    due = await reminders.due_of(booking_id, NOW + 2 * DAY - HOUR)
    assert [(reminder.before, reminder.latest) for reminder, _ in due] == [(DAY, False), (HOUR, True)]


async def test_due_reminders_are_limited_and_the_oldest_come_first(reminders: ReminderAdapters) -> None:
    bookings = [await reminders.booking(DAY + hours * HOUR) for hours in (3, 2)]
    later, earlier = [BookingRef(booking_id) for booking_id in bookings]
    due = [reminder.about for reminder, _ in await reminders.due(NOW + 4 * HOUR)]
    assert [about for about in due if about in {earlier, later}] == [earlier, later]
    assert len(await reminders.due(NOW + 4 * HOUR, limit=1)) == 1


async def test_seat_whose_hold_has_expired_is_not_confirmed(reminders: ReminderAdapters) -> None:
    event = await reminders.bookings.event(starts_in=2 * DAY)
    booking_id = (await reminders.bookings.booked(event, hold_for=DAY)).id
    ((reminder, about),) = await reminders.due_of(booking_id, NOW + DAY)
    assert (about.is_confirmed, about.is_cancelled) == (False, False)
    for now, is_confirmed in ((NOW + DAY - SECOND, True), (NOW + DAY, False)):
        found = await reminders.queries.find(reminder.id, now)
        assert found is not None
        assert found.about.is_confirmed is is_confirmed


async def test_queued_reminder_has_one_message_and_is_not_due_again(reminders: ReminderAdapters) -> None:
    booking_id = await reminders.booking()
    reminder_id = await reminders.queued(booking_id)
    assert await reminders.due_of(booking_id, NOW + DAY) == []
    assert await reminders.states(booking_id) == [(24, "queued", None), (1, "planned", None)]
    messages = await reminders.bookings.messages(f"reminder:{reminder_id}")
    assert messages == [(MessageType.BOOKING_REMINDER, Destination.EMAIL)]


async def test_queueing_no_reminder_changes_nothing(reminders: ReminderAdapters) -> None:
    booking_id = await reminders.booking()
    async with reminders.changing() as work:
        await work.reminders.queue([])
    assert await reminders.states(booking_id) == [(24, "planned", None), (1, "planned", None)]


async def test_skipped_reminder_has_its_reason_and_time(reminders: ReminderAdapters) -> None:
    booking_id = await reminders.booking()
    ((reminder, _),) = await reminders.due_of(booking_id, NOW + DAY)
    async with reminders.changing() as work:
        await work.reminders.skip([reminder.id], SkipReason.TOO_LATE, NOW + DAY)
    skipped, _ = await reminders.views(booking_id)
    assert (skipped.status, skipped.reason, skipped.settled_at) == ("skipped", "too_late", NOW + DAY)


async def test_rolled_back_queueing_has_no_effect(reminders: ReminderAdapters) -> None:
    booking_id = await reminders.booking()
    ((reminder, _),) = await reminders.due_of(booking_id, NOW + DAY)
    async with reminders.bookings.open_work() as work:
        await work.reminders.queue([reminder.id])
    assert (await reminders.states(booking_id))[0] == (24, "planned", None)
    assert await reminders.bookings.messages(f"reminder:{reminder.id}") == []


async def test_moved_and_cancelled_bookings_align_their_reminders(reminders: ReminderAdapters) -> None:
    booking_id = await reminders.booking()
    planned, moved = [(24, "planned", None), (1, "planned", None)], [(24, "skipped", "moved"), (1, "skipped", "moved")]
    ids = [reminder.id for reminder, _ in await reminders.due_of(booking_id, NOW + 2 * DAY)]
    await reminders.move(booking_id, DAY)
    assert await reminders.states(booking_id) == [*moved, *planned]
    await reminders.move(booking_id, -DAY)
    assert await reminders.states(booking_id) == [*planned, *moved]
    again = await reminders.due_of(booking_id, NOW + 2 * DAY)
    assert [reminder.id for reminder, _ in again] == ids, "the rows of the old start are used again"
    await reminders.cancel(booking_id)
    assert (await reminders.states(booking_id))[:2] == [(hour, "skipped", "booking_cancelled") for hour in (24, 1)]


async def test_queued_reminder_is_found_with_its_payload_until_it_is_sent(reminders: ReminderAdapters) -> None:
    booking_id = await reminders.booking()
    reminder_id = await reminders.queued(booking_id)
    found = await reminders.queries.find(reminder_id, NOW + DAY)
    assert found is not None
    assert (found.reminder.id, found.about.is_cancelled) == (reminder_id, False)
    assert str(found.payload["booking"]["id"]) == str(booking_id)
    await reminders.results.record(reminder_id, None, NOW + DAY)
    assert await reminders.queries.find(reminder_id, NOW + DAY) is None


async def test_cancelled_booking_is_seen_by_its_queued_reminder(reminders: ReminderAdapters) -> None:
    booking_id = await reminders.booking()
    reminder_id = await reminders.queued(booking_id)
    await reminders.cancel(booking_id)
    found = await reminders.queries.find(reminder_id, NOW + DAY)
    assert found is not None
    assert found.about.is_cancelled


async def test_sent_reminder_does_not_change_any_more(reminders: ReminderAdapters) -> None:
    booking_id = await reminders.booking()
    reminder_id = await reminders.queued(booking_id)
    await reminders.results.record(reminder_id, None, NOW + DAY)
    await reminders.results.record(reminder_id, SkipReason.TOO_LATE, NOW + 2 * DAY)
    sent, _ = await reminders.views(booking_id)
    assert (sent.status, sent.reason, sent.settled_at) == ("sent", None, NOW + DAY)


async def test_result_of_a_useless_reminder_has_its_reason(reminders: ReminderAdapters) -> None:
    booking_id = await reminders.booking()
    await reminders.results.record(await reminders.queued(booking_id), SkipReason.MOVED, NOW + DAY)
    assert (await reminders.states(booking_id))[0] == (24, "skipped", "moved")


async def test_status_of_a_queued_reminder_follows_its_message(reminders: ReminderAdapters) -> None:
    booking_id = await reminders.booking()
    key = f"reminder:{await reminders.queued(booking_id)}"
    claimed = await reminders.claims.claim(Destination.EMAIL, limit=10_000, lease=LONG, probe_every=LONG)
    (message,) = [each for each in claimed if each.ordering_key == key]
    assert (await reminders.states(booking_id))[0] == (24, "queued", None)
    gone = Failed("no such address", permanent=True)
    await reminders.claims.record_result(message, gone, took=timedelta(0), retry_in=None)
    assert (await reminders.states(booking_id))[0] == (24, "failed", "undeliverable")
    await reminders.letters.discard(message.id)
    assert (await reminders.states(booking_id))[0] == (24, "failed", "discarded")


async def test_list_has_pages_in_order_of_time(reminders: ReminderAdapters) -> None:
    booking_id = await reminders.booking()
    first = await reminders.queries.list_of(BookingRef(booking_id), PageRequest(limit=1))
    assert first.next is not None
    last = await reminders.queries.list_of(BookingRef(booking_id), PageRequest(limit=1, after=first.next))
    assert last.next is None
    starts_at = NOW + 2 * DAY
    views = [*first.items, *last.items]
    assert [(view.before, view.due_at, view.starts_at) for view in views] == [
        (before, starts_at - before, starts_at) for before in OFFSETS
    ]
    with pytest.raises(Invalid):
        await reminders.queries.list_of(BookingRef(booking_id), PageRequest(after="no cursor"))
