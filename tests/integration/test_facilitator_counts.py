"""The counts of a facilitator are those of the tables, after any changes, additions and recounts."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from domain.accounts import Role, User, UserId
from domain.bookings import BookingStatus
from domain.disputes import Dispute, DisputeStatus
from domain.errors import DomainError
from domain.events import Event
from domain.ids import BookingId, BookingRef
from domain.payments import PaymentStatus
from domain.time import Interval
from infrastructure.postgres.engine import Database
from infrastructure.postgres.events import facilitator_counts
from infrastructure.postgres.events.facilitator_counts import FacilitatorCounts
from infrastructure.postgres.events.facilitator_queries import FROM_COUNTS, FROM_TABLES, PostgresFacilitatorQueries
from tests.conformance.booking_adapters import DAY, HOUR, NOW, BookingAdapters, in_postgres, inr
from tests.support.invariants import broken_invariants
from tests.support.messages import until
from tests.support.process_harness import LONG_RUN


@pytest.fixture(scope="module")
async def pool(shared_database_url: str) -> AsyncIterator[Database]:
    database = Database(shared_database_url, pool_size=8)
    yield database
    await database.close()


@pytest.fixture
def counts(pool: Database) -> FacilitatorCounts:
    return FacilitatorCounts(pool, batch=3)


@pytest.fixture
async def facilitator(pool: Database) -> User:
    return await in_postgres(pool).person(Role.FACILITATOR)


async def figures(pool: Database, facilitator: UserId) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of the counts, and those of the tables."""
    async with pool.snapshot() as connection:
        (kept,) = await connection.fetch(FROM_COUNTS, facilitator, NOW)
        (counted,) = await connection.fetch(FROM_TABLES, facilitator, NOW)
    return dict(kept), dict(counted)


class Studio:
    """Does things to the events, bookings and payments of a facilitator by chance. What the domain refuses is left."""

    def __init__(self, adapters: BookingAdapters, counts: FacilitatorCounts, facilitator: User, chance: random.Random):
        self.adapters, self.counts, self.facilitator, self.chance = adapters, counts, facilitator, chance
        self.events: list[Event] = []
        self.bookings: list[BookingId] = []

    async def step(self) -> None:
        act: Callable[[], Awaitable[object]] = self.chance.choice(
            [
                *(self.create, self.book, self.book, self.book, self.invite, self.cancel, self.reinstate),
                *(self.pay, self.pay, self.refund, self.dispute),
                *(self.move, self.cancel_event, self.delete, self.complete),
                *(self.counts.add_up, lambda: self.counts.count(self.facilitator.id)),
            ]
        )
        if not self.bookings:
            await self.create()
            await self.book()
        with suppress(DomainError):
            await act()

    async def create(self) -> None:
        price = inr(self.chance.choice([0, 100]))
        starts_in = self.chance.choice([-2, 1, 40]) * DAY
        event = await self.adapters.event(facilitator=self.facilitator, price=price, starts_in=starts_in)
        self.events.append(event)

    async def book(self) -> None:
        if reserved := await self.adapters.reserve(self.chance.choice(self.events), now=NOW - 3 * DAY):
            self.bookings.append(reserved.id)

    async def invite(self) -> None:
        person = await self.adapters.person()
        async with self.adapters.changing() as work:
            event = await work.events.get(self.chance.choice(self.events).id)
            await work.events.occupy_seat(event.id)
            self.bookings.append(await work.bookings.add_invited(event.id, person.id, NOW))

    async def pay(self) -> None:
        booking_id = self.chance.choice(self.bookings)
        async with self.adapters.changing() as work:
            payment = await work.payments.get_for(BookingRef(booking_id))
            if payment.can_become(PaymentStatus.COMPLETED):
                await work.payments.save(payment.received(order_id=f"order {payment.id}"), received_at=NOW)

    async def refund(self) -> None:
        async with self.adapters.changing() as work:
            payment = await work.payments.get_for(BookingRef(self.chance.choice(self.bookings)))
            amount = payment.refund_of(self.chance.choice([Decimal(10), None]))
            await work.payments.save(payment.with_refund(amount))
            await work.refunds.add(payment, amount, reason="booking_cancelled", by=None, now=NOW)

    async def dispute(self) -> None:
        async with self.adapters.changing() as work:
            payment = await work.payments.get_for(BookingRef(self.chance.choice(self.bookings)))
            if payment.status is not PaymentStatus.PENDING:
                status = self.chance.choice(list(DisputeStatus))
                await work.payments.save(payment.with_disputes([Dispute("dispute", inr(60), status)]))

    async def cancel(self) -> None:
        async with self.locked_booking() as (work, booking):
            await work.bookings.save(booking.cancelled(NOW, event_starts_at=NOW + DAY, by=booking.user_id))

    async def reinstate(self) -> None:
        async with self.locked_booking() as (work, booking):
            if booking.status is BookingStatus.CANCELLED:
                await work.bookings.save(booking.reinstated(booking.price))

    @asynccontextmanager
    async def locked_booking(self) -> AsyncIterator[Any]:
        async with self.adapters.changing() as work:
            booking_id = self.chance.choice(self.bookings)
            event_id = await work.bookings.find_event_id(booking_id)
            assert event_id is not None
            await work.events.get_including_deleted(event_id)
            yield work, await work.bookings.get(booking_id)

    async def move(self) -> None:
        async with self.adapters.changing() as work:
            event = await work.events.get(self.chance.choice(self.events).id)
            starts_at = NOW + self.chance.choice([5, 70]) * DAY
            moved = replace(event.details, interval=Interval(starts_at, starts_at + HOUR))
            await work.events.save(event.with_details(moved, NOW))

    async def cancel_event(self) -> None:
        async with self.adapters.changing() as work:
            event = await work.events.get(self.chance.choice(self.events).id)
            await work.events.save(event.cancelled(NOW, by=self.facilitator.id))

    async def delete(self) -> None:
        async with self.adapters.changing() as work:
            event = await work.events.get(self.chance.choice(self.events).id)
            await work.events.save(event.deleted(NOW, by=self.facilitator.id))

    async def complete(self) -> None:
        async with self.adapters.changing() as work:
            await work.events.complete_ended(NOW, limit=2)


