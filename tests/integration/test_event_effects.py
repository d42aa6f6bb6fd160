"""Saving an event writes everything that follows from its change, in every use case."""

import inspect
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import asyncpg
import pytest

from application.bookings.ports import Bookings, Invitations
from application.events.ports import Events
from application.notifications.ports import Reminders
from application.outbox.ports import Messages
from application.payments.ports.records import RefundRecords
from domain.accounts import UserId
from domain.events import EventDetails, EventId, EventStatus
from domain.money import Money
from domain.outbox import ALWAYS_SERVED, routes_for
from domain.time import Interval
from infrastructure.postgres.domain_events import UnrecordedChange
from infrastructure.postgres.engine import Database
from infrastructure.postgres.unit_of_work import UnitsOfWork
from tests.domain.test_event_changes import POLICY
from tests.support.load import many_users
from tests.support.machine_clock import SystemClock

NOW = SystemClock().now().replace(microsecond=0)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
DESTINATIONS = ("crm", "email", "realtime")
UPDATED = [("event_updated", "crm")]
MOVED = ("booking_moved", None, "email")
RESCHEDULED = ("booking_moved", "rescheduled", "email")


@dataclass(frozen=True)
class Expected:
    """`bookings`: the messages about each confirmed booking, with their reason."""

    event: Sequence[tuple[str, str]] = ()
    bookings: Sequence[tuple[str, str | None, str]] = ()
    start: bool = False
    cancelled: bool = False
    keeps_policy: bool = False


CANCELLED = Expected(
    [("event_cancelled", "crm"), ("event_cancelled", "realtime")],
    [("booking_cancelled", "event_cancelled", each) for each in DESTINATIONS],
    cancelled=True,
)
EXPECTED: dict[str, Expected] = {
    "other_price": Expected(),
    "other_policy": Expected(keeps_policy=True),
    "other_title": Expected(UPDATED, [MOVED]),
    "other_link": Expected(UPDATED, [MOVED]),
    "other_place": Expected(UPDATED, [RESCHEDULED]),
    "other_end": Expected(UPDATED, [RESCHEDULED]),
    "other_start": Expected(UPDATED, [RESCHEDULED], start=True),
    "other_title_afterwards": Expected(UPDATED),
    "cancelled": CANCELLED,
    "deleted": Expected(),
    "cancelled_and_deleted": CANCELLED,
}
EARLIER = timedelta(days=2)


@dataclass(frozen=True)
class State:
    statuses: dict[str, tuple[str, str]]
    hold_until: object
    policies: int
    """Bookings that have a refund policy of their own."""
    planned: set[object]
    """When reminders are due."""
    invitation: str
    refunds: int


