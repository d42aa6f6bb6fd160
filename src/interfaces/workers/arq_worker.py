"""The jobs of Redis: wake-ups and cron jobs, run by an arq worker that reconnects after Redis was unavailable."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC
from typing import Any

import structlog
from arq import cron
from arq.connections import ArqRedis
from arq.cron import CronJob
from arq.worker import Worker, func

from interfaces.workers.periodic_tasks import PruningTask
from servicekit.tasks import cancel

CRON_JOB_SECONDS = 30
"""Timeout of a cron job. arq frees the jobs of a killed worker 10 s after its longest timeout, wake-ups included."""

CRON_RESULT_SECONDS = 600
"""arq finds a duplicate by the queued job or by its result, which is kept so long: a worker whose clock is late by less
than this does not run a minute again."""

_log = structlog.get_logger(__name__)


class ArqWorker:
    """Calls `notify` for each wake-up and runs the cron jobs. Deliveries do not depend on it, so its failures do not
    end the worker process.

    `connect` creates a client for each attempt; `poll_delay`: seconds between two polls of the queue. A cron task runs
    once for each of its times over all workers; times without Redis are omitted.
    """

    def __init__(
        self,
        connect: Callable[[], ArqRedis],
        notify: Callable[[], None],
        *,
        job: str,
        queue: str,
        cron_tasks: Sequence[PruningTask] = (),
        poll_delay: float = 0.02,
        back_off: float = 1,
    ) -> None:
        self._connect = connect
        self._notify = notify
        self._job = job
        self._queue = queue
        self._cron_tasks = cron_tasks
        self._poll_delay = poll_delay
        self._back_off = back_off
        self._redis_unavailable = False

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            redis = self._connect()
            worker = self._worker(redis)
            try:
                await worker.async_run()
            except Exception as error:
                if not self._redis_unavailable:
                    _log.warning("redis_unavailable", part="arq_worker", error=str(error) or type(error).__name__)
                self._redis_unavailable = True
            finally:
                # arq's close() sends a command to Redis first, which may be unavailable.
                await cancel(worker.tasks.values())
                await asyncio.gather(redis.aclose(close_connection_pool=True), return_exceptions=True)
            await asyncio.sleep(self._back_off)

    def _worker(self, redis: ArqRedis) -> Worker:
        return Worker(
            [func(self._answer, name=self._job)],
            # Made for each connection: arq would catch up on every minute since the last run of a kept cron job.
            cron_jobs=[_cron_job(task) for task in self._cron_tasks],
            redis_pool=redis,
            queue_name=self._queue,
            on_startup=self._started,
            handle_signals=False,
            poll_delay=self._poll_delay,
            job_timeout=5,
            keep_result=0,
            job_serializer=redis.job_serializer,
            job_deserializer=redis.job_deserializer,
            timezone=UTC,
            log_results=False,
        )

    async def _started(self, ctx: dict[Any, Any]) -> None:  # noqa: ARG002
        if self._redis_unavailable:
            _log.info("redis_recovered", part="arq_worker")
        self._redis_unavailable = False
        # Wake-ups that were sent without a listener are not lost.
        self._notify()

    async def _answer(self, ctx: dict[Any, Any], *_args: Any, **_kwargs: Any) -> None:  # noqa: ARG002
        self._notify()


def _cron_job(task: PruningTask) -> CronJob:
    async def run(ctx: dict[Any, Any], *_args: Any, **_kwargs: Any) -> None:  # noqa: ARG001
        await task.run_once()

    return cron(
        run,
        name=task.name,
        second=task.seconds,
        unique=True,
        timeout=CRON_JOB_SECONDS,
        keep_result=CRON_RESULT_SECONDS,
        max_tries=2,  # the second for a run that a stopped or killed worker has not finished
    )
