"""Delivery of claims to one destination, with retries and leases.

The state is in the row. A request or the polling loop of a process claims it by a lease, so several processes share the
work; the rows of a process that died are due again when the lease ends. While the destination is unavailable new rows
wait in the table and one at a time probes whether it is available again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import uniform
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog

from crm.database import DatabaseUnavailable
from crm.delivery.failures import Deferred, DeliveryError, DestinationUnavailable, Refused, Unsendable
from crm.delivery.queue import C, Claim, Queue, Status
from servicekit.tasks import cancel

LEASE = timedelta(seconds=60)
SEND_SECONDS = 40.0  # with the wait for a turn; shorter than the lease, or two processes would deliver
DRAIN_SECONDS = 8.0
AT_ONCE = 8
BATCH = 20
BACK_OFF = tuple(timedelta(minutes=minutes) for minutes in (0.5, 1, 5, 15, 60))
GIVE_UP_AFTER = timedelta(days=5)  # RFC 5321, 4.5.4.1: at least four to five days

C_contra = TypeVar("C_contra", bound=Claim, contravariant=True)

log = structlog.stdlib.get_logger("crm.delivery.dispatcher")


class Pace(msgspec.Struct, frozen=True):
    """Seconds: between two looks at the table, between two probes of a destination that is away (it grows to the
    longest), and how long a request waits for its own delivery."""

    poll_every: float = 1.0
    longest_pause: float = 15.0
    patience: float = 5.0


class Sender(Protocol[C_contra]):
    """Delivers claims to one destination. `kind` names a delivery in responses, for example Email."""

    @property
    def kind(self) -> str: ...

    async def deliver(self, claim: C_contra) -> str:
        """Deliver it; returns the row's `response`, raises DeliveryError if it was not accepted."""


class Dispatcher(Generic[C]):
    """Deliveries of one process. Between `start` and `close` it also polls for due rows."""

    def __init__(self, queue: Queue[C], sender: Sender[C], pace: Pace = Pace()) -> None:  # noqa: B008
        self._queue = queue
        self._sender = sender
        self._pace = pace
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._in_flight: set[asyncio.Task[bool]] = set()
        self._sent_but_unrecorded: set[int] = set()
        self._unavailable = False
        self._notified = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None

    @property
    def claims_at_once(self) -> bool:
        """Whether new rows may be delivered immediately: not while the destination is unavailable."""
        return not self._unavailable

    def start(self) -> None:
        self._polling = asyncio.create_task(self._poll(), name=f"crm-{self._sender.kind}-polling")

    async def close(self) -> None:
        """Wait for the deliveries in flight and release the other claims."""
        if self._polling:
            await cancel([self._polling])
        if self._in_flight:
            _, late = await asyncio.wait(self._in_flight, timeout=DRAIN_SECONDS)
            await cancel(late)
        with suppress(DatabaseUnavailable):
            await self._queue.release_claims()

    def notify(self) -> None:
        """Poll now, unless the destination is unavailable."""
        self._notified.set()

    async def wait_until_sent(self, row_id: int, status: Status, claim: C | None) -> bool:
        """Whether the row is delivered, waiting a short while for it.

        A repeated request finds it delivered, or being delivered by another, or left behind by one that died.
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
            if claim is None and self.claims_at_once:
                claim = await self._queue.claim(row_id)
            if claim:
                return await asyncio.shield(self._start_delivery(claim))
            status, leased = await self._queue.state(row_id)
            if status is not Status.PENDING or not leased:
                return status is Status.SENT
            await asyncio.sleep(0.05)

    async def _poll(self) -> None:
        pause = self._pace.poll_every
        while True:
            claims: list[C] = []
            self._notified.clear()
            try:
                claims = await self._queue.claim_due(1 if self._unavailable else BATCH)
                if claims:
                    await asyncio.wait({self._start_delivery(claim) for claim in claims})
            except DatabaseUnavailable as error:
                log.warning("database_unavailable", error=str(error))
            except Exception:
                log.exception("polling_failed", kind=self._sender.kind)
            if not self._unavailable:
                pause = self._pace.poll_every
            elif claims:
                pause = min(self._pace.longest_pause, pause * 2)
            if self._unavailable or not claims:
                await self._rest(pause * uniform(0.8, 1.2))  # noqa: S311

    async def _rest(self, seconds: float) -> None:
        if self._unavailable:
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._notified.wait(), seconds)

    def _start_delivery(self, claim: C) -> asyncio.Task[bool]:
        """Deliver in a separate task: a caller that stops waiting must not abort a delivery."""
        task = asyncio.create_task(self._deliver(claim), name=f"crm-{self._sender.kind}-{claim.id}")
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        return task

    async def _deliver(self, claim: C) -> bool:
        if claim.id in self._sent_but_unrecorded:
            return True
        kind = self._sender.kind
        try:
            response = await self._send(claim)
        except Refused as error:
            await self._give_up(claim, f"{kind} failed: {error}")
        except DestinationUnavailable as error:
            await self._enqueue(claim, timedelta(seconds=self._pace.poll_every), f"{kind} not sent yet: {error}")
        except Deferred as error:
            await self._enqueue(claim, max(_back_off(claim), error.after), f"{kind} not sent yet: {error}")
        except Exception:
            log.exception("delivery_error", kind=kind, row=claim.id)
            await self._enqueue(claim, _back_off(claim), f"{kind} not sent yet: an unexpected error, see the log")
        else:
            await self._mark_sent(claim, response)
            log.info("delivered", kind=kind, row=claim.id, attempts=claim.attempts)
            return True
        return False

    async def _send(self, claim: C) -> str:
        try:
            async with asyncio.timeout(SEND_SECONDS), self._turns:
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
        self._unavailable = unavailable

    async def _mark_sent(self, claim: C, response: str) -> None:
        """Repeat until it is recorded: a sent row that is not marked would be sent again."""
        self._sent_but_unrecorded.add(claim.id)
        try:
            while True:
                try:
                    await self._queue.mark_sent(claim, response)
                except DatabaseUnavailable:
                    await asyncio.sleep(0.25)
                else:
                    return
        finally:
            self._sent_but_unrecorded.discard(claim.id)

    async def _enqueue(self, claim: C, delay: timedelta, response: str) -> None:
        if datetime.now(UTC) - claim.received_at > GIVE_UP_AFTER:
            await self._give_up(claim, response.replace("not sent yet", "given up", 1))
            return
        with suppress(DatabaseUnavailable):  # the lease ends by itself
            await self._queue.try_later(claim, delay, response)

    async def _give_up(self, claim: C, response: str) -> None:
        log.warning("delivery_given_up", kind=self._sender.kind, row=claim.id, response=response)
        with suppress(DatabaseUnavailable):
            await self._queue.mark_failed(claim, response)


def _back_off(claim: Claim) -> timedelta:
    return BACK_OFF[min(claim.attempts, len(BACK_OFF)) - 1] * uniform(0.9, 1.1)  # noqa: S311
