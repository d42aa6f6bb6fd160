"""The audit log in PostgreSQL: late commits, several workers, triggers, and requests over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest

from application.audit.chain import VerifyAuditChain
from application.audit.ports import new_trails
from domain.audit import AuditAction, Audited, AuditedKind
from infrastructure.postgres.audit.chain import PostgresAuditChain
from infrastructure.postgres.audit.writer import write_on
from infrastructure.postgres.engine import Database
from servicekit.database import Connection
from tests.support.people import People, event

WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE '%pg_snapshot_xmin%' AND pid <> pg_backend_pid()
"""
CHANGED = Audited(AuditedKind.ACCOUNT, "1")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Database]:
    pool = Database(database_url)
    yield pool
    await pool.close()


async def record(connection: Connection) -> None:
    trail = new_trails(b"key")()
    trail.record(AuditAction.ROLE_CHANGED, CHANGED)
    await write_on(connection, trail)


@asynccontextmanager
async def late_commit(pool: Database) -> AsyncIterator[None]:
    """A transaction that has drawn the first id commits last."""
    async with pool.connection() as slow, slow.transaction():
        await record(slow)
        async with pool.connection() as quick:
            await record(quick)
        yield


async def unchained(database: asyncpg.Connection) -> int:
    found: int = await database.fetchval("SELECT count(*) FROM audit_log WHERE hash IS NULL")
    return found


class Impatient(PostgresAuditChain):
    """Negative control: does not wait for transactions in progress."""

    async def _all_before_have_ended(self, connection: Connection) -> bool:
        return True


async def test_entry_that_is_committed_late_is_chained_in_its_place(
    pool: Database, database: asyncpg.Connection
) -> None:
    chain = PostgresAuditChain(pool, patience=0)
    async with late_commit(pool):
        assert await chain.extend(limit=10) == 0
    assert await chain.extend(limit=10) == 2
    assert await unchained(database) == 0
    assert (await VerifyAuditChain(chain)()).broken is None


async def test_without_the_wait_an_entry_would_be_skipped(pool: Database, database: asyncpg.Connection) -> None:
    chain = Impatient(pool)
    async with late_commit(pool):
        assert await chain.extend(limit=10) == 1
    assert await chain.extend(limit=10) == 0
    assert await unchained(database) == 1
    assert (await VerifyAuditChain(chain)()).broken is not None


async def test_late_transaction_is_waited_for(pool: Database) -> None:
    chain = PostgresAuditChain(pool, patience=3)
    async with late_commit(pool):
        waiting = asyncio.create_task(chain.extend(limit=10))
        async with pool.connection() as connection:
            while not await connection.fetchval(WAITING):  # noqa: ASYNC110 (a state of the server)
                await asyncio.sleep(0.01)
        assert not waiting.done()
    assert await waiting == 2


async def test_workers_chain_each_entry_once(pool: Database) -> None:
    chains = [PostgresAuditChain(pool), PostgresAuditChain(pool)]
    async with pool.connection() as connection:
        for _ in range(20):
            await record(connection)
    for _ in range(5):
        await asyncio.gather(*(chain.extend(limit=4) for chain in chains))
        async with pool.connection() as connection:
            await record(connection)
    while await chains[0].extend(limit=100):
        pass
    found = await VerifyAuditChain(chains[1])()
    assert (found.entries, found.broken) == (25, None)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor_id = '2'",
        "UPDATE audit_log SET hash = 'another'",
        "UPDATE audit_log SET hash = NULL",
        "DELETE FROM audit_log",
    ],
)
async def test_database_refuses_changes_of_entries(
    pool: Database, database: asyncpg.Connection, statement: str
) -> None:
    chain = PostgresAuditChain(pool)
    async with pool.connection() as connection:
        await record(connection)
    await chain.extend(limit=10)
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await database.execute(statement)
    assert (await VerifyAuditChain(chain)()).broken is None


async def test_requests_are_recorded_with_account_network_and_request(
    shared_api: httpx.AsyncClient, shared_people: People, emptied_database: asyncpg.Connection
) -> None:
    person = await shared_people.facilitator()
    created = await person.post("/events", event())
    failed = await shared_api.post("/auth/login", json={"email": person.email, "password": "a wrong one"})
    assert (created.status_code, failed.status_code) == (201, 401)
    entries = await emptied_database.fetch(
        """SELECT action, actor_kind, actor_id, request_id, network FROM audit_log
           WHERE request_id IS NOT NULL ORDER BY id"""
    )
    assert [entry[:4] for entry in map(tuple, entries)] == [
        ("event.created", "account", str(person.id), created.headers["x-request-id"]),
        ("login.failed", "anonymous", None, failed.headers["x-request-id"]),
    ]
    [network] = {entry["network"] for entry in entries}
    assert "127.0.0.1" not in network
