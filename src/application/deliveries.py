"""Handing over what is owed: at least once, the messages of a lane in order, each destination at its own pace."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from application.ports.messaging import Courier, DueMessages
from domain.errors import Unavailable
from domain.messages import Delivered, Destination, Failed, Message, Outcome, RetrySchedule

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeliverDue:
    """Delivers one destination's due messages, up to `at_once` of them at the same time, until none is left.

    - A message is claimed for `lease` and the claim renewed while its delivery lasts, so that another worker takes
      over what a killed one held.
    - A failed attempt is tried again by the schedule, never earlier than the destination asked for. What cannot
      succeed, and what has used up the schedule, is dead until an operator replays it.
    - Whatever a courier raises is a failed attempt of that one message; so is a worker that dies over it.
    """

    outbox: DueMessages
    couriers: Mapping[Destination, Courier]
    schedule: RetrySchedule
    at_once: int = 8
    lease: timedelta = timedelta(seconds=10)
    renew_every: timedelta = timedelta(seconds=3)
    luck: Callable[[], float] = random.random

    async def __call__(self, destination: Destination, bell: asyncio.Event, closing: asyncio.Event) -> None:
        """`bell` says that there may be more; `closing` that nothing more is to be claimed. When cancelled, what is
        still being handed over is broken off and its claim released. Raises `Unavailable`."""
        in_flight: dict[asyncio.Task[None], asyncio.Task[Outcome]] = {}
        try:
            while True:
                bell.clear()
                free = 0 if closing.is_set() else self.at_once - len(in_flight)
                for message in await self.outbox.claim(destination, limit=free, lease=self.lease) if free else ():
                    attempt = asyncio.create_task(self._attempt(message))
                    in_flight[asyncio.create_task(self._see_through(message, attempt))] = attempt
                if not in_flight:
                    return
                await _first_of(bell, in_flight)
                for over in [task for task in in_flight if task.done()]:
                    del in_flight[over]
                    over.result()
        except asyncio.CancelledError:
            for attempt in in_flight.values():
                attempt.cancel()
            raise
        finally:
            await asyncio.gather(*in_flight, return_exceptions=True)

    async def _attempt(self, message: Message) -> Outcome:
        if message.attempt > len(self.schedule.delays):
            return Failed("no attempt came to its end: each took its worker down with it", permanent=True)
        try:
            return await self.couriers[message.destination].deliver(message)
        except Exception as error:
            _log.exception("courier_broke on message %s", message.id)
            return Failed(f"{type(error).__name__}: {error}")

    async def _see_through(self, message: Message, attempt: asyncio.Task[Outcome]) -> None:
        began = time.monotonic()
        while not (await asyncio.wait({attempt}, timeout=self.renew_every.total_seconds()))[0]:
            with suppress(Unavailable):
                await self.outbox.renew(message, lease=self.lease)
        if attempt.cancelled():
            await self.outbox.release(message)
        else:
            await self._settle(message, attempt.result(), timedelta(seconds=time.monotonic() - began))

    async def _settle(self, message: Message, outcome: Outcome, took: timedelta) -> None:
        """A handed-over message must not be sent again because the outbox was away for a moment."""
        last_chance = time.monotonic() + self.lease.total_seconds()
        while True:
            try:
                return await self.outbox.settle(message, outcome, took=took, retry_in=self._retry_in(message, outcome))
            except Unavailable:
                if time.monotonic() > last_chance:
                    raise
                await asyncio.sleep(0.5)

    def _retry_in(self, message: Message, outcome: Outcome) -> timedelta | None:
        if isinstance(outcome, Delivered) or outcome.permanent:
            return None
        delay = self.schedule.next_delay(message.attempt, self.luck())
        return None if delay is None else max(delay, outcome.retry_after or timedelta(0))


async def _first_of(bell: asyncio.Event, in_flight: Mapping[asyncio.Task[None], object]) -> None:
    ring = asyncio.create_task(bell.wait())
    try:
        await asyncio.wait({ring, *in_flight}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ring.cancel()
