"""The migrations build what `tables` says, and the statements do what the domain says."""

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from application.bookings.ports import BookingFilter, BookingView, ReservedBooking
from application.events.ports import EventFilter
from application.ports import Page, PageRequest
from domain.accounts import UserId
from domain.errors import DomainError
from domain.events import EventId
from domain.payments import hold_end
from infrastructure.embedded import EmbeddedPostgres
from infrastructure.postgres import migrations
from infrastructure.postgres.bookings.seats import PostgresSeatInventory
from infrastructure.postgres.engine import Database
from infrastructure.postgres.events.queries import PostgresBookingQueries, PostgresEventQueries
from infrastructure.postgres.schema_version import SCHEMA_VERSION
from infrastructure.postgres.tables import metadata
from tests.support.databases import a_database
from tests.support.process_harness import LONG_RUN
from tests.support.processes import server_environ

# Migrations


@pytest.fixture
async def bare_database(postgres: EmbeddedPostgres) -> str:
    return await a_database(postgres, template="template1")


async def tables_in(dsn: str) -> set[str]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    return {row["tablename"] for row in rows}


async def mismatches(dsn: str) -> list[Any]:
    def compare(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": False}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    engine = create_async_engine(make_url(dsn).set(drivername="postgresql+asyncpg"))
    async with engine.connect() as connection:
        found = await connection.run_sync(compare)
    await engine.dispose()
    return found


async def test_migrations_upgrade_downgrade_and_upgrade_again(bare_database: str) -> None:
    for _ in range(2):
        await asyncio.to_thread(migrations.upgrade, bare_database)
        assert await tables_in(bare_database) == set(metadata.tables) | {"alembic_version"}
        assert await mismatches(bare_database) == []
        await asyncio.to_thread(migrations.downgrade, bare_database, "base")
        assert await tables_in(bare_database) == {"alembic_version"}


async def test_repeated_migration_changes_nothing(bare_database: str) -> None:
    await asyncio.to_thread(migrations.upgrade, bare_database)
    assert (await SCHEMA_VERSION.fit_of(bare_database)).sentence is None
    await asyncio.to_thread(migrations.upgrade, bare_database)
    assert await mismatches(bare_database) == []


async def test_four_processes_can_migrate_concurrently(bare_database: str, tmp_path: Path) -> None:
    environ = server_environ(bare_database, "redis://127.0.0.1:1", tmp_path)
    migrate = (sys.executable, "-P", "-m", "interfaces.cli", "migrate")
    started = [await asyncio.create_subprocess_exec(*migrate, env=environ) for _ in range(4)]
    assert [await process.wait() for process in started] == [0, 0, 0, 0]
    assert (await SCHEMA_VERSION.fit_of(bare_database)).sentence is None
    assert await mismatches(bare_database) == []


async def test_each_step_upgrades_and_downgrades(bare_database: str) -> None:
    await asyncio.to_thread(migrations.upgrade, bare_database)
    for _ in range(2):
        await asyncio.to_thread(migrations.downgrade, bare_database, "-1")
        await asyncio.to_thread(migrations.upgrade, bare_database)
    assert await mismatches(bare_database) == []


# What the database refuses by itself


async def make_event(database: asyncpg.Connection, facilitator_id: int, **columns: Any) -> int:
    values = {
        "facilitator_id": facilitator_id,
        "title": "Yoga",
        "description": "",
        "event_type": "session",
        "starts_at": datetime.now(UTC) + timedelta(days=1),
        "ends_at": datetime.now(UTC) + timedelta(days=2),
        "capacity": 2,
        "price": 0,
        "currency": "INR",
    } | columns
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    statement = f"INSERT INTO events ({', '.join(values)}) VALUES ({places}) RETURNING id"
    event_id: int = await database.fetchval(statement, *values.values())
    return event_id


async def make_user(database: asyncpg.Connection, email: str) -> int:
    user_id: int = await database.fetchval(
        "INSERT INTO users (email, name, role) VALUES ($1, 'Ada', 'user') RETURNING id", email
    )
    return user_id


async def make_booking(database: asyncpg.Connection, event_id: int, user_id: int, **columns: Any) -> None:
    values = {"event_id": event_id, "user_id": user_id, "status": "confirmed", "payment_status": "pending"} | columns
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    statement = f"INSERT INTO bookings (created_at, {', '.join(values)}) VALUES (now(), {places})"
    await database.execute(statement, *values.values())


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"booked": 3}, "ck_events_never_oversold"),
        ({"booked": -1}, "ck_events_never_oversold"),
        ({"capacity": 0}, "ck_events_capacity"),
        ({"price": -1}, "ck_events_price"),
        ({"event_type": "party"}, "ck_events_event_type"),
        ({"status": "lost"}, "ck_events_status"),
        ({"ends_at": datetime(2001, 1, 1, tzinfo=UTC)}, "ck_events_interval"),
        ({"facilitator_id": 2**40}, "fk_events_facilitator_id_users"),
    ],
)
async def test_database_rejects_an_invalid_event(
    shared_database: asyncpg.Connection, columns: dict[str, Any], constraint: str
) -> None:
    facilitator_id = await make_user(shared_database, f"{constraint}{columns}@example.com")
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await make_event(shared_database, **{"facilitator_id": facilitator_id} | columns)
    assert refused.value.constraint_name == constraint


