"""The HTTP connections of one serving process: their number and their waiting times.

Ordinary connections and streams (WebSockets, Server-Sent Events) have separate limits, so that neither kind uses up the
other one's. At its limit a process first closes connections that are about to end, then the one that has been idle for
the longest time, then the one that has waited for its request's head for the longest time. A few connections beyond
the limit are still read: probes and metrics are answered, and every other request gets a 503.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Literal, Protocol

import structlog

from servicekit.http_limits import HttpLimits

_log = structlog.get_logger()

RESERVED_CONNECTIONS = 32
"""Connections beyond the limit: for probes and metrics, and for reading the paths of rejected requests."""
LINGER_SECONDS = 5
"""Seconds after a response that ends the connection, or while the ignored rest of a body arrives."""
YOUNG_SECONDS = 1
"""Seconds. A connection that has waited for its head for less time is not closed for a new one."""
RETRY_AFTER_SECONDS = 2
MAX_FIELDS = 128
"""Maximum number of header fields of a request, and of its trailer fields."""
MAX_TARGET_BYTES = 16 * 1024
"""Maximum bytes of the request line. RFC 9112, section 3, recommends at least 8,000."""
_LOG_SECONDS = 1

Phase = Literal["head", "idle", "body", "linger"]


class Connection(Protocol):
    def expire(self, phase: Phase) -> None:
        """Called when its time in `phase` is over."""
        ...

    def evict(self) -> None:
        """Called to free its slot for another connection; closes immediately."""
        ...


class ConnectionGuard:
    """Counts the connections of one process and ends those that wait for too long."""

    def __init__(self, limits: HttpLimits) -> None:
        self.limits = limits
        self._ordinary: set[Connection] = set()
        self._reserved: set[Connection] = set()
        self._streams: set[object] = set()
        self._seconds: dict[Phase, float] = {
            "head": limits.head_seconds,
            "idle": limits.idle_seconds,
            "body": limits.body_seconds,
            "linger": LINGER_SECONDS,
        }
        # Each phase has one length, so the order of insertion is that of the deadlines.
        self._waiting: dict[Phase, OrderedDict[Connection, float]] = {phase: OrderedDict() for phase in self._seconds}
        self._phases: dict[Connection, Phase] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._refusals = _RefusalLog()

    # Bounds

    def admit(self, connection: Connection) -> bool:
        """Counts a new connection. Returns False if not even its path may be read."""
        if self._has_room():
            self._ordinary.add(connection)
        elif len(self._reserved) < RESERVED_CONNECTIONS:
            self._reserved.add(connection)
        else:
            return False
        return True

    def may_serve(self, connection: Connection, path: str) -> bool:
        """Whether a request on `connection` may be served now."""
        if connection not in self._reserved or path in self.limits.operator_paths:
            return True
        if not self._has_room():
            return False
        self._reserved.discard(connection)
        self._ordinary.add(connection)
        return True

    def is_reserved(self, connection: Connection) -> bool:
        return connection in self._reserved

    def begin_stream(self, stream: object) -> bool:
        """Returns False at the limit. An HTTP connection that becomes a stream does not count as an ordinary one
        meanwhile."""
        if len(self._streams) >= self.limits.max_streams:
            return False
        self._streams.add(stream)
        self._ordinary.discard(stream)
        self._reserved.discard(stream)
        return True

    def has_room_for_stream(self) -> bool:
        return len(self._streams) < self.limits.max_streams

    def end_stream(self, stream: object) -> None:
        self._streams.discard(stream)

    def resume(self, connection: Connection) -> bool:
        """Counts an HTTP connection as an ordinary one again after its stream. Returns False at the limit."""
        if connection in self._streams:
            self._streams.discard(connection)
            if not self._has_room():
                return False
            self._ordinary.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        self.wait(connection, None)
        self._ordinary.discard(connection)
        self._reserved.discard(connection)
        self._streams.discard(connection)

    def _has_room(self) -> bool:
        return len(self._ordinary) < self.limits.max_connections or self._evict()

    def _evict(self) -> bool:
        now = time.monotonic()
        for phase in ("linger", "idle", "head"):
            for connection, deadline in self._oldest(phase):
                if connection not in self._ordinary:
                    continue
                waited = now - deadline + self._seconds[phase]
                if phase == "head" and waited < min(YOUNG_SECONDS, self.limits.head_seconds / 10):
                    break
                self.forget(connection)
                connection.evict()
                return True
        return False

    def _oldest(self, phase: Phase) -> Iterator[tuple[Connection, float]]:
        """The first ones suffice: at most the reserved ones of those that wait are not ordinary."""
        for count, item in enumerate(self._waiting[phase].items()):
            if count > RESERVED_CONNECTIONS:
                return
            yield item

    # Deadlines

    def wait(self, connection: Connection, phase: Phase | None) -> None:
        """Starts the time of `phase`, unless the connection is in it already; None ends the current phase."""
        before = self._phases.get(connection)
        if before == phase:
            return
        if before is not None:
            del self._waiting[before][connection]
            del self._phases[connection]
        if phase is None:
            return
        self._phases[connection] = phase
        self._waiting[phase][connection] = time.monotonic() + self._seconds[phase]
        if phase == "idle" and len(self._waiting["idle"]) > self.limits.max_idle_connections:
            self._end_first("idle")
        if self._sweeping is None:
            self._schedule()

    def _schedule(self) -> None:
        interval = min(0.5, max(0.02, min(self._seconds.values()) / 8))
        self._sweeping = asyncio.get_running_loop().call_later(interval, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        now = time.monotonic()
        for phase, waiting in self._waiting.items():
            while waiting and next(iter(waiting.values())) <= now:
                self._end_first(phase)
        if self._phases:
            self._schedule()

    def _end_first(self, phase: Phase) -> None:
        connection = next(iter(self._waiting[phase]))
        self.wait(connection, None)
        connection.expire(phase)

    # Log

    def note(self, status: int, code: str, request_id: str) -> None:
        self._refusals.note(status, code, request_id)


class _RefusalLog:
    """Logs at most one line a second for each code, because thousands of requests may be rejected."""

    def __init__(self) -> None:
        self._since: Counter[str] = Counter()
        self._last: dict[str, float] = {}

    def note(self, status: int, code: str, request_id: str) -> None:
        self._since[code] += 1
        now = time.monotonic()
        if now - self._last.get(code, -_LOG_SECONDS) >= _LOG_SECONDS:
            _log.warning("http.refused", status=status, code=code, count=self._since.pop(code), last_id=request_id)
            self._last[code] = now
