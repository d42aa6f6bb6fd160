"""PostgreSQL and Redis, taken away under people who book: bookings are kept, deliveries go on, nobody is told a lie."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from infrastructure.database import migrations
from infrastructure.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.support.databases import TEMPLATE
from tests.support.estate import LONG_RUN, Estate, Visitors, open_estate
from tests.support.messages import until
from tests.support.servers import running_postgres, running_redis

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
async def estate(
    own_postgres: EmbeddedPostgres, own_redis: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Estate]:
    directory = tmp_path_factory.mktemp("estate")
    async with open_estate(own_postgres, own_postgres.dsn(TEMPLATE), own_redis, directory, apis=2) as opened:
        yield opened


async def test_redis_emptied_stopped_and_restarted_empty_costs_no_booking_and_no_delivery(
    estate: Estate, own_redis: EmbeddedRedis
) -> None:
    visitors = await estate.visitors()
    async with visitors.coming():
        for _ in range(ROUNDS):
            await visitors.more(10)
            await _flush(own_redis)
            await visitors.more(10)
            own_redis.stop()
            told = len(estate.crm.requests)
            await visitors.more(20)
            # By looking into the table, while nothing rings.
            await until(lambda told=told: len(estate.crm.requests) > told + 10)  # type: ignore[misc]
            own_redis.start()
            await visitors.more(20)
    assert visitors.turned_away == 0
    await estate.owes_nothing()
    await estate.assert_sound(visitors)


async def _flush(redis: EmbeddedRedis) -> None:
    client = Redis.from_url(redis.url)
    await client.flushall()
    await client.aclose()


def end(postgres: EmbeddedPostgres, number: signal.Signals) -> None:
    """SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one; SIGKILL takes the postmaster alone, as the
    kernel does when memory is short, and its children notice."""
    assert postgres.pid is not None
    os.kill(postgres.pid, number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=["fast", "immediate", "killed"])
async def test_postgresql_restarted_under_load_answers_503_for_a_while_and_loses_nothing(
    estate: Estate, own_postgres: EmbeddedPostgres, number: signal.Signals
) -> None:
    visitors = await estate.visitors()
    async with visitors.coming():
        for _ in range(ROUNDS):
            await _restarted(own_postgres, visitors, number)
    await estate.owes_nothing()
    await estate.assert_sound(visitors)


async def _restarted(postgres: EmbeddedPostgres, visitors: Visitors, number: signal.Signals) -> None:
    await visitors.more(50)
    end(postgres, number)
    await until(lambda: postgres.poll() is not None)
    turned_away = visitors.turned_away
    await until(lambda: visitors.turned_away > turned_away)
    postgres.start()
    await visitors.more(10, seconds=BACK_TO_NORMAL_SECONDS)


async def test_one_that_acknowledges_before_the_disk_has_it_does_lose_bookings(redis_url: str, tmp_path: Path) -> None:
    """The twin: the same load, the same SIGKILL, and a server that answers first and writes later."""
    with running_postgres(TEMPLATE) as forgetful:
        await asyncio.to_thread(migrations.upgrade, forgetful.dsn(TEMPLATE))
        async with open_estate(forgetful, forgetful.dsn(TEMPLATE), redis_url, tmp_path, workers=0) as estate:
            visitors = await estate.visitors()
            async with visitors.coming():
                await _restarted(forgetful, visitors, signal.SIGKILL)
            async with estate.records() as records:
                kept = {row["id"] for row in await records.fetch("SELECT id FROM bookings")}
            assert not visitors.acknowledged <= kept