@dataclass(frozen=True)
class EventHarness:
    open_work: UnitsOfWork
    records: asyncpg.Connection
    facilitator: UserId

    async def event(self, starts_in: timedelta) -> EventId:
        """With a paid booking, one that holds its seat for a payment, a cancelled one, and a pending invitation."""
        await self.records.execute("DELETE FROM reminders; DELETE FROM outbox")
        event_id = await self.records.fetchval(
            """INSERT INTO events (facilitator_id, title, description, event_type, starts_at, ends_at, capacity, booked,
                   price, currency)
               VALUES ($1, 'Yoga', '', 'session', $2::timestamptz, $2::timestamptz + interval '1 h', 5, 3, 30, 'INR')
               RETURNING id""",
            *(self.facilitator, NOW + starts_in),
        )
        people = [person.id for person in await many_users(self.records, 3)]
        await self.records.execute(
            """WITH b AS (
                INSERT INTO bookings (event_id, user_id, status, payment_status, hold_until, cancelled_at, price,
                    currency, created_at)
                SELECT $1, person, CASE n WHEN 3 THEN 'cancelled' ELSE 'confirmed' END,
                    CASE n WHEN 1 THEN 'completed' ELSE 'pending' END, CASE n WHEN 2 THEN $3::timestamptz END,
                    CASE n WHEN 3 THEN now() END, 30, 'INR', now()
                FROM unnest($2::bigint[]) WITH ORDINALITY AS p(person, n)
                RETURNING id, payment_status, user_id
            ), p AS (
                INSERT INTO payments (booking_id, gateway, gateway_reference, amount, currency, status, created_at)
                SELECT id, 'sandbox', 'order ' || id, 30, 'INR', payment_status, now() FROM b
            ), i AS (
                INSERT INTO invitations (event_id, name, email, invited_by, created_at, expires_at)
                VALUES ($1, 'Grace', 'grace@example.com', $4, now(), $3)
            )
            INSERT INTO reminders (booking_id, user_id, "before", starts_at, due_at)
            SELECT id, user_id, interval '1 h', $3, $3::timestamptz - interval '1 h' FROM b""",
            *(event_id, people, NOW + starts_in, self.facilitator),
        )
        return EventId(event_id)

    async def state(self, event_id: EventId) -> State:
        bookings = await self.records.fetch("SELECT * FROM bookings WHERE event_id = $1 ORDER BY id", event_id)
        due = """SELECT due_at FROM reminders r JOIN bookings b ON b.id = r.booking_id
            WHERE b.event_id = $1 AND r.status = 'planned' AND b.id <> $2"""
        refunds = """SELECT count(*) FROM refunds r JOIN payments p ON p.id = r.payment_id
            JOIN bookings b ON b.id = p.booking_id WHERE b.event_id = $1"""
        return State(
            {name: (row["status"], row["payment_status"]) for name, row in zip("abc", bookings, strict=True)},
            bookings[1]["hold_until"],
            sum(row["refund_policy"] is not None for row in bookings),
            {row["due_at"] for row in await self.records.fetch(due, event_id, bookings[2]["id"])},
            await self.records.fetchval("SELECT status FROM invitations WHERE event_id = $1", event_id),
            await self.records.fetchval(refunds, event_id),
        )

    async def messages(self) -> list[tuple[str, str, str | None, str]]:
        """Kind of ordering key, type, reason and destination."""
        found = await self.records.fetch(
            """SELECT split_part(lane, ':', 1) AS about, fact, snapshot ->> 'reason' AS reason, destination
               FROM outbox ORDER BY seq"""
        )
        return [tuple(row) for row in found]


@pytest.fixture(scope="module")
async def harness(shared_database_url: str, shared_database: asyncpg.Connection) -> AsyncIterator[EventHarness]:
    (facilitator,) = await many_users(shared_database, 1, role="facilitator")
    database = Database(shared_database_url)
    units = UnitsOfWork(database, routes_for(ALWAYS_SERVED), SystemClock(), lambda: None, reminder_offsets=(HOUR,))
    yield EventHarness(units, shared_database, UserId(facilitator.id))
    await database.close()


def details(transition: str, old: EventDetails) -> EventDetails:
    starts_at, ends_at = old.interval.starts_at, old.interval.ends_at
    changes: dict[str, EventDetails] = {
        "other_price": replace(old, price=Money.from_minor_units(4000, "INR")),
        "other_policy": replace(old, refund_policy=POLICY),
        "other_title": replace(old, title="Yin"),
        "other_link": replace(old, virtual_link="https://meet.example.com/7"),
        "other_place": replace(old, location="Hall 2"),
        "other_end": replace(old, interval=Interval(starts_at, ends_at + HOUR)),
        "other_start": replace(old, interval=Interval(starts_at - EARLIER, ends_at - EARLIER)),
    }
    return changes[transition.removesuffix("_afterwards")]


