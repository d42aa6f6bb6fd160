"""Delivery of claims to one destination, with retries and leases.

The state is in the row. A request or the polling loop of a process claims it by a lease, so several processes share the
work; the rows of a process that died are due again when the lease ends. While the destination is unavailable new rows
wait in the table and one at a time probes whether it is available again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from datetime import timedelta
from random import uniform
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog

from crm.database import DatabaseUnavailable
from crm.delivery.failures import Deferred, DeliveryError, DestinationUnavailable, Refused, Unsendable
from crm.delivery.queue import C, Claim, Queue, Status
from servicekit.clock import DatabaseClock
from servicekit.lease_queue import OutageLog, QueueConsumer
from servicekit.tasks import LongLivedTasks

LEASE = timedelta(seconds=60)
RENEW_SECONDS = 20.0
SEND_SECONDS = 40.0
DRAIN_SECONDS = 8.0
AT_ONCE = 8
BACK_OFF = tuple(timedelta(minutes=minutes) for minutes in (0.5, 1, 5, 15, 60))
GIVE_UP_AFTER = timedelta(days=5)  # RFC 5321, 4.5.4.1: at least four to five days

C_contra = TypeVar("C_contra", bound=Claim, contravariant=True)

log = structlog.stdlib.get_logger("crm.delivery.dispatcher")


class Pace(msgspec.Struct, frozen=True):
    """Seconds: between two polls of the table, between two probes of an unavailable destination (growing to the
    longest), and the maximum wait of a request for its delivery."""

    poll_every: float = 1.0
    longest_pause: float = 15.0
    patience: float = 5.0


class Sender(Protocol[C_contra]):
    """Delivers claims to one destination. `kind` names a delivery in responses, for example Email."""

    @property
    def kind(self) -> str: ...

    async def deliver(self, claim: C_contra) -> str:
        """Delivers the claim. Returns the row's `response`. Raises `DeliveryError` if it was not accepted."""


class Result(msgspec.Struct, frozen=True):
    """Result of a delivery: sent, failed, or pending again after `delay`. `response` is for the row."""

    status: Status
    response: str
    delay: timedelta = timedelta()


