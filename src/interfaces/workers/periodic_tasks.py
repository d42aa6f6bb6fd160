"""Work that nobody rings for: it is looked for every so often, in every worker; the database sees to it that two do not
do the same."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from domain.errors import Unavailable

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """`work` answers how much it did, where that is worth a line. `every` seconds it is done again, whatever came of
    the last time."""

    name: str
    work: Callable[[], Awaitable[int | None]]
    every: float

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.every)
            try:
                done = await self.work()
            except Unavailable:
                continue  # the deliveries say that the database is away
            except Exception:
                _log.exception("round_broke", round=self.name)
            else:
                if done:
                    _log.info("round_done", round=self.name, done=done)
