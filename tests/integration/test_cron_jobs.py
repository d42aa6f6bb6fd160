"""Pruning as arq cron jobs over a real Redis: once over all workers, and again after Redis was unavailable."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest
from arq import cron
from arq.cron import CronJob
from redis.asyncio import Redis

from infrastructure import container
from infrastructure.embedded import EmbeddedRedis
from infrastructure.redis.wake_ups import QUEUE, WAKE, connect
from infrastructure.settings import Settings
from interfaces.workers import arq_worker
from interfaces.workers.arq_worker import ArqWorker
from interfaces.workers.main import periodic_tasks, pruning_tasks
from interfaces.workers.periodic_tasks import OVERDUE, PeriodicTask, PruningTask
from servicekit.tasks import cancel
from tests.support.load import many_users
from tests.support.messages import add_message, until
from tests.support.servers import running_redis

EVERY_SECOND = set(range(60))


@pytest.fixture
def redis() -> Iterator[EmbeddedRedis]:
    with running_redis() as server:
        yield server


class Runs:
    """The runs of a cron task over all workers, by the second for which arq planned them (ms since 1970)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        self.planned: list[int] = []
        self.job_ids: list[str] = []
        monkeypatch.setattr(arq_worker, "cron", partial(self._cron, changes))

    def most(self) -> int:
        """Of one planned time."""
        return max(Counter(self.planned).values())

    def _cron(self, changes: dict[str, Any], coroutine: Any, **options: Any) -> CronJob:
        async def run(ctx: dict[Any, Any], *_args: Any, **_kwargs: Any) -> None:
            await coroutine(ctx)
            name, _, planned = ctx["job_id"].rpartition(":")
            self.planned.append(int(planned) if name else ctx["score"])
            self.job_ids.append(ctx["job_id"])

        return cron(run, **(options | changes))


async def prune_nothing(overdue: timedelta) -> int:
    assert overdue == timedelta(0)
    return 0


@asynccontextmanager
async def running_workers(redis: EmbeddedRedis, number: int) -> AsyncIterator[None]:
    task = PruningTask("prune_tests", prune_nothing, seconds=EVERY_SECOND)
    workers = [
        ArqWorker(
            lambda: connect(redis.url, seconds=5),
            lambda: None,
            job=WAKE,
            queue=QUEUE,
            cron_tasks=[task],
            back_off=0.05,
        )
        for _ in range(number)
    ]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        await cancel(running)


@pytest.mark.parametrize("unique", [True, False])
# Takes 3 s: cron jobs have whole seconds.
async def test_two_workers_run_each_cron_time_once_and_without_unique_twice(
    redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, unique: bool
) -> None:
    runs = Runs(monkeypatch, unique=unique)
    async with running_workers(redis, 2):
        await until(lambda: len(set(runs.planned)) >= 3 and (unique or runs.most() > 1))
    assert runs.most() == 1 or not unique, runs.planned
    assert len(set(runs.job_ids)) == len(runs.job_ids)


@pytest.mark.parametrize(("kept", "again"), [(arq_worker.CRON_RESULT_SECONDS, False), (0, True)])
async def test_worker_with_a_late_clock_repeats_no_run_and_without_results_it_does(
    redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, kept: int, again: bool
) -> None:
    runs = Runs(monkeypatch, keep_result=kept)
    client = connect(redis.url, seconds=5)
    async with running_workers(redis, 1):
        await until(lambda: len(runs.job_ids) >= 2)
        late = await client.enqueue_job("prune_tests", _job_id=runs.job_ids[0])
        assert (late is not None) is again
    await client.aclose(close_connection_pool=True)


# Takes 6 s: two times of every second pass without Redis.
async def test_cron_jobs_skip_an_outage_of_redis_and_other_tasks_continue(
    redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(monkeypatch)
    expired = 0

    async def expire_holds() -> int:
        nonlocal expired
        expired += 1
        return 0

    holds = asyncio.create_task(PeriodicTask("expire_holds", expire_holds, every=0.05).run())
    async with running_workers(redis, 1):
        await until(lambda: bool(runs.planned))
        redis.stop()
        before, expired = len(runs.planned), 0
        await asyncio.sleep(2.5)
        assert expired > 5
        assert len(runs.planned) <= before + 1  # the one that was running
        before_outage = runs.planned[-1]
        redis.start()
        await until(lambda: runs.planned[-1] > before_outage and len(runs.planned) > before + 1)
    await cancel([holds])
    back = next(planned for planned in runs.planned if planned > before_outage)
    assert back - before_outage > 2_000, "a time while Redis was away was caught up on"


async def test_cron_jobs_leave_little_in_redis(redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch)
    client = Redis.from_url(redis.url)
    async with running_workers(redis, 2):
        await until(lambda: len(runs.planned) >= 2)
        keys = await client.keys("*")
        assert all([await client.ttl(key) > 0 for key in keys if key != QUEUE.encode()]), keys
        assert await client.zcard(QUEUE) <= 2
    await client.aclose(close_connection_pool=True)


async def test_rows_not_pruned_for_an_hour_are_pruned_by_every_worker(
    database: asyncpg.Connection, make_settings: Callable[..., Settings]
) -> None:
    (facilitator,) = await many_users(database, 1, role="facilitator")
    parts = container.build_deliveries(make_settings())
    kinds = {"prune_messages", "prune_live_updates", "prune_idempotency_keys"}
    tasks = [task for task in pruning_tasks(parts) if task.name in kinds]
    assert len(tasks) == 3
    for late in (timedelta(minutes=1), OVERDUE + timedelta(minutes=1)):
        message_id = await add_message(database)
        await database.execute(
            "UPDATE outbox SET status = 'delivered', settled_at = now() - interval '30 days' - $2::interval "
            "WHERE id = $1",
            *(message_id, late),
        )
        await database.execute(
            """INSERT INTO feed_entries (facilitator_id, message_id, fact, told, occurred_at, recorded_at)
               VALUES ($1, uuidv4(), 'booking_created', '{}', now(), now() - interval '30 days' - $2::interval)""",
            *(facilitator.id, late),
        )
        await database.execute(
            """INSERT INTO idempotency_keys (owner, key, request, runner, leased_until, created_at)
               VALUES ('o', $1, '', uuidv4(), now(), now() - interval '72 hours' - $2::interval)""",
            *(str(late), late),
        )

    async def left() -> list[int]:
        return [
            await database.fetchval(f"SELECT count(*) FROM {table}")
            for table in ("outbox", "feed_entries", "idempotency_keys")
        ]

    assert await left() == [2, 2, 2]
    for task in tasks:
        assert await task.overdue().work() == 1
    assert await left() == [1, 1, 1]
    for task in tasks:
        await task.run_once()
    assert await left() == [0, 0, 0]
    await parts.close()


async def test_tasks_that_keep_invariants_are_not_cron_jobs(make_settings: Callable[..., Settings]) -> None:
    parts = container.build_deliveries(make_settings())
    periodic = {task.name for task in periodic_tasks(parts)}
    assert {"expire_holds", "expire_appointment_holds", "expire_invitations", "queue_reminders", "reconcile"} < periodic
    assert not periodic & {task.name for task in pruning_tasks(parts)}
    assert len({task.seconds for task in pruning_tasks(parts)}) == len(parts.pruning), "two at the same second"
    await parts.close()
