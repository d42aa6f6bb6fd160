"""A consumer of a queue of leased entries: claims, runs, renews, records and releases them.

It depends on no database: the queue is a protocol. An entry is run at least once. A lease that is
not renewed ends, so the entries of a process that died are claimed by another one.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

import structlog

from servicekit.log_errors import error_text

GATHER_SECONDS = 0.01
"""At full capacity the first free slot waits this long for others, so that one claim fills them all."""

RECORD_AGAIN_SECONDS = 0.5
RELEASE_SECONDS = 1.0
"""Time for the releases at the end of a shutdown."""

ClaimT = TypeVar("ClaimT")
ResultT = TypeVar("ResultT")

_log = structlog.get_logger(__name__)


class LeaseQueue(Protocol[ClaimT, ResultT]):
    """The queue and the work of a consumer. `claim`, `renew`, `release` and `record` raise the consumer's `unavailable`
    error while the queue cannot be reached."""

    async def claim(self, limit: int) -> Sequence[ClaimT]:
        """Claims up to `limit` due entries."""
        ...

    async def renew(self, claim: ClaimT) -> None: ...

    async def release(self, claim: ClaimT) -> None:
        """Ends the lease of an entry whose run was cancelled by a shutdown."""
        ...

    async def run(self, claim: ClaimT) -> ResultT:
        """Does the work. Failures of the work are results; an exception leaves the entry to the end of its lease."""
        ...

    async def record(self, claim: ClaimT, result: ResultT, seconds: float) -> None:
        """Records the result and ends the lease. `seconds`: duration of the run, with its wait for a slot."""
        ...


class OutageLog:
    """Logs once when the database becomes unavailable and once when it is back, for all consumers that share it."""

    def __init__(self) -> None:
        self._is_unavailable = False

    def began(self, error: Exception) -> None:
        if not self._is_unavailable:
            _log.warning("database_unavailable", error=error_text(error.__cause__ or error))
        self._is_unavailable = True

    def ended(self) -> None:
        if self._is_unavailable:
            _log.info("database_recovered")
        self._is_unavailable = False


class QueueConsumer(Generic[ClaimT, ResultT]):
    """Runs up to `capacity` entries of one queue concurrently, from `run` until `stop`.

    It claims after `notify`, every `poll_every` seconds and after each finished entry, at most as many entries as there
    are free slots. Leases are renewed every `renew_every` seconds during a run. A result is recorded again for
    `record_for` seconds while the queue raises `unavailable`. After a failed claim it pauses for `back_off` seconds;
    entries in flight continue. After `stop` it claims nothing more; runs that are not finished `drain` seconds later
    are cancelled and their claims released. A second `stop` ends that wait.
    """

    def __init__(
        self,
        name: str,
        queue: LeaseQueue[ClaimT, ResultT],
        *,
        unavailable: type[Exception],
        capacity: int,
        renew_every: float = 3,
        poll_every: float = 2,
        drain: float = 7,
        record_for: float = 10,
        back_off: float = 1,
        outages: OutageLog | None = None,
    ) -> None:
        self._name = name
        self._queue = queue
        self._unavailable = unavailable
        self._capacity = capacity
        self._renew_every = renew_every
        self._poll_every = poll_every
        self._drain = drain
        self._record_for = record_for
        self._back_off = back_off
        self._outages = outages or OutageLog()
        self._slots = asyncio.Semaphore(capacity)
        self._in_flight: dict[asyncio.Task[ResultT | None], tuple[ClaimT, asyncio.Task[ResultT]]] = {}
        self._wake_up = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stop_now = asyncio.Event()

    @property
    def in_flight(self) -> list[ClaimT]:
        """Claims whose result is not recorded yet."""
        return [claim for claim, _ in self._in_flight.values()]

    def notify(self) -> None:
        """Claims now instead of at the next poll."""
        self._wake_up.set()

    def stop(self) -> None:
        if self._stopping.is_set():
            self._stop_now.set()
        self._stopping.set()
        self._wake_up.set()

    def start(self, claim: ClaimT) -> asyncio.Task[ResultT | None]:
        """Runs an entry, also one that was claimed elsewhere; without a free slot it waits for one. Returns the result,
        or None after a cancelled run. A caller that stops waiting must shield the task."""
        running = asyncio.create_task(self._run(claim))
        supervising = asyncio.create_task(self._supervise(claim, running), name=f"{self._name}-entry")
        self._in_flight[supervising] = claim, running
        supervising.add_done_callback(self._end)
        return supervising

    async def run(self) -> None:
        """Runs until `stop`; raises what ends the consumer earlier."""
        polling = asyncio.create_task(self._poll(), name=f"{self._name}-polling")
        consuming = asyncio.create_task(self._consume(), name=f"{self._name}-consumer")
        stopping = asyncio.create_task(self._stopping.wait())
        stop_now = asyncio.create_task(self._stop_now.wait())
        try:
            await asyncio.wait({consuming, polling, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if polling.done():
                polling.result()
            polling.cancel()
            await asyncio.wait({consuming, stop_now}, timeout=self._drain, return_when=asyncio.FIRST_COMPLETED)
            for _, running in self._in_flight.values():
                running.cancel()
            await asyncio.wait({consuming}, timeout=RELEASE_SECONDS)
            if consuming.done():
                consuming.result()
        finally:
            for task in (polling, consuming, stopping, stop_now, *self._in_flight):
                task.cancel()
            for _, running in self._in_flight.values():
                running.cancel()

    async def run_until_idle(self) -> None:
        """Claims and runs entries until none is due and none is in flight. Raises what `claim` raises."""
        while True:
            self._wake_up.clear()
            free = 0 if self._stopping.is_set() else self._capacity - len(self._in_flight)
            if free > 0:
                for claim in await self._queue.claim(free):
                    self.start(claim)
                self._outages.ended()
            if not self._in_flight:
                return
            is_full = len(self._in_flight) >= self._capacity
            await self._wake_up.wait()
            if is_full:
                await asyncio.sleep(GATHER_SECONDS)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_every)
            self.notify()

    async def _consume(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.run_until_idle()
            except self._unavailable as error:
                self._outages.began(error)
                await self._pause()
            except Exception:
                _log.exception("claim_failed", queue=self._name)
                await self._pause()
            else:
                # `stop` sets its flag before it notifies, so no wake-up is lost between this check and the wait.
                if not self._stopping.is_set():
                    await self._wake_up.wait()
        while self._in_flight:
            await asyncio.wait(self._in_flight)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._back_off)

    async def _run(self, claim: ClaimT) -> ResultT:
        async with self._slots:
            return await self._queue.run(claim)

    async def _supervise(self, claim: ClaimT, running: asyncio.Task[ResultT]) -> ResultT | None:
        began = time.monotonic()
        while not (await asyncio.wait({running}, timeout=self._renew_every))[0]:
            try:
                await self._queue.renew(claim)
            except self._unavailable:
                pass
            except Exception:
                _log.exception("lease_renewal_failed", queue=self._name)
        if running.cancelled():
            await self._queue.release(claim)
            return None
        await self._record(claim, running.result(), time.monotonic() - began)
        return running.result()

    async def _record(self, claim: ClaimT, result: ResultT, seconds: float) -> None:
        """Repeats the write while the queue is unavailable: an entry that has run must not run again."""
        last_chance = time.monotonic() + self._record_for
        while True:
            try:
                return await self._queue.record(claim, result, seconds)
            except self._unavailable as error:
                if time.monotonic() > last_chance:
                    raise
                self._outages.began(error)
            await asyncio.sleep(RECORD_AGAIN_SECONDS)

    def _end(self, supervising: asyncio.Task[ResultT | None]) -> None:
        del self._in_flight[supervising]
        self._wake_up.set()
        error = None if supervising.cancelled() else supervising.exception()
        if isinstance(error, self._unavailable):
            self._outages.began(error)
        elif error is not None:
            _log.error("entry_failed", queue=self._name, exc_info=error)