@pytest.mark.parametrize("seed", range(60 if LONG_RUN else 3))
async def test_counts_follow_every_change(
    pool: Database, counts: FacilitatorCounts, facilitator: User, shared_database: asyncpg.Connection, seed: int
) -> None:
    """Triggers in the database count, so no path that writes can forget it."""
    studio = Studio(in_postgres(pool), counts, facilitator, random.Random(seed))
    for _ in range(40):
        await studio.step()
        kept, counted = await figures(pool, facilitator.id)
        assert kept == counted
    await counts.count(facilitator.id)
    await counts.add_up()
    assert facilitator.id not in await counts.differing()
    mine = f"the counts of facilitator {facilitator.id} "
    assert [each for each in await broken_invariants(shared_database) if each.startswith(mine)] == []


async def test_rows_from_before_are_counted_by_the_worker(
    pool: Database, counts: FacilitatorCounts, facilitator: User, shared_database: asyncpg.Connection
) -> None:
    """The dashboard is right before that, too; it then counts the tables."""
    adapters, queries = in_postgres(pool), PostgresFacilitatorQueries(pool)
    for table in ("events", "bookings", "payments"):
        await shared_database.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    event = await adapters.event(facilitator=facilitator)
    await adapters.paid(event)
    for table in ("events", "bookings", "payments"):
        await shared_database.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    await adapters.booked(event)
    await counts.add_up()
    before = await queries.dashboard(facilitator.id, NOW, recent=10)
    assert (before.total_sessions, before.upcoming_sessions, before.total_bookings) == (1, 1, 2)
    assert before.revenue == {"INR": Decimal(100)}

    assert await counts.count_due() > 0
    kept, counted = await figures(pool, facilitator.id)
    assert kept == counted
    assert kept["complete"]
    assert await queries.dashboard(facilitator.id, NOW, recent=10) == before
    assert await counts.count_due() == 0


async def test_counts_that_are_wrong_are_found_and_end_after_a_week(
    pool: Database, counts: FacilitatorCounts, facilitator: User, shared_database: asyncpg.Connection
) -> None:
    await in_postgres(pool).booked(await in_postgres(pool).event(facilitator=facilitator))
    await counts.count_due()
    await shared_database.execute(
        "UPDATE facilitator_counts SET bookings = bookings + 1 WHERE facilitator_id = $1", facilitator.id
    )
    assert facilitator.id in await counts.differing()
    assert await counts.count_due() == 0
    await shared_database.execute(
        "UPDATE counted_facilitators SET counted_at = counted_at - interval '8 days' WHERE facilitator_id = $1",
        facilitator.id,
    )
    assert await counts.count_due() == 1
    assert facilitator.id not in await counts.differing()


