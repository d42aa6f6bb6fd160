"""PostgreSQL and Redis stopped during bookings: bookings are kept, deliveries continue, answers stay correct."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from redis.asyncio import Redis

from infrastructure.embedded import EmbeddedPostgres, EmbeddedRedis
from infrastructure.postgres import migrations
from tests.support.databases import TEMPLATE
from tests.support.faulty_worker import faulty_worker
from tests.support.messages import add_message, until
from tests.support.process_harness import LONG_RUN, BookingLoad, ProcessHarness, open_process_harness
from tests.support.processes import WORKER, ended_elsewhere, running_workers, server_environ
from tests.support.receivers import receiving
from tests.support.servers import free_port, running_postgres, running_redis

BACK_TO_NORMAL_SECONDS = 5
"""Promised, once the server takes connections again."""

ROUNDS = 10 if LONG_RUN else 1


@pytest.fixture(scope="module")
def own_redis() -> Iterator[EmbeddedRedis]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """As in production: what it acknowledges is on disk."""
    with running_postgres(TEMPLATE, durable=True) as server:
        migrations.upgrade(server.dsn(TEMPLATE))
        yield server


@pytest.fixture(scope="module")
async def system(
    own_postgres: EmbeddedPostgres, own_redis: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ProcessHarness]:
    directory = tmp_path_factory.mktemp("estate")
    async with open_process_harness(own_postgres, own_postgres.dsn(TEMPLATE), own_redis, directory, apis=2) as opened:
        yield opened


# Takes 10 s: without wake-ups the outbox is looked at every 2 s.
async def test_redis_flushed_stopped_and_restarted_loses_no_booking_or_delivery(
    system: ProcessHarness, own_redis: EmbeddedRedis
) -> None:
    booking_load = await system.booking_load()
    async with booking_load.coming():
        for _ in range(ROUNDS):
            await booking_load.more(10)
            await _flush(own_redis)
            await booking_load.more(10)
            own_redis.stop()
            before = len(system.crm.requests)
            await booking_load.more(20)
            # By polling the outbox, without wake-ups.
            await until(lambda before=before: len(system.crm.requests) > before + 10)  # type: ignore[misc]
            own_redis.start()
            await booking_load.more(20)
    assert booking_load.unavailable_answers == 0
    await system.until_delivered()
    await system.assert_sound(booking_load)


# Takes 5 s: the outbox is looked at every 2 s.
async def test_without_wake_ups_a_worker_polls_the_outbox(
    database: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    async with _without_wake_ups(WORKER, database_url, tmp_path):
        for _ in range(3):
            message_id = await add_message(database)
            await until(lambda message_id=message_id: _is_delivered(database, message_id))  # type: ignore[misc]


# Takes 6 s: two of the looks that are not taken are 2 s apart.
async def test_without_polling_messages_without_wake_up_stay(
    database: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    """Negative control."""
    async with _without_wake_ups(faulty_worker(no_polling=True), database_url, tmp_path):
        first = await add_message(database)
        await until(lambda: _is_delivered(database, first))  # by the look it takes when it starts

        async def is_left() -> bool:
            """One that has just delivered looks once more; by the end of this, one that looks has done so twice."""
            await asyncio.sleep(0.5)
            message_id = await add_message(database)
            await asyncio.sleep(4.1)
            return not await _is_delivered(database, message_id)

        await until(is_left)


@contextlib.asynccontextmanager
async def _without_wake_ups(worker: Sequence[str], database_url: str, directory: Path) -> AsyncIterator[None]:
    """A worker whose Redis is not there."""
    async with receiving() as crm, ended_elsewhere() as running:
        redis_url = f"redis://127.0.0.1:{free_port()}"
        environ = server_environ(database_url, redis_url, directory, crm_service_url=crm.url)
        running.enter_context(running_workers(1, environ, directory, worker))
        yield


async def _is_delivered(database: asyncpg.Connection, message_id: UUID) -> bool:
    return bool(await database.fetchval("SELECT status = 'delivered' FROM outbox WHERE id = $1", message_id))


async def _flush(redis: EmbeddedRedis) -> None:
    client = Redis.from_url(redis.url)
    await client.flushall()
    await client.aclose()


def end(postgres: EmbeddedPostgres, number: signal.Signals) -> None:
    """SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one; SIGKILL takes the postmaster alone, as the
    kernel does when memory is short, and its children notice."""
    assert postgres.pid is not None
    os.kill(postgres.pid, number)


ENDS = {"killed": signal.SIGKILL} | ({"fast": signal.SIGINT, "immediate": signal.SIGQUIT} if LONG_RUN else {})
"""In a usual run the hardest alone: test_http_outages and test_deliver_worker stop PostgreSQL in the others' way."""


@pytest.mark.parametrize("number", ENDS.values(), ids=ENDS)
# Takes 10 s: bookings before, during and after the restart.
async def test_postgresql_restarted_under_load_returns_503_and_loses_nothing(
    system: ProcessHarness, own_postgres: EmbeddedPostgres, number: signal.Signals
) -> None:
    booking_load = await system.booking_load()
    async with booking_load.coming():
        for _ in range(ROUNDS):
            await _restarted(own_postgres, booking_load, number)
    await system.until_delivered()
    await system.assert_sound(booking_load)


async def _ended(postgres: EmbeddedPostgres, booking_load: BookingLoad, number: signal.Signals) -> None:
    await booking_load.more(50 if LONG_RUN else 20)
    end(postgres, number)
    await until(lambda: postgres.poll() is not None)


async def _restarted(postgres: EmbeddedPostgres, booking_load: BookingLoad, number: signal.Signals) -> None:
    await _ended(postgres, booking_load, number)
    unavailable_answers = booking_load.unavailable_answers
    await until(lambda: booking_load.unavailable_answers > unavailable_answers)
    postgres.start()
    await booking_load.more(10, seconds=BACK_TO_NORMAL_SECONDS)


async def _write_log_seldom(postgres: EmbeddedPostgres) -> None:
    """There is something to lose also when bookings come slowly; what was written before is kept."""
    superuser = await asyncpg.connect(postgres.superuser_dsn())
    await superuser.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    await superuser.execute("ALTER SYSTEM SET wal_writer_flush_after = '1GB'")
    await superuser.execute("SELECT pg_reload_conf()")
    await superuser.execute("CHECKPOINT")
    await superuser.close()


# Takes 7 s: a server and an API of its own.
async def test_without_synchronous_commit_bookings_are_lost(redis_url: str, tmp_path: Path) -> None:
    """Negative control: the same load, the same SIGKILL, and a server without synchronous commit."""
    with running_postgres(TEMPLATE) as asynchronous:
        await asyncio.to_thread(migrations.upgrade, asynchronous.dsn(TEMPLATE))
        async with open_process_harness(
            asynchronous, asynchronous.dsn(TEMPLATE), redis_url, tmp_path, workers=0
        ) as system:
            booking_load = await system.booking_load()
            await _write_log_seldom(asynchronous)
            async with booking_load.coming(pause=0.02):
                await _ended(asynchronous, booking_load, signal.SIGKILL)
                acknowledged = frozenset(booking_load.acknowledged)
                # The ids of lost bookings are given away again, to the few who wait.
                asynchronous.start()
            async with system.records() as records:
                kept = {row["id"] for row in await records.fetch("SELECT id FROM bookings")}
            assert not acknowledged <= kept
