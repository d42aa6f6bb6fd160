"""The delivery loop: one task for each destination, started by wake-ups and by polling."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import structlog

from application.outbox.delivery import DeliverMessages
from domain.errors import Unavailable
from domain.outbox import Destination

_log = structlog.get_logger(__name__)


class Deliveries:
    """`serve` runs until `close`. Then it claims nothing more and gives deliveries in flight `grace` seconds; the rest
    is released. A second `close` releases them immediately. `sweep_every`: polling interval in seconds."""

    def __init__(
        self,
        deliver_due: DeliverMessages,
        destinations: Iterable[Destination],
        *,
        sweep_every: float = 2,
        grace: float = 7,
        back_off: float = 1,
    ) -> None:
        self._deliver_due = deliver_due
        self._wake_ups = {destination: asyncio.Event() for destination in destinations}
        self._closing = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._sweep_every = sweep_every
        self._grace = grace
        self._back_off = back_off
        self._database_unavailable = False

    def notify(self) -> None:
        for wake_up in self._wake_ups.values():
            wake_up.set()

    def close(self) -> None:
        if self._closing.is_set():
            self._stop_now.set()
        self._closing.set()

    async def serve(self) -> None:
        sweep = asyncio.create_task(self._sweep())
        serving = [asyncio.create_task(self._serve(destination)) for destination in self._wake_ups]
        await self._closing.wait()
        sweep.cancel()
        self.notify()
        waits: list[asyncio.Task[Any]] = [
            asyncio.create_task(asyncio.wait(serving, timeout=self._grace)),
            asyncio.create_task(self._stop_now.wait()),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        late = [task for task in serving if not task.done()]
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_every)
            self.notify()

    async def _serve(self, destination: Destination) -> None:
        wake_up = self._wake_ups[destination]
        while not self._closing.is_set():
            try:
                await self._deliver_due(destination, wake_up, self._closing)
            except Unavailable as error:
                if not self._database_unavailable:
                    _log.warning("database_unavailable", error=str(error.__cause__ or error))
                self._database_unavailable = True
                await self._pause()
            except Exception:
                _log.exception("delivery_loop_failed", destination=str(destination))
                await self._pause()
            else:
                if self._database_unavailable:
                    _log.info("database_recovered")
                self._database_unavailable = False
                # `close` sets its flag before it notifies, so no wake-up is lost between this check and the wait.
                if not self._closing.is_set():
                    await wake_up.wait()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), self._back_off)