class Dispatcher(Generic[C]):
    """The deliveries of one process to one destination. Between `start` and `close` it also polls for due rows."""

    def __init__(
        self,
        queue: Queue[C],
        sender: Sender[C],
        clock: DatabaseClock,
        pace: Pace = Pace(),  # noqa: B008
        outages: OutageLog | None = None,
    ) -> None:
        self._queue = queue
        self._sender = sender
        self._clock = clock
        self._pace = pace
        self._unavailable = False
        self._pause = pace.poll_every
        self._probe_at = 0.0
        self._consumer: QueueConsumer[C, Result] = QueueConsumer(
            f"crm-{sender.kind}",
            self,
            unavailable=DatabaseUnavailable,
            capacity=AT_ONCE,
            renew_every=RENEW_SECONDS,
            poll_every=pace.poll_every,
            drain=DRAIN_SECONDS,
            record_for=math.inf,
            outages=outages,
        )
        self._running: asyncio.Task[None] | None = None

    @property
    def claims_at_once(self) -> bool:
        """Whether new rows may be delivered immediately: not while the destination is unavailable."""
        return not self._unavailable

    def start(self, tasks: LongLivedTasks) -> None:
        self._running = tasks.start(f"deliver {self._sender.kind}", self._consumer.run(), may_return=True)

    async def close(self) -> None:
        """Waits for the deliveries in flight and releases the other claims."""
        self._consumer.stop()
        if self._running:
            await asyncio.wait({self._running})

    def notify(self) -> None:
        """Polls now, unless the destination is unavailable."""
        self._consumer.notify()

    async def wait_until_sent(self, row_id: int, status: Status, claim: C | None) -> bool:
        """Whether the row is delivered, waiting a short while for it.

        A repeated request finds it delivered, in delivery by another process, or left by a process that died.
        """
        if status is not Status.PENDING:
            return status is Status.SENT
        try:
            async with asyncio.timeout(self._pace.patience):
                return await self._outcome(row_id, claim)
        except (TimeoutError, DatabaseUnavailable):
            return False

    async def _outcome(self, row_id: int, claim: C | None) -> bool:
        while True:
            if claim is None and self.claims_at_once and not self._holds(row_id):
                claim = await self._queue.claim(row_id)
            if claim:
                result = await asyncio.shield(self._consumer.start(claim))
                return result is not None and result.status is Status.SENT
            status, leased = await self._queue.state(row_id)
            if status is not Status.PENDING or not leased:
                return status is Status.SENT
            await asyncio.sleep(0.05)

    def _holds(self, row_id: int) -> bool:
        """Whether the row is in flight in this process: its lease may end before its result is recorded."""
        return any(claim.id == row_id for claim in self._consumer.in_flight)

    async def claim(self, limit: int) -> Sequence[C]:
        """Due rows; one row as a probe while the destination is unavailable, after a pause that grows."""
        if self._unavailable:
            limit = int(not self._consumer.in_flight and time.monotonic() >= self._probe_at)
        claims = [claim for claim in await self._queue.claim_due(limit) if not self._holds(claim.id)]
        if claims and self._unavailable:
            self._pause = min(self._pace.longest_pause, self._pause * 2)
            self._schedule_probe()
        return claims

    async def renew(self, claim: C) -> None:
        await self._queue.renew(claim)

    async def release(self, claim: C) -> None:
        await self._queue.release(claim)

    async def run(self, claim: C) -> Result:
        kind = self._sender.kind
        try:
            return Result(Status.SENT, await self._send(claim))
        except Refused as error:
            return Result(Status.FAILED, f"{kind} failed: {error}")
        except DestinationUnavailable as error:
            delay, reason = timedelta(seconds=self._pace.poll_every), str(error)
        except Deferred as error:
            delay, reason = max(_back_off(claim), error.after), str(error)
        except Exception:
            log.exception("delivery_error", kind=kind, row=claim.id)
            delay, reason = _back_off(claim), "an unexpected error, see the log"
        if self._clock.is_read and self._clock.now() - claim.received_at > GIVE_UP_AFTER:
            return Result(Status.FAILED, f"{kind} given up: {reason}")
        return Result(Status.PENDING, f"{kind} not sent yet: {reason}", delay)

    async def record(self, claim: C, result: Result, seconds: float) -> bool:  # noqa: ARG002
        kind, row = self._sender.kind, claim.id
        if result.status is Status.SENT:
            await self._queue.mark_sent(claim, result.response)
            log.info("delivered", kind=kind, row=row, attempts=claim.attempts)
        elif result.status is Status.FAILED:
            await self._queue.mark_failed(claim, result.response)
            log.warning("delivery_given_up", kind=kind, row=row, response=result.response)
        else:
            await self._queue.retry_later(claim, result.delay, result.response)
        return False

    async def _send(self, claim: C) -> str:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                response = await self._sender.deliver(claim)
        except (DestinationUnavailable, TimeoutError) as error:
            reason = str(error) or "no answer in time"
            self._record_availability(unavailable=True, reason=reason)
            raise DestinationUnavailable(reason) from error
        except Unsendable:
            raise
        except DeliveryError:
            self._record_availability(unavailable=False)
            raise
        self._record_availability(unavailable=False)
        return response

    def _record_availability(self, *, unavailable: bool, reason: str | None = None) -> None:
        if unavailable != self._unavailable:
            log.warning(
                "destination_unavailable" if unavailable else "destination_recovered",
                kind=self._sender.kind,
                reason=reason,
            )
            self._unavailable, self._pause = unavailable, self._pace.poll_every
            self._schedule_probe()
            self.notify()

    def _schedule_probe(self) -> None:
        self._probe_at = time.monotonic() + self._pause * uniform(0.8, 1.2)  # noqa: S311


def _back_off(claim: Claim) -> timedelta:
    return BACK_OFF[min(claim.attempts, len(BACK_OFF)) - 1] * uniform(0.9, 1.1)  # noqa: S311
