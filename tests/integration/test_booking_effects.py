"""Saving a booking writes everything that follows from its change, in every use case."""

import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import asyncpg
import pytest

from application.bookings.ports import Bookings
from application.notifications.ports import Reminders
from application.outbox.ports import Messages
from application.payments.payables import lock_booking
from domain.accounts import UserId
from domain.booking_effects import EFFECTS
from domain.bookings import Booking, BookingChange, BookingStatus
from domain.disputes import DisputeStatus
from domain.event_effects import EFFECTS as EVENT_EFFECTS
from domain.events import EventId
from domain.ids import BookingId
from domain.money import Money
from domain.outbox import ALWAYS_SERVED, routes_for
from infrastructure.postgres.domain_events import UnrecordedChange
from infrastructure.postgres.engine import Database
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.support.load import many_users
from tests.support.machine_clock import SystemClock

MONEY = Money.from_minor_units(3000, "INR")
NOW = SystemClock().now().replace(microsecond=0)
AHEAD = NOW + timedelta(days=9)
DESTINATIONS = ["crm", "email", "realtime"]

Transition = Callable[[Booking], Booking]
TRANSITIONS: dict[str, tuple[BookingChange, Transition]] = {
    "cancelled": (BookingChange.CANCELLED, lambda old: old.cancelled(NOW, event_starts_at=AHEAD, by=old.user_id)),
    "cancelled_by_organiser": (
        BookingChange.CANCELLED,
        lambda old: old.cancelled_by_organiser(NOW, event_starts_at=AHEAD, by=old.user_id),
    ),
    "expired": (BookingChange.CANCELLED, lambda old: old.expired(NOW)),
    "paid": (BookingChange.PAID, lambda old: old.paid(MONEY)),
    "payment_failed": (BookingChange.PAYMENT_FAILED, lambda old: old.payment_failed(MONEY)),
    "reinstated": (BookingChange.REINSTATED, lambda old: old.reinstated(MONEY)),
    "refunded": (BookingChange.REFUNDED, lambda old: old.refunded()),
    "dispute_opened": (
        BookingChange.DISPUTE_OPENED,
        lambda old: old.dispute_opened(MONEY, of_payment=DisputeStatus.OPEN),
    ),
    "dispute_won": (BookingChange.DISPUTE_WON, lambda old: old.dispute_won(MONEY, of_payment=DisputeStatus.WON)),
    "dispute_lost": (
        BookingChange.DISPUTE_LOST,
        lambda old: old.dispute_lost(MONEY, of_payment=DisputeStatus.LOST, is_returned=True),
    ),
}
"""Every public method of a booking that returns a changed one."""

EXPECTED: dict[str, tuple[str | None, str | None, list[str], int, int, bool]] = {
    # transition: message, its reason, destinations, seats more, versions more, whether reminders change
    "cancelled": ("booking_cancelled", None, DESTINATIONS, -1, 1, True),
    "cancelled_by_organiser": ("booking_cancelled", "by_organiser", DESTINATIONS, -1, 1, True),
    "expired": ("booking_cancelled", "payment_expired", DESTINATIONS, -1, 1, True),
    "paid": ("payment_completed", None, DESTINATIONS, 0, 1, False),
    "payment_failed": ("payment_failed", None, DESTINATIONS, 0, 0, False),
    "reinstated": ("payment_completed", None, DESTINATIONS, 1, 1, True),
    "refunded": (None, None, [], 0, 0, False),
    "dispute_opened": ("dispute_opened", None, ["crm", "realtime"], 0, 0, False),
    "dispute_won": ("dispute_won", None, ["crm", "realtime"], 0, 0, False),
    "dispute_lost": ("dispute_lost", None, ["crm", "realtime"], 0, 0, False),
}


@dataclass(frozen=True)
class BookingHarness:
    open_work: UnitsOfWork
    records: asyncpg.Connection
    facilitator: int

    async def event(self) -> EventId:
        event_id = await self.records.fetchval(
            """INSERT INTO events (facilitator_id, title, description, event_type, starts_at, ends_at, capacity, price,
                   currency)
               VALUES ($1, 'Yoga', '', 'session', $2::timestamptz, $2::timestamptz + interval '1 h', 5, 30, 'INR')
               RETURNING id""",
            *(self.facilitator, AHEAD),
        )
        return EventId(event_id)

    async def invited(self, event_id: EventId) -> BookingId:
        (person,) = await many_users(self.records, 1)
        async with self.open_work() as work:
            await work.events.get(event_id)
            await work.events.occupy_seat(event_id)
            booking_id = await work.bookings.add_invited(event_id, UserId(person.id), NOW)
            await work.commit()
        return booking_id

    async def before(self, transition: str) -> BookingId:
        """A booking that the transition can change, about which nothing has been written yet."""
        event_id = await self.event()
        booking_id = await self.invited(event_id)
        if transition == "reinstated":
            async with self.open_work() as work:
                _, booking = await lock_booking(work, booking_id)
                await work.bookings.save(booking.expired(NOW))
                await work.commit()
        await self.records.execute("DELETE FROM outbox")
        return booking_id

    async def state(self, booking_id: BookingId) -> tuple[int, int, set[tuple[object, ...]]]:
        """Occupied seats and version of the event; the reminders."""
        event = await self.records.fetchrow(
            "SELECT booked, version FROM events WHERE id = (SELECT event_id FROM bookings WHERE id = $1)", booking_id
        )
        assert event is not None
        reminders = await self.records.fetch("SELECT due_at, status FROM reminders WHERE booking_id = $1", booking_id)
        return event["booked"], event["version"], {tuple(row) for row in reminders}

    async def messages(self, booking_id: BookingId) -> list[tuple[str, str | None, str]]:
        found = await self.records.fetch(
            """SELECT fact, snapshot ->> 'reason' AS reason, destination FROM outbox WHERE lane = 'booking:' || $1::text
               ORDER BY destination""",
            str(booking_id),
        )
        return [(row["fact"], row["reason"], row["destination"]) for row in found]


