"""Periodic tasks. Every worker runs them; row locks prevent duplicate work."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from domain.errors import Unavailable

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """Calls `work` every `every` seconds, also after a failure. A result above 0 is logged."""

    name: str
    work: Callable[[], Awaitable[int | None]]
    every: float

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.every)
            try:
                done = await self.work()
            except Unavailable:
                continue  # the delivery loop logs that the database is unavailable
            except Exception:
                _log.exception("periodic_task_failed", task=self.name)
            else:
                if done:
                    _log.info("periodic_task_done", task=self.name, done=done)
