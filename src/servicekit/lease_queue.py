"""A consumer of a queue of leased entries: claims, runs, renews, records and releases them.

It depends on no database: the queue is a protocol. An entry is run at least once. A lease that is
not renewed ends, so the entries of a process that died are claimed by another one.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Generic, Protocol, TypeVar

import structlog

from servicekit.log_errors import error_text

GATHER_SECONDS = 0.005
"""While more entries are due than can be claimed, an ended entry waits this long for others, so that one claim replaces
them all."""

AHEAD_SECONDS = 0.05
"""Entries are claimed ahead of a free slot for this time, at the present rate."""

RECORD_AGAIN_SECONDS = 0.5
RELEASE_SECONDS = 1.0
"""Time for the releases at the end of a shutdown."""

ClaimT = TypeVar("ClaimT")
ResultT = TypeVar("ResultT")

_log = structlog.get_logger(__name__)


class LeaseQueue(Protocol[ClaimT, ResultT]):
    """The queue and the work of a consumer. `claim`, `renew`, `release` and `record` raise the consumer's `unavailable`
    error while the queue cannot be reached. `renew`, `release` and `record` are called concurrently for many entries,
    so that the queue can combine them."""

    async def claim(self, limit: int) -> Sequence[ClaimT]:
        """Claims up to `limit` due entries. After fewer, the next claim follows a wake-up, a poll, or a result that
        made more entries due."""
        ...

    async def renew(self, claim: ClaimT) -> None: ...

    async def release(self, claim: ClaimT) -> None:
        """Ends the lease of an entry that was not run, or whose run was cancelled by a shutdown."""
        ...

    async def run(self, claim: ClaimT) -> ResultT:
        """Does the work. Failures of the work are results; an exception leaves the entry to the end of its lease."""
        ...

    async def record(self, claim: ClaimT, result: ResultT, seconds: float) -> bool:
        """Records the result and ends the lease. `seconds`: duration of the run, with its wait for a slot. Returns
        whether the result may have made other entries due."""
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


class _Entry(Generic[ClaimT, ResultT]):
    """A claim until its result is recorded. `lease_end` is by the monotonic clock; `task` runs and records it."""

    __slots__ = ("claim", "claimed_at", "context", "is_running", "lease_end", "recorded", "task")

    def __init__(self, claim: ClaimT, lease_end: float) -> None:
        self.claim = claim
        self.lease_end = lease_end
        self.claimed_at = time.monotonic()
        self.context: Context = copy_context()
        self.recorded: asyncio.Future[ResultT | None] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        self.is_running = False


class QueueConsumer(Generic[ClaimT, ResultT]):
    """Runs up to `capacity` entries of one queue concurrently, from `run` until `stop`.

    It claims after `notify`, every `poll_every` seconds, and after an ended entry if more may be due: at most as many
    entries as there are free slots, and up to `ahead` more, as many as end in `AHEAD_SECONDS`. Entries that are not
    recorded yet count as well. An entry claimed ahead is not run after the end of its `lease` (seconds). After a result
    for which `stops` is true the entries claimed ahead are released.

    Leases are renewed every `renew_every` seconds until the run ends. A result is recorded again for `record_for`
    seconds while the queue raises `unavailable`. After a failed claim it pauses for `back_off` seconds; entries in
    flight continue. After `stop` it claims nothing more; entries that have not ended `drain` seconds later are
    cancelled and their claims released. A second `stop` ends that wait.
    """

    def __init__(
        self,
        name: str,
        queue: LeaseQueue[ClaimT, ResultT],
        *,
        unavailable: type[Exception],
        capacity: int,
        ahead: int = 0,
        stops: Callable[[ResultT], bool] = lambda _result: False,
        lease: float = math.inf,
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
        self._most_ahead = ahead
        self._stops = stops
        self._lease = lease
        self._renew_every = renew_every
        self._poll_every = poll_every
        self._drain = drain
        self._record_for = record_for
        self._back_off = back_off
        self._outages = outages or OutageLog()
        self._entries: set[_Entry[ClaimT, ResultT]] = set()
        self._waiting: deque[_Entry[ClaimT, ResultT]] = deque()
        self._running = 0
        self._ended = 0  # since the last claim
        self._claimed_at = 0.0
        self._more_due = False
        self._is_notified = False
        self._is_cancelled = False
        self._renewing: asyncio.Task[None] | None = None
        self._releasing: set[asyncio.Task[None]] = set()
        self._wake_up = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stop_now = asyncio.Event()

    @property
    def in_flight(self) -> list[ClaimT]:
        """Claims whose result is not recorded yet."""
        return [entry.claim for entry in self._entries]

    def notify(self) -> None:
        """Claims now instead of at the next poll."""
        self._is_notified = True
        self._wake_up.set()

    def stop(self) -> None:
        if self._stopping.is_set():
            self._stop_now.set()
        self._stopping.set()
        self.notify()

    def start(self, claim: ClaimT) -> "asyncio.Future[ResultT | None]":
        """Runs an entry, also one that was claimed elsewhere; without a free slot it waits for one. The future has the
        recorded result, or None after a cancelled run. A caller that stops waiting must shield it."""
        return self._start(claim, time.monotonic() + self._lease)

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
            self._cancel_runs()
            await asyncio.wait({consuming}, timeout=RELEASE_SECONDS)
            if consuming.done():
                consuming.result()
        finally:
            self._is_cancelled = True
            tasks = (entry.task for entry in self._entries)
            for task in (polling, consuming, stopping, stop_now, self._renewing, *tasks, *self._releasing):
                if task is not None:
                    task.cancel()

    async def run_until_idle(self) -> None:
        """Claims and runs entries until none is due and none is in flight. Raises what `claim` raises."""
        while True:
            # Before the claim: a wake-up during it is not lost.
            self._wake_up.clear()
            self._is_notified = False
            room = 0 if self._stopping.is_set() else self._room()
            self._more_due = room <= 0
            if room > 0:
                await self._claim(room)
            if not self._entries:
                return
            await self._wake_up.wait()
            if not self._is_notified and not self._entries:
                return
            if self._more_due:
                await asyncio.sleep(GATHER_SECONDS)

    def _room(self) -> int:
        rate = self._ended / max(time.monotonic() - self._claimed_at, GATHER_SECONDS)
        ahead = min(self._most_ahead, int(rate * AHEAD_SECONDS))
        return self._capacity + ahead - len(self._entries)

    async def _claim(self, limit: int) -> None:
        self._claimed_at, self._ended = time.monotonic(), 0
        lease_end = self._claimed_at + self._lease
        claims = await self._queue.claim(limit)
        if len(claims) >= limit:
            self._more_due = True
        for claim in claims:
            self._start(claim, lease_end)
        self._outages.ended()

    def _start(self, claim: ClaimT, lease_end: float) -> "asyncio.Future[ResultT | None]":
        entry: _Entry[ClaimT, ResultT] = _Entry(claim, lease_end)
        self._entries.add(entry)
        self._waiting.append(entry)
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew_leases(), name=f"{self._name}-renewals")
        self._fill_slots()
        return entry.recorded

    def _fill_slots(self) -> None:
        while self._waiting and self._running < self._capacity:
            entry = self._waiting.popleft()
            if entry.lease_end <= time.monotonic():
                # Another process may have claimed it meanwhile.
                self._end(entry, None)
                continue
            self._running += 1
            entry.is_running = True
            # In the context of its start: this is also called when another entry ends.
            entry.task = asyncio.create_task(self._run(entry), name=f"{self._name}-entry", context=entry.context)

    async def _run(self, entry: _Entry[ClaimT, ResultT]) -> None:
        has_result = False
        try:
            try:
                result = await self._queue.run(entry.claim)
                has_result = True
                self._ended += 1
                if self._stops(result):
                    self._ended = 0
                    self._release_waiting()
            finally:
                entry.is_running = False
                self._running -= 1
                self._fill_slots()
            if await self._record(entry, result):
                self._more_due = True
        except asyncio.CancelledError:
            if has_result or self._is_cancelled:
                self._end(entry, None)
                raise
            await self._release(entry)
        except Exception as error:
            self._fail(entry, error)
        else:
            self._end(entry, result)

    async def _record(self, entry: _Entry[ClaimT, ResultT], result: ResultT) -> bool:
        """Repeats the write while the queue is unavailable: an entry that has run must not run again."""
        seconds = time.monotonic() - entry.claimed_at
        last_chance = time.monotonic() + self._record_for
        while True:
            try:
                return await self._queue.record(entry.claim, result, seconds)
            except self._unavailable as error:
                if time.monotonic() > last_chance:
                    raise
                self._outages.began(error)
            await asyncio.sleep(RECORD_AGAIN_SECONDS)

    async def _release(self, entry: _Entry[ClaimT, ResultT]) -> None:
        try:
            await self._queue.release(entry.claim)
        except Exception as error:
            self._fail(entry, error)
        except BaseException:
            self._end(entry, None)
            raise
        else:
            self._end(entry, None)

    def _release_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for entry in waiting:
            self._more_due = True
            releasing = asyncio.create_task(self._release(entry), name=f"{self._name}-release")
            self._releasing.add(releasing)
            releasing.add_done_callback(self._releasing.discard)

    def _cancel_runs(self) -> None:
        self._release_waiting()
        for entry in self._entries:
            if entry.is_running and entry.task is not None:
                entry.task.cancel()

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._renew_every)
            young = time.monotonic() - self._renew_every / 2
            running = {entry for entry in self._entries if entry.is_running} | set(self._waiting)
            await asyncio.gather(*(self._renew(entry) for entry in running if entry.claimed_at <= young))

    async def _renew(self, entry: _Entry[ClaimT, ResultT]) -> None:
        lease_end = time.monotonic() + self._lease
        try:
            await self._queue.renew(entry.claim)
        except self._unavailable:
            pass
        except Exception:
            _log.exception("lease_renewal_failed", queue=self._name)
        else:
            entry.lease_end = lease_end

    def _fail(self, entry: _Entry[ClaimT, ResultT], error: Exception) -> None:
        """The entry stays claimed to the end of its lease."""
        if isinstance(error, self._unavailable):
            self._outages.began(error)
        else:
            _log.error("entry_failed", queue=self._name, exc_info=error)
        if not entry.recorded.done():
            entry.recorded.set_exception(error)
            entry.recorded.exception()  # retrieved: a caller need not wait for it
        self._end(entry, None)

    def _end(self, entry: _Entry[ClaimT, ResultT], result: ResultT | None) -> None:
        self._entries.discard(entry)
        if not entry.recorded.done():
            entry.recorded.set_result(result)
        if not self._entries and self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        if self._more_due:
            self.notify()
        elif not self._entries:
            self._wake_up.set()

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
                while not (self._is_notified or self._stopping.is_set()):
                    self._wake_up.clear()
                    await self._wake_up.wait()
        while self._entries:
            await asyncio.wait([entry.recorded for entry in self._entries])

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._back_off)
