"""Delivery of the outbox: one consumer for each destination, started by wake-ups and by polling."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from application.outbox.delivery import DeliverMessages
from domain.circuit_breaker import destination_is_healthy
from domain.errors import Unavailable
from domain.outbox import Destination, Message, Outcome
from servicekit.lease_queue import OutageLog, QueueConsumer
from servicekit.tasks import LongLivedTasks

AHEAD = 6
"""Messages claimed ahead of a free slot or not recorded yet, at most, for each that is delivered at the same time."""


@dataclass(frozen=True, slots=True)
class DestinationQueue:
    """The messages of one destination as a queue of `servicekit.lease_queue`."""

    deliver: DeliverMessages
    destination: Destination

    async def claim(self, limit: int) -> Sequence[Message]:
        return await self.deliver.claim(self.destination, limit)

    async def renew(self, message: Message) -> None:
        await self.deliver.renew(message)

    async def release(self, message: Message) -> None:
        await self.deliver.release(message)

    async def run(self, message: Message) -> Outcome:
        return await self.deliver.attempt(message)

    async def record(self, message: Message, outcome: Outcome, seconds: float) -> bool:
        return await self.deliver.record(message, outcome, timedelta(seconds=seconds))

    def consumer(
        self, *, poll_every: float = 2, drain: float = 7, outages: OutageLog | None = None
    ) -> QueueConsumer[Message, Outcome]:
        return QueueConsumer(
            str(self.destination),
            self,
            unavailable=Unavailable,
            capacity=self.deliver.at_once,
            ahead=self.deliver.at_once * AHEAD,
            stops=lambda outcome: destination_is_healthy(outcome) is False,
            lease=self.deliver.lease.total_seconds(),
            renew_every=self.deliver.renew_every.total_seconds(),
            record_for=self.deliver.lease.total_seconds(),
            poll_every=poll_every,
            drain=drain,
            outages=outages,
        )


class Deliveries:
    """`serve` runs until `close`. Then it claims nothing more and gives deliveries in flight `grace` seconds; the rest
    is released. A second `close` releases them immediately. `poll_every`: seconds."""

    def __init__(
        self, deliver: DeliverMessages, destinations: Iterable[Destination], *, poll_every: float = 2, grace: float = 7
    ) -> None:
        outages = OutageLog()
        self._consumers = {
            destination: DestinationQueue(deliver, destination).consumer(
                poll_every=poll_every, drain=grace, outages=outages
            )
            for destination in destinations
        }

    def notify(self) -> None:
        for consumer in self._consumers.values():
            consumer.notify()

    def close(self) -> None:
        for consumer in self._consumers.values():
            consumer.stop()

    async def serve(self, tasks: LongLivedTasks | None = None) -> None:
        """By default a consumer that ends early closes the others."""
        tasks = tasks or LongLivedTasks(self.close)
        running = [
            tasks.start(f"deliver {destination}", consumer.run(), may_return=True)
            for destination, consumer in self._consumers.items()
        ]
        try:
            await asyncio.wait(running)
        finally:
            await tasks.stop(running)
