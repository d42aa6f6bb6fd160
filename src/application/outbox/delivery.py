"""Delivery of outbox messages: at least once, in order for each ordering key, concurrently for each destination."""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from datetime import timedelta

from application.outbox.ports import CircuitBreakers, OutboxClaims, Sender
from application.use_cases import use_case
from domain.circuit_breaker import CircuitBreakerRule, destination_is_healthy
from domain.errors import Unavailable
from domain.outbox import Destination, Failed, Message, Outcome, RetrySchedule

_log = logging.getLogger(__name__)

SOON = timedelta(seconds=5)
"""Retry delay after the database was unavailable."""


@use_case
class DeliverMessages:
    """The steps of a delivery: claim, attempt, record. The worker runs up to `at_once` messages of each destination
    concurrently. Every step except `attempt` raises `Unavailable`.

    - A claim lasts for `lease` and is renewed every `renew_every` during the delivery. Other workers reclaim the
      messages of a worker that was killed.
    - A failed attempt is retried by the schedule, never earlier than the destination's Retry-After. After a permanent
      failure or the last attempt the message is dead until an operator replays it.
    - A Retry-After applies to all messages of the destination. A destination that answers "gone" is halted until an
      operator resumes it; the message that received this answer stays pending.
    - A destination that keeps failing receives one probe at a time. Messages that are not attempted lose no attempt.
    - A failure of our own database is retried soon and does not count: otherwise two restarts within a minute would use
      up five attempts of a message.
    - A message whose address must be verified first is held: it loses no attempt, and the next message of its ordering
      key can be delivered.
    - Any other exception of a sender is a failed attempt of that message, and so is the death of its worker.
    """

    outbox: OutboxClaims
    circuit_breakers: CircuitBreakers
    senders: Mapping[Destination, Sender]
    schedule: RetrySchedule
    rule: CircuitBreakerRule = field(default_factory=CircuitBreakerRule)
    at_once: int = 24
    lease: timedelta = timedelta(seconds=10)
    renew_every: timedelta = timedelta(seconds=3)
    random_fraction: Callable[[], float] = random.random
    text_of: Callable[[Exception], str] = str
    """The text of an exception of a sender without data of users: it is stored with the attempt."""

    async def claim(self, destination: Destination, limit: int) -> Sequence[Message]:
        return await self.outbox.claim(destination, limit=limit, lease=self.lease, probe_every=self.rule.probe_every)

    async def renew(self, message: Message) -> None:
        await self.outbox.renew(message, lease=self.lease)

    async def release(self, message: Message) -> None:
        await self.outbox.release(message)

    async def attempt(self, message: Message) -> Outcome:
        if message.attempt > len(self.schedule.delays):
            return Failed("no attempt was completed: the worker died in each of them", permanent=True)
        try:
            return await self.senders[message.destination].deliver(message)
        except Unavailable as error:
            return Failed(f"{type(error).__name__}: {error}", not_attempted=True)
        except Exception as error:
            _log.exception("sender_failed on message %s", message.id)
            return Failed(f"{type(error).__name__}: {self.text_of(error)}")

    async def record(self, message: Message, outcome: Outcome, took: timedelta) -> bool:
        """Returns whether the result may have made other messages of the destination due. After `Unavailable` nothing
        is recorded; the caller repeats it."""
        await self._apply_destination_response(message.destination, outcome)
        has_next = await self.outbox.record_result(
            message, outcome, took=took, retry_in=self._retry_in(message, outcome)
        )
        with suppress(Unavailable):  # the next attempt updates it as well
            await self._update_circuit_breaker(message, outcome)
        return has_next or message.probe

    async def _apply_destination_response(self, destination: Destination, outcome: Outcome) -> None:
        """Applies Retry-After and "gone" before further messages of the destination can be claimed."""
        if not isinstance(outcome, Failed):
            return
        if outcome.stop_destination:
            await self.circuit_breakers.halt(destination, reason=outcome.reason)
        elif outcome.destination_fault and outcome.retry_after:
            await self.circuit_breakers.pause(destination, outcome.retry_after, reason=outcome.reason)

    async def _update_circuit_breaker(self, message: Message, outcome: Outcome) -> None:
        """Opens or closes the circuit breaker of the destination."""
        healthy = destination_is_healthy(outcome)
        if message.probe and healthy:
            await self.circuit_breakers.close(message.destination)
        elif isinstance(outcome, Failed) and healthy is False:
            counts = await self.circuit_breakers.counts(message.destination, window=self.rule.window)
            if self.rule.trips(counts):
                await self.circuit_breakers.trip(
                    message.destination, probe_in=self.rule.probe_every, reason=outcome.reason
                )

    def _retry_in(self, message: Message, outcome: Outcome) -> timedelta | None:
        if not isinstance(outcome, Failed) or outcome.permanent:
            return None
        if outcome.stop_destination:
            return timedelta(0)
        if outcome.not_attempted:
            return SOON
        delay = self.schedule.next_delay(message.attempt, self.random_fraction())
        return None if delay is None else max(delay, outcome.retry_after or timedelta(0))
