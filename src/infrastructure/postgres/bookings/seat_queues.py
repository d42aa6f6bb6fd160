"""Requests for seats in one event wait for each other, and are carried out together (docs/decisions/0014)."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol, TypeAlias

from application.bookings.ports import ReservedBooking, SeatInventory
from application.idempotency import CLAIM, Claim
from domain.accounts import UserId
from domain.errors import Unavailable
from domain.events import Event, EventId
from infrastructure.retries import TransactionConflict, make_final

MOST = 64
"""Requests in one batch. It bounds the time that a transaction has the event's row locked."""


@dataclass(frozen=True, slots=True)
class SeatRequest:
    """One call of `SeatInventory.reserve`, without the event."""

    user_id: UserId
    notes: str | None
    now: datetime
    hold_for: timedelta | None
    request_id: str | None
    unpaid_at_most: int | None = None
    claim: Claim | None = None


class NotInBatch(Enum):
    """The request has to be carried out by itself."""

    ALONE = "alone"


SeatAnswer: TypeAlias = ReservedBooking | None | NotInBatch


class SeatBatches(Protocol):
    async def reserve_together(self, event_id: EventId, requests: Sequence[SeatRequest]) -> Sequence[SeatAnswer]:
        """The answer to each request, as if they were carried out one after the other. An error is one of all: nothing
        was written, or after `Unavailable` perhaps everything."""
        ...


class _Turn(Enum):
    """The request is the only one that waited, and is carried out as the first one was."""

    OWN = "own"


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: SeatRequest
    answer: "asyncio.Future[SeatAnswer | _Turn]"


class QueuedSeatInventory:
    """A request for an event is carried out immediately if no other one is under way in this process. Those that come
    meanwhile wait, and are then reserved together, first come first served, in batches of at most `MOST`. So no request
    waits for a timer, and an event occupies at most one connection of the process.

    - `seats` carries out single requests, `batches` several. A batch that fails because of an error in the data or the
      code is repeated with each request by itself.
    - A request waits for at most `seconds`. A request that is cancelled or waits for too long leaves the queue; if its
      batch is under way, it is unknown whether its seat is reserved.
    """

    def __init__(self, seats: SeatInventory, batches: SeatBatches, *, seconds: float) -> None:
        self._seats = seats
        self._batches = batches
        self._seconds = seconds
        self._queues: dict[EventId, deque[_Waiting]] = {}
        """Of the events with a request under way."""
        self._running: set[asyncio.Task[None]] = set()

    async def reserve(
        self,
        *,
        event_id: EventId,
        user_id: UserId,
        notes: str | None,
        now: datetime,
        hold_for: timedelta | None,
        request_id: str | None,
        unpaid_at_most: int | None = None,
    ) -> ReservedBooking | None:
        async def alone() -> ReservedBooking | None:
            return await self._seats.reserve(
                event_id=event_id,
                user_id=user_id,
                notes=notes,
                now=now,
                hold_for=hold_for,
                request_id=request_id,
                unpaid_at_most=unpaid_at_most,
            )

        claim = CLAIM.get()
        if claim is not None and claim.made is not None:
            return await alone()
        queue = self._queues.get(event_id)
        if queue is None:
            self._queues[event_id] = deque()
            try:
                return await alone()
            finally:
                self._continue(event_id)
        request = SeatRequest(user_id, notes, now, hold_for, request_id, unpaid_at_most, claim)
        async with self._deadline():
            answer = await self._answer(event_id, queue, request)
            if answer is _Turn.OWN:
                try:
                    return await alone()
                finally:
                    self._continue(event_id)
            if isinstance(answer, NotInBatch):
                return await alone()
        # The batch has committed, and in another context than that of this request.
        make_final()
        return answer

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return not self._queues and not self._running

    async def find_event(self, event_id: EventId, user_id: UserId) -> tuple[Event, bool] | None:
        return await self._seats.find_event(event_id, user_id)

    async def count_unpaid_holds(self, user_id: UserId) -> int:
        return await self._seats.count_unpaid_holds(user_id)

    @contextlib.asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError as error:
            raise Unavailable from error

    async def _answer(self, event_id: EventId, queue: deque[_Waiting], request: SeatRequest) -> SeatAnswer | _Turn:
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        queue.append(waiting)
        try:
            return await waiting.answer
        except asyncio.CancelledError:
            if _has_turn(waiting.answer):
                self._continue(event_id)
            raise

    def _continue(self, event_id: EventId) -> None:
        """Carries out the requests that have waited for the one that has just ended."""
        queue = self._queues[event_id]
        taken: list[_Waiting] = []
        while queue and len(taken) < MOST:
            waiting = queue.popleft()
            if not waiting.answer.done():  # else its request has ended
                taken.append(waiting)
        if not taken:
            del self._queues[event_id]
        elif len(taken) == 1:
            taken[0].answer.set_result(_Turn.OWN)
        else:
            # The task serves several requests, so it has a separate context and continues if one is cancelled.
            task = asyncio.create_task(self._carry_out(event_id, taken), context=Context())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _carry_out(self, event_id: EventId, taken: Sequence[_Waiting]) -> None:
        try:
            answers = await self._batches.reserve_together(event_id, [waiting.request for waiting in taken])
            for waiting, answer in zip(taken, answers, strict=True):
                _set(waiting, answer)
        except TransactionConflict as error:
            _fail(taken, TransactionConflict, error)
        except Unavailable as error:
            _fail(taken, Unavailable, error)
        except Exception as error:
            # Imported here: the tests of rules import this module, and structlog takes long.
            import structlog

            # The cause may be one of the requests. Alone, each gets its own answer, and a traceback is logged with it.
            cause = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            log = structlog.get_logger(__name__)
            log.warning("seat_batch_failed", event_id=event_id, requests=len(taken), error=cause)
            for waiting in taken:
                _set(waiting, NotInBatch.ALONE)
        finally:
            _fail(taken, Unavailable)  # those without an answer, if this task was cancelled
            self._continue(event_id)


def _has_turn(answer: "asyncio.Future[SeatAnswer | _Turn]") -> bool:
    if not answer.done() or answer.cancelled() or answer.exception():
        return False
    return answer.result() is _Turn.OWN


def _set(waiting: _Waiting, answer: SeatAnswer) -> None:
    if not waiting.answer.done():
        waiting.answer.set_result(answer)


def _fail(taken: Sequence[_Waiting], kind: type[Unavailable], cause: Unavailable | None = None) -> None:
    """Each request gets an exception of its own, because tracebacks are added to it."""
    for waiting in taken:
        if not waiting.answer.done():
            error = kind()
            error.__cause__ = cause
            waiting.answer.set_exception(error)
