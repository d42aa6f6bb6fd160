"""Admission of requests: while many uses of the database wait for a connection, new requests wait at the entrance, and
are refused after a bounded time.

Without an entrance each request waits before every use of the database. Under overload most requests then fail in one
of the later waits, and the work that was done for them is lost. A request that is refused at the entrance has cost
nothing. The longest wait is generous for a burst and short in a lasting overload, so that the queue stays short then
(B. Maurer, "Fail at Scale", ACM Queue 13/8, 2015; after CoDel, RFC 8289).
"""

import asyncio
import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import structlog

LASTING_OVERLOAD_SHARE = 0.1
"""The part of the longest wait that is allowed when requests have been waiting for longer than that wait."""
_LOG_SECONDS = 10

_log = structlog.get_logger()
_Turn = tuple[float, "asyncio.Future[None]"]
"""The time at which a request began to wait, and what ends its wait."""


class Admission:
    """`database_waits`: so many uses may wait for a connection before requests wait here. `seconds`: the longest wait
    of a request."""

    def __init__(self, *, database_waits: int, seconds: float) -> None:
        self._most_waits = database_waits
        self._seconds = seconds
        self._waits = 0
        self._queue: deque[_Turn] = deque()
        self._overloaded_since = 0.0
        self._emptied_at = -math.inf
        self._unlogged = 0
        self._logged_at = -math.inf

    @property
    def waiting(self) -> int:
        """Requests that wait at the entrance."""
        return len(self._queue)

    async def enter(self) -> bool:
        """False if the request is to be refused. A request that has entered calls `left` at its end."""
        if not self._queue and self._waits < self._most_waits:
            return True
        now = asyncio.get_running_loop().time()
        longest = self._longest_wait(now)
        if self._queue and now - self._queue[0][0] > longest:
            return self._refused(now)
        turn = now, asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(longest):
                await turn[1]
        except TimeoutError:
            return self._called_meanwhile(turn) or self._refused(asyncio.get_running_loop().time())
        except asyncio.CancelledError:
            if self._called_meanwhile(turn):
                self._let_next_in()
            raise
        return True

    def left(self) -> None:
        """A request that had entered has ended. It may not have used the database."""
        self._let_next_in()

    @contextmanager
    def database_wait(self) -> Iterator[None]:
        """Around the wait of a use of the database for its connection."""
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1
            self._let_next_in()

    def _longest_wait(self, now: float) -> float:
        """The overload ends when no request has waited for as long as the longest wait."""
        if not self._queue and now - self._emptied_at > self._seconds:
            self._overloaded_since = now
        lasts = now - self._overloaded_since > self._seconds
        return self._seconds * LASTING_OVERLOAD_SHARE if lasts else self._seconds

    def _refused(self, now: float) -> Literal[False]:
        self._unlogged += 1
        if now - self._logged_at >= _LOG_SECONDS:
            _log.warning("requests.overloaded", refused=self._unlogged, waiting=len(self._queue))
            self._unlogged, self._logged_at = 0, now
        return False

    def _called_meanwhile(self, turn: _Turn) -> bool:
        """Whether the turn came in the moment in which its request gave up."""
        if turn[1].done() and not turn[1].cancelled():
            return True
        if turn in self._queue:
            self._queue.remove(turn)
            self._note_if_empty()
        return False

    def _let_next_in(self) -> None:
        while self._queue and self._waits < self._most_waits:
            _, turn = self._queue.popleft()
            self._note_if_empty()
            if not turn.done():
                turn.set_result(None)
                return

    def _note_if_empty(self) -> None:
        if not self._queue:
            self._emptied_at = asyncio.get_running_loop().time()
