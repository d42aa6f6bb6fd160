"""A CRM whose database was restored to an earlier state gets again what it had received since then."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from application.outbox.delivery import DeliverMessages
from domain.outbox import Destination, RetrySchedule
from infrastructure.delivery.crm import CrmSender
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox import replays
from infrastructure.postgres.outbox.circuit_breakers import PostgresCircuitBreakers
from infrastructure.postgres.outbox.claims import PostgresOutboxClaims
from tests.crm.parts import TOKEN, connected
from tests.support.command import bare_environ, convene_here
from tests.support.messages import add_message, deliver_due, until

TABLES = ("facilitators", "notifications", "facilitator_events", "crm_bookings", "crm_booking_deliveries")
STATE = """SELECT id, title, starts_at, bookings_count, max_participants, is_active, version FROM facilitator_events
    ORDER BY id"""


@pytest.fixture
async def deliver(shared_database_url: str, _served_crm: httpx.AsyncClient) -> AsyncIterator[Callable[[], Any]]:
    """Delivers what is due for the CRM."""
    database = Database(shared_database_url)
    sender = CrmSender(str(_served_crm.base_url), TOKEN)
    due = DeliverMessages(
        PostgresOutboxClaims(database),
        PostgresCircuitBreakers(database),
        {Destination.CRM: sender},
        RetrySchedule((timedelta(0),)),
    )

    async def deliver() -> None:
        await deliver_due(due, Destination.CRM)

    yield deliver
    await sender.close()
    await database.close()


async def snapshot(crm: asyncpg.Connection) -> dict[str, bytes]:
    copies = {}
    for table in TABLES:
        copy = io.BytesIO()
        await crm.copy_from_table(table, output=copy, format="binary")
        copies[table] = copy.getvalue()
    return copies


async def restore(crm: asyncpg.Connection, copies: dict[str, bytes]) -> None:
    await crm.execute(f"TRUNCATE {', '.join(TABLES)}")
    for table, copy in copies.items():
        await crm.copy_to_table(table, source=io.BytesIO(copy), format="binary")


async def received(crm: asyncpg.Connection) -> list[UUID]:
    """The ids of the messages in the order of their arrival."""
    return [UUID(row["message_id"]) for row in await crm.fetch("SELECT message_id FROM notifications ORDER BY id")]


async def happens(database: asyncpg.Connection, numbers: range) -> list[list[UUID]]:
    """Three messages for each booking, in the order of their ordering key."""
    actions = ("booking_created", "booking_confirmed", "booking_cancelled")
    return [
        [
            await add_message(
                database,
                ordering_key=f"booking:{number}",
                message_type=action,
                booking={"id": number, "reference": f"BK2026{number:06}"},
                event={"id": 100 + number % 2, "version": 10 * number + version, "booked": number % 5},
            )
            for version, action in enumerate(actions)
        ]
        for number in numbers
    ]


async def test_restored_crm_misses_nothing_after_a_replay(
    emptied_database: asyncpg.Connection,
    shared_database_url: str,
    crm: httpx.AsyncClient,
    crm_dsn: str,
    deliver: Callable[[], Awaitable[None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replays, "_AT_ONCE", 4)
    earlier = await happens(emptied_database, range(1, 4))
    await deliver()
    async with connected(crm_dsn) as connection:
        hour_ago, since = await snapshot(connection), await connection.fetchval("SELECT now()")
        later = await happens(emptied_database, range(4, 10))
        await deliver()
        events = await connection.fetch(STATE)
        await restore(connection, hour_ago)
        # A message of a replayed booking that has not been delivered yet.
        newest = await add_message(
            emptied_database,
            ordering_key="booking:4",
            message_type="booking_refunded",
            event={"id": 100, "version": 40},
            money={"amount": "5.0000", "currency": "INR"},
        )
        assert set(await received(connection)) == {each for ids in earlier for each in ids}

        for _ in range(2):  # the CRM stores each message once
            said = await replay(shared_database_url, tmp_path, since)
            assert said == "18 messages will be sent again, 1000 a second\n"
            await until(lambda: drained(emptied_database, deliver))
            arrived = await received(connection)
            assert sorted(arrived) == sorted([each for ids in (*earlier, *later) for each in ids] + [newest])
            for ids in later:
                assert [each for each in arrived if each in ids] == ids
            assert arrived.index(newest) > arrived.index(later[0][-1])
            assert await connection.fetch(STATE) == events
            await emptied_database.execute("UPDATE outbox SET settled_at = '2020-01-01' WHERE id = $1", newest)


async def replay(url: str, directory: Path, since: datetime) -> str:
    command = ("outbox", "replay", "--destination", "crm", "--since", since.isoformat(), "--rate", "1000", "--no-wait")
    environ = bare_environ(DATABASE_URL=url, CONVENE_DATA=str(directory))
    done = await asyncio.to_thread(convene_here, *command, cwd=directory, environ=environ)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


async def drained(database: asyncpg.Connection, deliver: Callable[[], Awaitable[None]]) -> bool:
    await deliver()
    assert await database.fetchval("SELECT count(*) FROM outbox WHERE status = 'dead'") == 0
    return not await database.fetchval("SELECT count(*) FROM outbox WHERE status = 'pending'")