async def test_database_rejects_a_second_active_booking(shared_database: asyncpg.Connection) -> None:
    user_id = await make_user(shared_database, "twice@example.com")
    event_id = await make_event(shared_database, user_id)
    await make_booking(shared_database, event_id, user_id, status="cancelled", cancelled_at=datetime.now(UTC))
    await make_booking(shared_database, event_id, user_id)
    for status in ("confirmed", "completed"):
        with pytest.raises(asyncpg.UniqueViolationError) as refused:
            await make_booking(shared_database, event_id, user_id, status=status)
        assert refused.value.constraint_name == "uq_bookings_one_live_place"


# The booking statement and the domain's rule


@pytest.fixture
async def seats(database_url: str) -> AsyncIterator[PostgresSeatInventory]:
    pool = Database(database_url)
    yield PostgresSeatInventory(pool, gateway="offline")
    await pool.close()


@pytest.fixture
async def asker(database: asyncpg.Connection) -> int:
    return await make_user(database, "asks@example.com")


HOLD = timedelta(minutes=30)
STATES: dict[str, tuple[Any, ...]] = {
    "capacity": (1, 3),
    "free": (0, 1),
    "status": ("active", "cancelled"),
    "microseconds_ahead": (-86_400_000_000, 0, 1, 86_400_000_000),
    "mine": (None, "confirmed", "completed", "cancelled"),
    "offered": ("yes", "deleted", "facilitator deactivated", "facilitator deactivated meanwhile"),
    "price": (0, 25),
}


ADMITTED = {
    "free": (1,),
    "status": ("active",),
    "microseconds_ahead": (1, 86_400_000_000),
    "mine": (None, "cancelled"),
    "offered": ("yes",),
}


def states() -> Iterator[dict[str, Any]]:
    """Of an event, its facilitator and the person who asks. In a usual run those with at most one reason against a
    booking, and those with two for one capacity and price; with `LONG_RUN` all 1,024."""
    for values in itertools.product(*STATES.values()):
        state = dict(zip(STATES, values, strict=True))
        reasons = sum(state[name] not in admitted for name, admitted in ADMITTED.items())
        if LONG_RUN or reasons < 2 or (reasons == 2 and state["capacity"] == 3 and state["price"]):
            yield state


async def test_reservation_statement_reserves_exactly_when_the_domain_allows_it(
    database: asyncpg.Connection, seats: PostgresSeatInventory, asker: int
) -> None:
    now = datetime(2026, 12, 1, 12, tzinfo=UTC)
    facilitator = await make_user(database, "facilitates@example.com")
    seen = []
    for state in states():
        event_id = await arrange(database, asker, facilitator, state, now)
        expected = await would_be_given(seats, event_id, asker, now)
        reserved = await seats.reserve(
            event_id=EventId(event_id),
            user_id=UserId(asker),
            notes=None,
            now=now,
            hold_for=HOLD,
            request_id=None,
        )
        assert (reserved is not None) == expected, state
        if reserved is not None:
            await agreed(database, reserved, state, now)
        booked = await database.fetchval("SELECT booked FROM events WHERE id = $1", event_id)
        assert booked == state["capacity"] - state["free"] + expected, state
        seen.append(expected)
    assert (len(seen), sum(seen)) == (1024 if LONG_RUN else 200, 16)