@pytest.fixture(scope="module")
async def harness(shared_database_url: str, shared_database: asyncpg.Connection) -> AsyncIterator[BookingHarness]:
    (facilitator,) = await many_users(shared_database, 1, role="facilitator")
    database = Database(shared_database_url)
    units = UnitsOfWork(
        database,
        routes_for(ALWAYS_SERVED),
        SystemClock(),
        lambda: None,
        reminder_offsets=(timedelta(days=1), timedelta(hours=1)),
    )
    yield BookingHarness(units, shared_database, facilitator.id)
    await database.close()


def test_tables_contain_every_transition_and_every_change() -> None:
    public = {name: each for name, each in inspect.getmembers(Booking, inspect.isfunction) if name[0] != "_"}
    changing = {name for name, each in public.items() if "Booking" in str(each.__annotations__.get("return"))}
    assert changing == set(TRANSITIONS) == set(EXPECTED)
    of_events = {effects.bookings for effects in EVENT_EFFECTS.values()} - {None}
    assert of_events == {BookingChange.EVENT_CANCELLED, BookingChange.COMPLETED}
    covered = {change for change, _ in TRANSITIONS.values()} | {BookingChange.INVITED} | of_events
    assert covered == set(EFFECTS) == set(BookingChange)


@pytest.mark.parametrize("transition", TRANSITIONS)
async def test_saving_writes_every_effect(harness: BookingHarness, transition: str) -> None:
    change, apply = TRANSITIONS[transition]
    message, reason, destinations, seats, versions, reminders_change = EXPECTED[transition]
    booking_id = await harness.before(transition)
    booked, version, reminders = await harness.state(booking_id)
    async with harness.open_work() as work:
        _, booking = await lock_booking(work, booking_id)
        changed = apply(booking)
        assert [(event.change, event.after) for event in changed.events] == [(change, changed)]
        await work.bookings.save(changed)
        await work.commit()
    async with harness.open_work() as work:
        assert await work.bookings.get(booking_id) == changed
    assert await harness.messages(booking_id) == [(message, reason, destination) for destination in destinations]
    now_booked, now_version, now_reminders = await harness.state(booking_id)
    assert (now_booked - booked, now_version - version) == (seats, versions)
    assert (now_reminders != reminders) is reminders_change


async def test_accepted_invitation_writes_the_same_as_a_booking(harness: BookingHarness) -> None:
    booking_id = await harness.invited(await harness.event())
    assert await harness.messages(booking_id) == [
        ("booking_created", None, destination) for destination in DESTINATIONS
    ]
    booked, _, reminders = await harness.state(booking_id)
    assert (booked, len(reminders)) == (1, 2)


async def test_booking_changed_without_a_transition_cannot_be_saved(harness: BookingHarness) -> None:
    booking_id = await harness.before("cancelled")
    async with harness.open_work() as work:
        _, booking = await lock_booking(work, booking_id)
        for changed in (booking, replace(booking, status=BookingStatus.CANCELLED, cancelled_at=NOW)):
            with pytest.raises(UnrecordedChange):
                await work.bookings.save(changed)


async def test_domain_event_is_written_once(harness: BookingHarness) -> None:
    booking_id = await harness.before("cancelled")
    async with harness.open_work() as work:
        _, booking = await lock_booking(work, booking_id)
        cancelled = booking.expired(NOW)
        await work.bookings.save(cancelled)
        await work.bookings.save(cancelled.refunded())
        await work.commit()
    assert [fact for fact, _, _ in await harness.messages(booking_id)] == ["booking_cancelled"] * 3
    assert (await harness.state(booking_id))[0] == 0


def test_no_other_method_writes_messages_or_reminders_of_one_booking() -> None:
    def methods(port: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(port, inspect.isfunction) if name[0] != "_"}

    assert {name for name in methods(Messages) if "booking" in name} == {
        "enqueue_booking_refunded",
    }
    assert not {name for name in methods(Reminders) if "align" in name}
    assert not {name for name in methods(Bookings) if "seat" in name}
