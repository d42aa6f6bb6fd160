"""Periodic tasks: those of every worker process, and pruning, which runs once over all workers as arq cron jobs."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from domain.errors import Unavailable

OVERDUE = timedelta(hours=1)
"""Rows that expired so long ago are pruned by every worker, because no cron job has done it."""

OVERDUE_EVERY = 300
"""Seconds between two searches for such rows."""

_log = structlog.get_logger(__name__)


async def run_task(name: str, work: Callable[[], Awaitable[int | None]]) -> None:
    """Runs the work once and logs a failure. A result above 0 is logged."""
    try:
        done = await work()
    except Unavailable:
        return  # the delivery loop logs that the database is unavailable
    except Exception:
        _log.exception("periodic_task_failed", task=name)
    else:
        if done:
            _log.info("periodic_task_done", task=name, done=done)


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """Calls `work` every `every` seconds, also after a failure, and rests `rest` seconds for each second that it took.
    Every worker runs it; row locks prevent duplicate work."""

    name: str
    work: Callable[[], Awaitable[int | None]]
    every: float
    rest: float = 0

    async def run(self) -> None:
        took = 0.0
        while True:
            await asyncio.sleep(max(self.every, self.rest * took))
            began = time.monotonic()
            await run_task(self.name, self.work)
            took = time.monotonic() - began


@dataclass(frozen=True, slots=True)
class PruningTask:
    """Deletes expired rows once a minute over all workers, at these seconds (UTC). `prune` deletes rows that expired at
    least the given time ago and returns their number."""

    name: str
    prune: Callable[[timedelta], Awaitable[int]]
    seconds: int | set[int]

    async def run_once(self) -> None:
        await run_task(self.name, partial(self.prune, timedelta(0)))

    def overdue(self) -> PeriodicTask:
        """The task of every worker for rows that the cron jobs have left, for example while Redis is unavailable. It
        finds none otherwise."""
        return PeriodicTask(f"{self.name}_overdue", partial(self.prune, OVERDUE), OVERDUE_EVERY)
