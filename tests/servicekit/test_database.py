"""The pool of connections against a server that answers, hangs, stops and comes back."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import asyncpg
import pytest

from infrastructure.embedded import EmbeddedPostgres
from servicekit.database import ConnectionPool, Timeouts, is_unavailable
from tests.support.servers import running_postgres

DEFAULT = Timeouts()
_numbers = count(1)


class Outage(Exception):
    pass


@pytest.fixture
def dsn(postgres: EmbeddedPostgres) -> str:
    name = f"pool_{next(_numbers)}"
    postgres.execute(f"CREATE DATABASE {name} OWNER convene")
    return postgres.dsn(name)


def pool_of(dsn: str, size: int = 2, timeouts: Timeouts = DEFAULT) -> ConnectionPool:
    return ConnectionPool(dsn, size=size, unavailable=Outage, server_settings={}, timeouts=timeouts)


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[ConnectionPool]:
    pool = pool_of(dsn)
    yield pool
    await pool.close()


async def test_connection_has_the_session_settings(pool: ConnectionPool) -> None:
    async with pool.connection() as connection:
        assert await connection.fetchval("SHOW lock_timeout") == "3s"
        assert await connection.fetchval("SHOW TimeZone") == "UTC"
        assert pool.in_use == 1
    assert pool.in_use == 0
    assert await pool.answers()


async def test_every_wait_ends_with_the_timeout(dsn: str) -> None:
    pool = pool_of(dsn, timeouts=Timeouts(1))
    try:
        async with pool.connection() as connection:
            names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
            assert [await connection.fetchval(f"SHOW {name}") for name in names] == ["750ms", "1s", "2500ms"]
        with pytest.raises(Outage):
            async with pool.connection() as connection:
                await asyncio.sleep(60)
        with pytest.raises(Outage):
            async with pool.connection(seconds=60) as connection:
                await connection.execute("SELECT pg_sleep(60)")
    finally:
        await pool.close()


async def test_concurrent_first_uses_share_one_pool(pool: ConnectionPool) -> None:
    async def pid() -> int:
        async with pool.connection() as connection:
            found: int = await connection.fetchval("SELECT pg_backend_pid()")
            return found

    assert len(set(await asyncio.gather(*(pid() for _ in range(20))))) <= 2


async def test_waits_and_releases_are_reported(dsn: str) -> None:
    waits: list[float] = []
    in_use: list[int] = []
    watched = ConnectionPool(
        dsn,
        size=1,
        unavailable=Outage,
        server_settings={},
        timeouts=Timeouts(),
        waited=waits.append,
        released=lambda: in_use.append(watched.in_use),
    )
    for _ in range(3):
        async with watched.connection():
            pass
    await watched.close()
    assert len(waits) == 3
    assert in_use == [0, 0, 0]


async def test_without_a_free_connection_the_wait_ends_at_the_deadline(pool: ConnectionPool) -> None:
    async with pool.connection(), pool.connection():
        with pytest.raises(Outage):
            async with pool.connection(seconds=0.1):
                raise AssertionError
        assert not await pool.answers()


async def test_statement_past_the_deadline_closes_its_connection_only(pool: ConnectionPool) -> None:
    for _ in range(3):
        with pytest.raises(Outage):
            async with pool.connection(seconds=0.2) as connection:
                await connection.execute("SELECT pg_sleep(30)")
    assert await pool.answers()


async def test_errors_of_caller_and_code_are_not_outages(pool: ConnectionPool) -> None:
    for statement, argument, error in (
        ("SELECT 1 / $1::int", 0, asyncpg.DivisionByZeroError),
        ("SELECT $1::int", "text", asyncpg.DataError),
    ):
        with pytest.raises(error):
            async with pool.connection() as connection:
                await connection.fetchval(statement, argument)
    with pytest.raises(KeyError):
        async with pool.connection():
            raise KeyError
    assert pool.in_use == 0


async def test_unreachable_server_or_missing_database_is_an_outage(dsn: str) -> None:
    for address in ("postgresql://convene@127.0.0.1:9/none", dsn.replace("/pool_", "/absent_")):
        pool = pool_of(address)
        assert not await pool.answers()
        with pytest.raises(Outage) as outage:
            async with pool.connection():
                raise AssertionError
        assert is_unavailable(outage.value.__cause__)
        await pool.close()


async def test_restarted_server_is_used_again() -> None:
    with running_postgres("pool") as server:
        pool = pool_of(server.dsn("pool"))
        assert await pool.answers()
        server.stop()
        assert not await pool.answers()
        server.start()
        assert await pool.answers()
        await pool.close()
