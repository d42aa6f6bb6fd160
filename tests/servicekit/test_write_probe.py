"""The write probe: it tells a database that accepts writes from one that can only be read."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest

from infrastructure.embedded import EmbeddedPostgres
from servicekit.database import ConnectionPool, Timeouts
from servicekit.write_probe import WriteProbe

_numbers = count(1)


class Outage(Exception):
    pass


@pytest.fixture
async def pool(postgres: EmbeddedPostgres) -> AsyncIterator[ConnectionPool]:
    name = f"probe_{next(_numbers)}"
    postgres.execute(f"CREATE DATABASE {name} OWNER convene")
    pool = ConnectionPool(postgres.dsn(name), size=4, unavailable=Outage, server_settings={}, timeouts=Timeouts(30))
    async with pool.connection() as connection:
        await connection.execute("CREATE TABLE version (version_num varchar(32) PRIMARY KEY)")
        await connection.execute("INSERT INTO version VALUES ('0001')")
    yield pool
    await pool.close()


def probe(pool: ConnectionPool, *, every: float = 0) -> WriteProbe:
    return WriteProbe(pool.connection, "version", unavailable=Outage, every=every)


async def test_read_only_database_does_not_accept_writes(pool: ConnectionPool) -> None:
    async with pool.connection() as connection:
        name = await connection.fetchval("SELECT current_database()")
        assert await probe(pool).succeeds()
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await pool.close()  # the setting holds for new sessions
    assert await pool.answers()
    assert not await probe(pool).succeeds()


async def test_unreachable_database_and_one_without_tables_do_not_accept_writes(pool: ConnectionPool) -> None:
    async with pool.connection() as connection:
        await connection.execute("DROP TABLE version")
    assert not await probe(pool).succeeds()
    nowhere = ConnectionPool(
        "postgresql://convene@127.0.0.1:1/none", size=1, unavailable=Outage, server_settings={}, timeouts=Timeouts(1)
    )
    assert not await probe(nowhere).succeeds()


async def test_probes_of_concurrent_callers_are_one_write(pool: ConnectionPool) -> None:
    async with pool.connection() as connection:
        before = await connection.fetchval("SELECT xmin::text::bigint FROM version")
        shared = probe(pool, every=3600)
        assert all(await asyncio.gather(*(shared.succeeds() for _ in range(20))))
        once = await connection.fetchval("SELECT xmin::text::bigint FROM version")
        assert all(await asyncio.gather(*(shared.succeeds() for _ in range(20))))
        assert await connection.fetchval("SELECT xmin::text::bigint FROM version") == once > before


async def test_table_and_index_do_not_grow(pool: ConnectionPool) -> None:
    tried = probe(pool)
    for _ in range(500):
        assert await tried.succeeds()
    async with pool.connection() as connection:
        [sizes] = await connection.fetch(
            "SELECT pg_relation_size('version') AS table, pg_relation_size('version_pkey') AS index"
        )
    assert dict(sizes) == {"table": 8192, "index": 2 * 8192}


async def test_row_that_a_migration_holds_is_not_waited_for(pool: ConnectionPool) -> None:
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("UPDATE version SET version_num = '0002'")
        async with asyncio.timeout(20):
            assert await probe(pool).succeeds()