async def test_counts_are_right_after_concurrent_bookings_and_counts(
    pool: Database, counts: FacilitatorCounts, facilitator: User
) -> None:
    """Bookings and cancellations of several events, with two workers that add up and count."""
    adapters = in_postgres(pool)
    events = [await adapters.event(facilitator=facilitator, price=inr(0), capacity=50) for _ in range(3)]
    people = [await adapters.person() for _ in range(10)]
    working = True

    async def visit(event: Event, person: User) -> None:
        reserved = await adapters.booked(event, person)
        if person.id % 2:
            async with adapters.changing() as work:
                await work.events.get(event.id)
                booking = await work.bookings.get(reserved.id)
                await work.bookings.save(booking.cancelled(NOW, event_starts_at=NOW + DAY, by=person.id))

    async def work() -> None:
        while working:
            await FacilitatorCounts(pool, batch=2).add_up()
            await counts.count(facilitator.id)

    workers = [asyncio.create_task(work()) for _ in range(2)]
    await asyncio.gather(*(visit(event, person) for event in events for person in people))
    working = False
    await asyncio.gather(*workers)
    kept, counted = await figures(pool, facilitator.id)
    assert kept == counted
    assert kept["total_bookings"] == 3 * len([person for person in people if person.id % 2 == 0])


async def test_count_in_two_statements_loses_a_booking(
    pool: Database, facilitator: User, shared_database: asyncpg.Connection
) -> None:
    """Negative control of the one statement that counts and deletes the changes that it has counted."""
    adapters, counts = in_postgres(pool), FacilitatorCounts(pool)
    event = await adapters.event(facilitator=facilitator)
    await adapters.booked(event)
    counted = await shared_database.fetchval("SELECT count(*) FROM bookings WHERE event_id = $1", event.id)
    await adapters.booked(event)
    await counts.count(facilitator.id)
    await shared_database.execute(
        "UPDATE facilitator_counts SET bookings = $2 WHERE facilitator_id = $1 AND bookings > 0",
        facilitator.id,
        counted,
    )
    assert facilitator.id in await counts.differing()


BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def added_up_and_counted(
    pool: Database, facilitator: UserId, dsn: str, database: asyncpg.Connection
) -> tuple[int | BaseException, BaseException | None]:
    """One worker adds up and waits for a change that is locked; meanwhile another one counts the facilitator."""
    counts = FacilitatorCounts(pool)
    holder = await asyncpg.connect(dsn)
    try:
        await counts.count(facilitator)
        await in_postgres(pool).booked(
            await in_postgres(pool).event(facilitator=await user(pool, facilitator), price=inr(0))
        )
        held = holder.transaction()
        await held.start()
        await holder.execute(
            "SELECT FROM facilitator_count_changes WHERE facilitator_id = $1 AND bookings = 1 FOR UPDATE", facilitator
        )
        adding = asyncio.create_task(counts.add_up())
        await until(lambda: blocked(database, 1))
        counting = asyncio.create_task(counts.count(facilitator))
        await until(lambda: blocked(database, 2))
        await held.rollback()
        return await asyncio.gather(adding, counting, return_exceptions=True)
    finally:
        await holder.close()


async def blocked(database: asyncpg.Connection, number: int) -> bool:
    return bool(await database.fetchval(BLOCKED) >= number)


async def user(pool: Database, user_id: UserId) -> User:
    async with in_postgres(pool).open_work() as work:
        return await work.users.get(user_id)


async def test_count_waits_until_changes_are_added_up(
    pool: Database, facilitator: User, shared_database_url: str, shared_database: asyncpg.Connection
) -> None:
    await in_postgres(pool).event(facilitator=facilitator)
    ended = await added_up_and_counted(pool, facilitator.id, shared_database_url, shared_database)
    assert [each for each in ended if isinstance(each, BaseException)] == []
    kept, counted = await figures(pool, facilitator.id)
    assert kept == counted


# Takes 2 s: PostgreSQL looks for a deadlock after one second.
async def test_without_the_lock_a_count_and_an_addition_deadlock(
    pool: Database,
    facilitator: User,
    shared_database_url: str,
    shared_database: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Negative control of the lock between workers."""
    monkeypatch.setattr(facilitator_counts, "_LOCK", "SELECT true")
    monkeypatch.setattr(facilitator_counts, "_TRY_LOCK", "SELECT true")
    await in_postgres(pool).event(facilitator=facilitator)
    ended = await added_up_and_counted(pool, facilitator.id, shared_database_url, shared_database)
    assert [each for each in ended if isinstance(each, BaseException)]
