"""A streaming replica that serves lists.

Lists are read from the primary while the replica is unreachable, lags, has a schema that this version cannot use, or is
no replica of this primary; and for accounts that have written a moment ago (`infrastructure.redis.recent_writers`).
docs/scaling.md has the reasons.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Protocol, TypeVar, cast

import asyncpg
import structlog

from domain.errors import Unavailable
from infrastructure.postgres.engine import Database
from infrastructure.postgres.schema_version import SCHEMA_VERSION
from infrastructure.retries import TransactionConflict
from servicekit.schema_version import SchemaVersion

CHECK_SECONDS = 1.0
MOST_AGE_SECONDS = 2.0
"""Of a check. After it the replica is not used before the next check has ended."""

_REMEMBERED = 600
"""Positions of the primary, one for each check."""

_FAILURES = (Unavailable, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""Of a check. Any of them only stops the use of the replica."""

_log = structlog.get_logger(__name__)

T = TypeVar("T")

_CLUSTER = "(SELECT system_identifier FROM pg_control_system())"
_PRIMARY = f"SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS written, {_CLUSTER} AS cluster"
_REPLICA = f"""
SELECT pg_is_in_recovery() AS standby, pg_last_wal_replay_lsn() - '0/0'::pg_lsn AS replayed, {_CLUSTER} AS cluster
"""


class ReplicaState(StrEnum):
    UNKNOWN = "unknown"
    USED = "used"
    LAGGING = "lagging"
    UNREACHABLE = "unreachable"
    OTHER_SCHEMA = "other_schema"
    NOT_A_REPLICA = "not_a_replica"


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """`lag_seconds`: an upper bound, None while it is unknown."""

    state: ReplicaState = ReplicaState.UNKNOWN
    lag_seconds: float | None = None


class Report(Protocol):
    """Receives the status after each check, and which server served a list: `replica` or `primary`."""

    def replica(self, *, used: bool, lag_seconds: float | None) -> None: ...
    def list_read(self, server: str) -> None: ...


class RecentWriters(Protocol):
    async def reader_wrote(self) -> bool:
        """Whether the account of the request in progress has written a moment ago, or this is unknown."""
        ...


class ReplicaWatch:
    """Checks the replica every second.

    The lag is the age of the newest position of the primary's log that the replica has replayed. It grows also while
    the primary is idle, the connection between the two is cut, or replay is paused, when the times that PostgreSQL
    reports stand still.
    """

    def __init__(
        self,
        primary: Database,
        replica: Database,
        *,
        most_lag_seconds: float,
        report: Report | None = None,
        now: Callable[[], float] = time.monotonic,
        schema: SchemaVersion = SCHEMA_VERSION,
        most_age_seconds: float = MOST_AGE_SECONDS,
    ) -> None:
        self._primary = primary
        self._replica = replica
        self._most_lag_seconds = most_lag_seconds
        self._report = report
        self._now = now
        self._schema = schema
        self._most_age_seconds = most_age_seconds
        self._checked_at = 0.0
        self._written: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)
        self._replayed_at: float | None = None
        self._cluster: int | None = None
        self.status = ReplicaStatus()

    @property
    def used(self) -> bool:
        is_fresh = self._now() - self._checked_at <= self._most_age_seconds
        return self.status.state is ReplicaState.USED and is_fresh

    async def run(self) -> None:
        """Checks until it is cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(CHECK_SECONDS)

    async def check(self) -> None:
        await self._read_primary()
        status = await self._read_replica()
        self._checked_at = self._now()
        self._change(status)

    def failed(self) -> None:
        """A read failed: the replica is not used until the next check."""
        self._change(replace(self.status, state=ReplicaState.UNREACHABLE))

    async def _read_primary(self) -> None:
        """A primary that does not answer, or has become a standby, gives no new position: the lag grows."""
        with suppress(*_FAILURES):
            asked_at = self._now()
            async with self._primary.connection() as connection:
                row = await connection.fetchrow(_PRIMARY)
            assert row
            self._cluster = row["cluster"]
            self._written.append((asked_at, int(row["written"])))

    async def _read_replica(self) -> ReplicaStatus:
        try:
            async with self._replica.connection() as connection:
                row = await connection.fetchrow(_REPLICA)
                fits = await self._fits(connection) if row and row["standby"] else False
        except _FAILURES:
            return ReplicaStatus(ReplicaState.UNREACHABLE, self._lag_seconds())
        assert row
        if not row["standby"] or self._cluster not in {None, row["cluster"]}:
            return ReplicaStatus(ReplicaState.NOT_A_REPLICA)
        while self._written and self._written[0][1] <= row["replayed"]:
            self._replayed_at = self._written.popleft()[0]
        lag = self._lag_seconds()
        if lag is None or lag > self._most_lag_seconds:
            return ReplicaStatus(ReplicaState.LAGGING, lag)
        return ReplicaStatus(ReplicaState.USED if fits else ReplicaState.OTHER_SCHEMA, lag)

    async def _fits(self, connection: Any) -> bool:
        found = await self._schema.fit(connection)
        return replace(found, needed=self._needed).usable

    @cached_property
    def _needed(self) -> str:
        return self._schema.needed

    def _lag_seconds(self) -> float | None:
        return None if self._replayed_at is None else self._now() - self._replayed_at

    def _change(self, status: ReplicaStatus) -> None:
        if status.state is not self.status.state:
            details = {"state": status.state, "before": self.status.state, "lag_seconds": status.lag_seconds}
            if status.state is ReplicaState.USED:
                _log.info("replica.used", **details)
            else:
                _log.warning("replica.not_used", **details)
        self.status = status
        if self._report:
            self._report.replica(used=self.used, lag_seconds=status.lag_seconds)


class ReplicaReads:
    """Chooses the server of each list."""

    def __init__(self, watch: ReplicaWatch, writers: RecentWriters, report: Report | None = None) -> None:
        self._watch = watch
        self._writers = writers
        self._report = report

    async def read(self, on_replica: Callable[[], Awaitable[T]], on_primary: Callable[[], Awaitable[T]]) -> T:
        """A failure of the replica is not seen: the primary answers. So it does for a query that the replica cancels,
        because a change from the primary conflicts with it."""
        if self._watch.used and not await self._writers.reader_wrote():
            try:
                found = await on_replica()
            except TransactionConflict:
                pass
            except Unavailable:
                self._watch.failed()
            else:
                self._served("replica")
                return found
        self._served("primary")
        return await on_primary()

    def routed(self, primary: T, replica: T, lists: Iterable[str]) -> T:
        """These queries, with the named methods served by the replica where it may be used."""
        return cast(T, _Routed(self, primary, replica, lists))

    def _served(self, server: str) -> None:
        if self._report:
            self._report.list_read(server)


class _Routed:
    def __init__(self, reads: ReplicaReads, primary: object, replica: object, lists: Iterable[str]) -> None:
        self._primary = primary
        for name in lists:
            setattr(self, name, _method(reads, getattr(primary, name), getattr(replica, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._primary, name)


def _method(
    reads: ReplicaReads, on_primary: Callable[..., Awaitable[T]], on_replica: Callable[..., Awaitable[T]]
) -> Callable[..., Awaitable[T]]:
    async def call(*arguments: Any, **named: Any) -> T:
        return await reads.read(lambda: on_replica(*arguments, **named), lambda: on_primary(*arguments, **named))

    return call