@pytest.mark.parametrize("transition", EXPECTED)
async def test_saving_writes_every_effect(harness: EventHarness, transition: str) -> None:
    expected = EXPECTED[transition]
    starts_in = -DAY if transition.endswith("afterwards") else 7 * DAY
    event_id = await harness.event(starts_in)
    before = await harness.state(event_id)
    async with harness.open_work() as work:
        changed = await work.events.get(event_id)
        if transition.startswith("other"):
            changed = changed.with_details(details(transition, changed.details), NOW)
        if transition.startswith("cancelled"):
            changed = changed.cancelled(NOW, by=harness.facilitator)
        if transition.endswith("deleted"):
            changed = changed.deleted(NOW, by=harness.facilitator)
        await work.events.save(changed)
        assert len(work.refunds.requested) == expected.cancelled
        await work.commit()
    async with harness.open_work() as work:
        assert await work.events.get_including_deleted(event_id) == changed

    messages = await harness.messages()
    assert [each[1::2] for each in messages if each[0] == "event"] == list(expected.event)
    assert sorted(each[1:] for each in messages if each[0] == "booking") == sorted(2 * list(expected.bookings))
    jobs = [each[1] for each in messages if each[0] == "payment"]
    assert jobs == (["checkout_ended", "refund_promised"] if expected.cancelled else [])

    after = await harness.state(event_id)
    starts_at = changed.details.interval.starts_at
    a, b, c = ("confirmed", "completed"), ("confirmed", "pending"), ("cancelled", "pending")
    if expected.cancelled:
        a, b = ("cancelled", "refunded"), ("cancelled", "pending")
    assert after == State(
        {"a": a, "b": b, "c": c},
        None if expected.cancelled else starts_at,
        3 if expected.keeps_policy else 0,
        set() if expected.cancelled else {starts_at - HOUR},
        "withdrawn" if expected.cancelled else "pending",
        int(expected.cancelled),
    )
    assert (after.planned != before.planned) is (expected.start or expected.cancelled)


async def test_new_event_enqueues_its_messages(harness: EventHarness) -> None:
    await harness.records.execute("DELETE FROM outbox")
    starts_at = NOW + 90 * DAY
    offered = EventDetails("Yoga", Interval(starts_at, starts_at + HOUR), 5, Money.from_minor_units(0, "INR"))
    async with harness.open_work() as work:
        await work.events.add(harness.facilitator, offered, NOW)
        await work.commit()
    assert await harness.messages() == [("event", "event_created", None, "crm")]


async def test_ended_event_is_completed_with_its_bookings(harness: EventHarness) -> None:
    event_id = await harness.event(-DAY)
    await harness.records.execute("UPDATE events SET completed_at = now() WHERE id <> $1", event_id)
    async with harness.open_work() as work:
        assert await work.events.complete_ended(NOW, limit=20) == 0, "a seat is still held for a payment"
    await harness.records.execute("UPDATE bookings SET hold_until = NULL WHERE event_id = $1", event_id)
    for number in (1, 0):
        async with harness.open_work() as work:
            assert await work.events.complete_ended(NOW, limit=20) == number
            await work.commit()
    assert await harness.messages() == [("booking", "booking_completed", None, "crm")] * 2
    statuses = [status for status, _ in (await harness.state(event_id)).statuses.values()]
    assert statuses == ["completed", "completed", "cancelled"]


async def test_event_changed_without_a_transition_cannot_be_saved(harness: EventHarness) -> None:
    event_id = await harness.event(7 * DAY)
    async with harness.open_work() as work:
        event = await work.events.get(event_id)
        for changed in (event, replace(event, status=EventStatus.CANCELLED, booked=0)):
            with pytest.raises(UnrecordedChange):
                await work.events.save(changed)
        cancelled = event.cancelled(NOW, by=harness.facilitator)
        await work.events.save(cancelled)
        with pytest.raises(UnrecordedChange):
            await work.events.save(cancelled)
        await work.events.save(cancelled.deleted(NOW, by=harness.facilitator))
        await work.commit()
    assert [each[1] for each in await harness.messages()].count("event_cancelled") == 2, "one for each destination"


def test_no_other_method_writes_events_or_their_effects() -> None:
    """Whether a use case can change an event, or everything that belongs to one, by another way."""

    def methods(port: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(port, inspect.isfunction) if name[0] != "_"}

    assert methods(Events) == {
        *("add", "get", "get_including_deleted", "save", "complete_ended"),
        *("occupy_seat", "release_seat", "set_facilitator_active"),
    }
    assert methods(Bookings) == {"add_invited", "end_holds", "find_event_id", "get", "has_live_booking", "save"}
    assert not {name for name in methods(Messages) if "event" in name or "refunds" in name or "_of" in name} - {
        "enqueue_calendar_syncs_of"
    }
    assert not {name for name in methods(Reminders) if "align" in name}
    assert not {name for name in methods(Invitations) if "all" in name}
    assert not {name for name in methods(RefundRecords) if "event" in name}
