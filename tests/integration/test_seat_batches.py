"""Seats reserved together, beside other transactions and with faults. The control of a race has its guard removed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from application.bookings.ports import ReservedBooking
from domain.accounts import UserId
from domain.errors import Unavailable
from domain.events import EventId
from infrastructure.postgres.bookings.seat_batches import LOCK, PostgresSeatBatches
from infrastructure.postgres.bookings.seat_queues import QueuedSeatInventory, SeatAnswer, SeatRequest
from infrastructure.postgres.bookings.seats import PostgresSeatInventory
from infrastructure.postgres.engine import Database
from servicekit.database import Connection
from tests.support.load import many_users, some_events
from tests.support.messages import until

NO_LOCK = "SELECT $1::bigint"


@pytest.fixture
async def pool(shared_database_url: str) -> AsyncIterator[Database]:
    opened = Database(shared_database_url, timeout=30)  # for a busy machine
    yield opened
    await opened.close()


@pytest.fixture
async def records(shared_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(shared_database_url)
    yield connection
    await connection.close()


async def an_event(records: asyncpg.Connection, *, capacity: int) -> EventId:
    (facilitator,) = await many_users(records, 1, role="facilitator")
    return EventId((await some_events(records, facilitator.id, 1, capacity=capacity))[0])


async def people(records: asyncpg.Connection, number: int) -> list[UserId]:
    return [UserId(member.id) for member in await many_users(records, number)]


def asked(users: Sequence[UserId]) -> list[SeatRequest]:
    return [SeatRequest(user, None, datetime.now(UTC), None, "request") for user in users]


async def live(records: asyncpg.Connection, event: EventId) -> set[int]:
    rows = await records.fetch("SELECT user_id FROM bookings WHERE event_id = $1 AND status <> 'cancelled'", event)
    booked = await records.fetchval("SELECT booked FROM events WHERE id = $1", event)
    assert booked == len(rows)
    return {row["user_id"] for row in rows}


@contextlib.asynccontextmanager
async def event_locked(dsn: str, event: EventId) -> AsyncIterator[None]:
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM events WHERE id = $1 FOR UPDATE", event)
            yield
    finally:
        await connection.close()


async def waiting(records: asyncpg.Connection, number: int) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    async def are_waiting() -> bool:
        return bool(await records.fetchval(query) >= number)

    await until(are_waiting, 60)


# Races


@pytest.mark.parametrize("guarded", [True, False])
async def test_batches_of_two_processes_share_the_last_seats(
    pool: Database, records: asyncpg.Connection, shared_database_url: str, guarded: bool
) -> None:
    """Without the lock both count the free seats before the other has taken some: the CHECK refuses the second."""
    batches = PostgresSeatBatches(pool, gateway="offline", lock=LOCK if guarded else NO_LOCK)
    event, users = await an_event(records, capacity=5), await people(records, 8)
    async with event_locked(shared_database_url, event):
        both = [asyncio.create_task(batches.reserve_together(event, asked(part))) for part in (users[:4], users[4:])]
        await waiting(records, 2)
    answers = await asyncio.gather(*both, return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    if guarded:
        assert errors == []
        granted = [each for answer in answers for each in answer if each is not None]  # type: ignore[union-attr]
        assert len(granted) == len(await live(records, event)) == 5
    else:
        assert [type(error) for error in errors] == [asyncpg.CheckViolationError]


@pytest.mark.parametrize("guarded", [True, False])
async def test_batch_sees_what_was_booked_while_it_waited(
    pool: Database, records: asyncpg.Connection, shared_database_url: str, guarded: bool
) -> None:
    """A person books at two processes. Without the lock the second booking is refused by the unique index alone, and
    with it the batch."""
    batches = PostgresSeatBatches(pool, gateway="offline", lock=LOCK if guarded else NO_LOCK)
    event, users = await an_event(records, capacity=5), await people(records, 2)
    single = PostgresSeatInventory(pool, gateway="offline")
    async with event_locked(shared_database_url, event):
        first = asyncio.create_task(reserve(single, event, users[0]))
        await waiting(records, 1)
        second = asyncio.create_task(batches.reserve_together(event, asked(users)))
        await waiting(records, 2)
    assert isinstance(await first, ReservedBooking)
    if guarded:
        answers = await second
        assert answers[0] is None
        assert isinstance(answers[1], ReservedBooking)
    else:
        with pytest.raises(asyncpg.UniqueViolationError):
            await second


async def test_later_process_does_not_starve(
    pool: Database, records: asyncpg.Connection, shared_database_url: str
) -> None:
    """One process has many more requests than a batch; that of another one is served before the last of them."""
    event, users = await an_event(records, capacity=1000), await people(records, 301)
    async with _second_pool(shared_database_url) as other_pool:
        busy, other = queue(pool), queue(other_pool)
        async with event_locked(shared_database_url, event):
            requests = [asyncio.create_task(reserve(busy, event, user)) for user in users[1:]]
            await waiting(records, 1)
            late = asyncio.create_task(reserve(other, event, users[0]))
            await waiting(records, 2)
        answers = await asyncio.gather(late, *requests)
    ids = [answer.id for answer in answers if answer is not None]
    assert len(ids) == 301
    assert ids[0] < max(ids)
    # First come, first served within a process.
    assert ids[1:] == sorted(ids[1:])


# Faults


class UndividedBatches(PostgresSeatBatches):
    """Any error is the answer to all requests of the batch, as an outage is."""

    async def reserve_together(self, event_id: EventId, requests: Sequence[SeatRequest]) -> Sequence[SeatAnswer]:
        try:
            return await super().reserve_together(event_id, requests)
        except asyncpg.PostgresError as error:
            raise Unavailable from error


@pytest.mark.parametrize("guarded", [True, False])
async def test_error_of_one_request_is_answered_to_it_alone(
    pool: Database, records: asyncpg.Connection, shared_database_url: str, guarded: bool
) -> None:
    event, users = await an_event(records, capacity=10), await people(records, 4)
    unknown = UserId(10**9)
    asking = [*users[:2], unknown, *users[2:]]
    seats = queue(pool, PostgresSeatBatches if guarded else UndividedBatches)
    found = [type(each) for each in await while_locked(seats, records, shared_database_url, event, asking)]
    if guarded:
        reserved = [ReservedBooking] * 2
        assert found == [*reserved, asyncpg.ForeignKeyViolationError, *reserved]
        assert await live(records, event) == set(users)
    else:
        assert found == [ReservedBooking, *[Unavailable] * 4]
        assert await live(records, event) == {users[0]}


async def test_request_cancelled_in_a_batch_does_not_end_it(
    pool: Database, records: asyncpg.Connection, shared_database_url: str
) -> None:
    event, users = await an_event(records, capacity=10), await people(records, 4)
    seats = queue(pool)
    async with event_locked(shared_database_url, event):
        tasks = [asyncio.create_task(reserve(seats, event, user)) for user in users]
        await waiting(records, 1)
        tasks[0].cancel()  # the others go on together, and wait for the event's row
        await asyncio.wait(tasks[:1])
        await waiting(records, 1)
        tasks[2].cancel()
        await asyncio.wait(tasks[2:3])
    found = await asyncio.gather(tasks[1], tasks[3])
    assert all(isinstance(each, ReservedBooking) for each in found)
    assert {users[1], users[3]} <= await live(records, event)


class DyingBatches(PostgresSeatBatches):
    """The server ends the connection after the statement, before COMMIT."""

    def __init__(self, records: asyncpg.Connection, *args: Any, deaths: int, **about: Any) -> None:
        super().__init__(*args, **about)
        self._records = records
        self.left = deaths

    async def _reserved(self, connection: Connection, *about: Any) -> list[SeatAnswer]:
        rows = await super()._reserved(connection, *about)
        if self.left:
            self.left -= 1
            await self._records.fetchval("SELECT pg_terminate_backend($1, 10000)", connection.get_server_pid())
        return rows


@pytest.mark.parametrize("dies", [True, False])
async def test_connection_lost_before_the_commit_leaves_no_seat(
    pool: Database, records: asyncpg.Connection, shared_database_url: str, dies: bool
) -> None:
    """The control keeps the connection."""
    event, users = await an_event(records, capacity=10), await people(records, 5)
    batches = DyingBatches(records, pool, gateway="offline", deaths=int(dies))
    seats = QueuedSeatInventory(PostgresSeatInventory(pool, gateway="offline"), batches, seconds=30)
    found = [type(each) for each in await while_locked(seats, records, shared_database_url, event, users)]
    reserved = users[:1] if dies else users
    assert found == [ReservedBooking] * len(reserved) + [Unavailable] * (5 - len(reserved))
    assert await live(records, event) == set(reserved)
    messages = await records.fetchval(
        "SELECT count(*) FROM outbox WHERE (snapshot #>> '{event,id}')::bigint = $1 AND fact = 'booking_created'", event
    )
    assert messages == 3 * len(reserved)
    again = await asyncio.gather(*(reserve(seats, event, user) for user in users[1:]))
    assert all(isinstance(each, ReservedBooking) for each in again) is dies


class ConflictingBatches(PostgresSeatBatches):
    """The server reports a deadlock after the statement."""

    left = 1

    async def _reserved(self, connection: Connection, *about: Any) -> list[SeatAnswer]:
        rows = await super()._reserved(connection, *about)
        if self.left:
            self.left -= 1
            await connection.execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$")
        return rows


async def test_conflict_of_a_batch_is_repeated(pool: Database, records: asyncpg.Connection) -> None:
    event, users = await an_event(records, capacity=10), await people(records, 3)
    batches = ConflictingBatches(pool, gateway="offline")
    answers = await batches.reserve_together(event, asked(users))
    assert all(isinstance(answer, ReservedBooking) for answer in answers)
    assert (await live(records, event), batches.left) == (set(users), 0)


def queue(pool: Database, batches: type[PostgresSeatBatches] = PostgresSeatBatches) -> QueuedSeatInventory:
    return QueuedSeatInventory(
        PostgresSeatInventory(pool, gateway="offline"), batches(pool, gateway="offline"), seconds=30
    )


@contextlib.asynccontextmanager
async def _second_pool(dsn: str) -> AsyncIterator[Database]:
    opened = Database(dsn, timeout=30)
    try:
        yield opened
    finally:
        await opened.close()


async def reserve(
    seats: PostgresSeatInventory | QueuedSeatInventory, event: EventId, user: UserId
) -> ReservedBooking | None:
    return await seats.reserve(
        event_id=event, user_id=user, notes=None, now=datetime.now(UTC), hold_for=None, request_id="request"
    )


async def while_locked(
    seats: QueuedSeatInventory, records: asyncpg.Connection, dsn: str, event: EventId, users: Sequence[UserId]
) -> list[Any]:
    """The answers to requests that came while the first of them waited for the event's row."""
    async with event_locked(dsn, event):
        tasks = [asyncio.create_task(reserve(seats, event, user)) for user in users]
        await waiting(records, 1)
    return await asyncio.gather(*tasks, return_exceptions=True)
