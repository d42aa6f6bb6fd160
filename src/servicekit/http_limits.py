"""What one serving process grants its HTTP connections: how many, and how long each may wait.

Ordinary connections and streams (WebSockets, Server-Sent Events) are counted apart, so that neither uses up the other's
bound. A full process makes room first: it closes connections that are about to end, then the one that has been idle for
the longest time, then the one that has waited for its request's head for the longest time. A few connections beyond
the bound are still read, so that probes and metrics are answered and everything else gets a 503.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import structlog

_log = structlog.get_logger()

RESERVED_CONNECTIONS = 32
"""Beyond the bound: for probes and metrics, and for reading the path of what is refused."""
LINGER_SECONDS = 5
"""After an answer that ends a connection, or while the rest of a body arrives that no longer matters."""
YOUNG_SECONDS = 1
"""A connection that has waited for its head for less than this is not closed to make room."""
RETRY_AFTER_SECONDS = 2
MAX_FIELDS = 128
"""Header fields of a request, and as many trailer fields."""
MAX_TARGET_BYTES = 16 * 1024
"""Of the request line. RFC 9112, section 3, recommends at least 8,000."""
_LOG_SECONDS = 1

Phase = Literal["head", "idle", "body", "linger"]


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """For one process. `operator_paths` are served beyond the bound; `stream_paths` count as streams."""

    max_connections: int = 1000
    max_idle_connections: int = 500
    max_streams: int = 1000
    head_bytes: int = 32 * 1024
    head_seconds: float = 10
    body_seconds: float = 20
    idle_seconds: float = 5
    operator_paths: frozenset[str] = frozenset()
    stream_paths: frozenset[str] = frozenset()


class Connection(Protocol):
    def expire(self, phase: Phase) -> None:
        """Called once its time in `phase` is over."""
        ...

    def evict(self) -> None:
        """Called when it has to make room; closes at once."""
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
        """False where not even its path may be read."""
        if self._has_room():
            self._ordinary.add(connection)
        elif len(self._reserved) < RESERVED_CONNECTIONS:
            self._reserved.add(connection)
        else:
            return False
        return True

    def may_serve(self, connection: Connection, path: str) -> bool:
        """Whether a request that came over `connection` may be served now."""
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
        """False at the bound. An HTTP connection that becomes a stream is not counted as an ordinary one meanwhile."""
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
        """Counts an HTTP connection as an ordinary one again, after its stream; False where there is no room for it."""
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
        """The first ones are enough: of those that wait, at most the reserved ones are not ordinary."""
        for count, item in enumerate(self._waiting[phase].items()):
            if count > RESERVED_CONNECTIONS:
                return
            yield item

    # Deadlines

    def wait(self, connection: Connection, phase: Phase | None) -> None:
        """Starts the time of `phase`, unless the connection is in it already; None ends the one before."""
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
    """At most a line a second for each code: what is refused here may come in thousands."""

    def __init__(self) -> None:
        self._since: Counter[str] = Counter()
        self._last: dict[str, float] = {}

    def note(self, status: int, code: str, request_id: str) -> None:
        self._since[code] += 1
        now = time.monotonic()
        if now - self._last.get(code, -_LOG_SECONDS) >= _LOG_SECONDS:
            _log.warning("http.refused", status=status, code=code, count=self._since.pop(code), last_id=request_id)
            self._last[code] = now
