"""Receives wake-ups from Redis with an arq worker; reconnects after Redis was unavailable."""

import asyncio
from collections.abc import Callable
from datetime import UTC
from typing import Any

import structlog
from arq.connections import ArqRedis
from arq.worker import Worker, func

from servicekit.tasks import cancel

_log = structlog.get_logger(__name__)


class WakeUpListener:
    """Calls `notify` for each wake-up. Deliveries do not depend on it, so its failures do not end the worker.

    `connect` makes a client for each attempt; `poll_delay`: seconds between two polls of the queue.
    """

    def __init__(
        self,
        connect: Callable[[], ArqRedis],
        notify: Callable[[], None],
        *,
        job: str,
        queue: str,
        poll_delay: float = 0.02,
        back_off: float = 1,
    ) -> None:
        self._connect = connect
        self._notify = notify
        self._job = job
        self._queue = queue
        self._poll_delay = poll_delay
        self._back_off = back_off
        self._redis_unavailable = False

    async def listen(self) -> None:
        """Runs until cancelled."""
        while True:
            redis = self._connect()
            worker = self._worker(redis)
            try:
                await worker.async_run()
            except Exception as error:
                if not self._redis_unavailable:
                    _log.warning("redis_unavailable", part="wake_up_listener", error=str(error) or type(error).__name__)
                self._redis_unavailable = True
            finally:
                # arq's close() sends a command to Redis first, which may be unavailable.
                await cancel(worker.tasks.values())
                await asyncio.gather(redis.aclose(close_connection_pool=True), return_exceptions=True)
            await asyncio.sleep(self._back_off)

    def _worker(self, redis: ArqRedis) -> Worker:
        return Worker(
            [func(self._answer, name=self._job)],
            redis_pool=redis,
            queue_name=self._queue,
            on_startup=self._started,
            handle_signals=False,
            poll_delay=self._poll_delay,
            # A job held by a killed worker is free again 10 s after this timeout.
            job_timeout=5,
            keep_result=0,
            job_serializer=redis.job_serializer,
            job_deserializer=redis.job_deserializer,
            timezone=UTC,
            log_results=False,
        )

    async def _started(self, ctx: dict[Any, Any]) -> None:  # noqa: ARG002
        if self._redis_unavailable:
            _log.info("redis_recovered", part="wake_up_listener")
        self._redis_unavailable = False
        # Wake-ups that were sent without a listener are not lost.
        self._notify()

    async def _answer(self, ctx: dict[Any, Any], *_args: Any, **_kwargs: Any) -> None:  # noqa: ARG002
        self._notify()