async def agreed(database: asyncpg.Connection, reserved: ReservedBooking, state: dict[str, Any], now: datetime) -> None:
    """The statement stores what the domain says of a hold, and the terms of the event as they are."""
    row = await database.fetchrow(
        """SELECT b.hold_until, b.price = e.price AND b.currency = e.currency AND b.refund_policy = e.refund_policy
                  AND b.schedule_revision = e.schedule_revision AS same, e.starts_at
           FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.id = $1""",
        reserved.id,
    )
    assert row is not None
    held = hold_end(now, HOLD, starts_at=row["starts_at"]) if state["price"] else None
    assert (row["hold_until"], reserved.hold_until, row["same"]) == (held, held, True), state


async def arrange(
    database: asyncpg.Connection, asker: int, facilitator: int, state: dict[str, Any], now: datetime
) -> int:
    """An event in this state."""
    await database.execute(
        "UPDATE users SET is_active = $2 WHERE id = $1", facilitator, state["offered"] != "facilitator deactivated"
    )
    starts_at = now + timedelta(microseconds=state["microseconds_ahead"])
    event_id = await make_event(
        database,
        facilitator,
        capacity=state["capacity"],
        booked=state["capacity"] - state["free"],
        status=state["status"],
        price=state["price"],
        starts_at=starts_at,
        ends_at=starts_at + timedelta(hours=1),
        hidden_at=now if state["offered"] == "deleted" else None,
        facilitator_active=state["offered"] != "facilitator deactivated meanwhile",
    )
    if state["mine"]:
        cancelled_at = now if state["mine"] == "cancelled" else None
        await make_booking(database, event_id, asker, status=state["mine"], cancelled_at=cancelled_at)
    return event_id


async def would_be_given(seats: PostgresSeatInventory, event_id: int, user_id: int, now: datetime) -> bool:
    found = await seats.find_event(EventId(event_id), UserId(user_id))
    if found is None:
        return False
    event, already_booked = found
    try:
        event.refuse_booking(now, already_booked=already_booked)
    except DomainError:
        return False
    return True


# One query a page


class WatchedDatabase(Database):
    """Remembers the statements that went through it."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.statements: list[str] = []

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        async with super().connection() as connection:
            with connection.query_logger(lambda said: self.statements.append(said.query)):
                yield connection


async def _bookings_of(queries: PostgresBookingQueries, event_id: EventId) -> Page[BookingView]:
    _, page = await queries.of_event(event_id, PageRequest())
    return page


@pytest.mark.parametrize("rows", [1, 20])
async def test_list_is_one_query_of_any_length(
    database: asyncpg.Connection, database_url: str, asker: int, rows: int
) -> None:
    events = [await make_event(database, asker) for _ in range(rows)]
    for number, event_id in enumerate(events):
        await make_booking(database, event_id, asker)
        await make_booking(database, events[0], await make_user(database, f"{number}@example.com"))
    watched = WatchedDatabase(database_url)
    event_queries, booking_queries = PostgresEventQueries(watched), PostgresBookingQueries(watched)
    page, user_id = PageRequest(), UserId(asker)
    reads: list[tuple[Awaitable[Page[Any]], int]] = [
        (event_queries.list(EventFilter(), page, datetime.now(UTC)), rows),
        (event_queries.list_of_facilitator(user_id, page), rows),
        (booking_queries.list_of_user(user_id, BookingFilter(), page), rows),
        (_bookings_of(booking_queries, EventId(events[0])), rows + 1),
    ]
    for read, least in reads:
        watched.statements.clear()
        assert len((await read).items) == least
        assert len(watched.statements) == 1
    await watched.close()
