"""Wake-ups between API and worker, with a Redis that stops and restarts."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from infrastructure.embedded import EmbeddedRedis
from infrastructure.redis.wake_ups import QUEUE, WAKE, RedisWakeUps, connect
from interfaces.workers.arq_worker import ArqWorker
from servicekit.tasks import cancel
from tests.support.messages import until
from tests.support.servers import running_redis


@pytest.fixture
def redis() -> Iterator[EmbeddedRedis]:
    with running_redis() as server:
        yield server


@pytest.fixture
async def wake_ups(redis: EmbeddedRedis) -> AsyncIterator[RedisWakeUps]:
    wake_ups = RedisWakeUps(redis.url, pause=0)
    yield wake_ups
    await wake_ups.close()


@pytest.fixture
async def woken(redis: EmbeddedRedis) -> AsyncIterator[asyncio.Event]:
    """Set whenever a worker receives a wake-up."""
    event = asyncio.Event()
    arq_worker = ArqWorker(lambda: connect(redis.url, seconds=5), event.set, job=WAKE, queue=QUEUE, back_off=0.05)
    listening = asyncio.create_task(arq_worker.run())
    await until(event.is_set)
    yield event
    await cancel([listening])


async def expect_wake_up(wake_ups: RedisWakeUps, woken: asyncio.Event) -> None:
    woken.clear()
    wake_ups.notify()
    await until(woken.is_set)


async def test_each_wake_up_reaches_the_worker(wake_ups: RedisWakeUps, woken: asyncio.Event) -> None:
    for _ in range(40):
        await expect_wake_up(wake_ups, woken)


async def test_closed_wake_ups_do_not_restart() -> None:
    """A task that outlives its request may notify after the process has closed its connections."""
    wake_ups = RedisWakeUps("redis://127.0.0.1:1")
    wake_ups.notify()
    await wake_ups.close()
    before = asyncio.all_tasks()
    wake_ups.notify()
    assert asyncio.all_tasks() == before


async def test_many_wake_ups_are_coalesced_and_an_unread_queue_stays_short(
    redis: EmbeddedRedis, wake_ups: RedisWakeUps
) -> None:
    for _ in range(50):
        for _ in range(50):
            wake_ups.notify()
        await asyncio.sleep(0.005)
    client = Redis.from_url(redis.url)
    assert 1 <= await client.zcard(QUEUE) <= 16
    await client.aclose()


async def test_wake_up_is_due_by_the_clock_of_every_worker(redis: EmbeddedRedis, wake_ups: RedisWakeUps) -> None:
    """arq runs a job when the time of its score has come on the machine of the worker."""
    wake_ups.notify()
    client = Redis.from_url(redis.url)
    await until(lambda: client.zcard(QUEUE))
    assert {score for _, score in await client.zrange(QUEUE, 0, -1, withscores=True)} == {1000}
    await client.aclose()


async def test_wake_ups_continue_after_a_restart_of_redis(
    redis: EmbeddedRedis, wake_ups: RedisWakeUps, woken: asyncio.Event
) -> None:
    await expect_wake_up(wake_ups, woken)
    redis.stop()
    for _ in range(20):
        wake_ups.notify()
        await asyncio.sleep(0.01)
    woken.clear()
    redis.start()
    await until(woken.is_set)
    await expect_wake_up(wake_ups, woken)


async def test_outage_is_logged_once(redis: EmbeddedRedis, wake_ups: RedisWakeUps) -> None:
    redis.stop()
    with capture_logs() as said:
        for _ in range(10):
            wake_ups.notify()
            await asyncio.sleep(0.02)
    assert [line["event"] for line in said] == ["redis_unavailable"], said


async def test_unresponsive_redis_blocks_no_caller() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    wake_ups = RedisWakeUps(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", seconds=0.1)
    for _ in range(5):
        wake_ups.notify()
        await asyncio.sleep(0.05)
    await wake_ups.close()
    server.close()
    await server.wait_closed()
