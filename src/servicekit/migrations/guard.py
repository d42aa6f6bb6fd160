"""What a migration has beside its statements: the lock of migrations, and a look at what the statements wait for.

The lock is that of a transaction, so it also works through a pooler that lends a connection for each transaction. That
transaction has no snapshot, so CREATE INDEX CONCURRENTLY does not wait for it; looking needs another connection.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeAlias

import asyncpg

Driver: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Report: TypeAlias = Callable[[str], object]
"""Receives each sentence about a wait."""

APPLICATION = "convene-migrate"
"""The name of all connections of migrations."""
CONNECT_SECONDS = 5
_LOOK_SECONDS = 0.1
_REPORT_SECONDS = 10
"""A wait that goes on is reported so often."""

_NO_LIMITS = """
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')
    AND setting <> '0'
"""
"""A role's own limits would end a long index build, or the transaction that holds the lock."""

_BLOCKERS = """
SELECT 'process ' || blocking.pid || coalesce(' (' || nullif(concat_ws(', ',
        nullif(a.application_name, ''), nullif(a.backend_type, 'client backend'), a.state,
        'for ' || round(extract(epoch FROM clock_timestamp() - a.xact_start)) || ' s'), '') || ')', '')
FROM unnest(pg_blocking_pids($1)) AS blocking(pid) LEFT JOIN pg_stat_activity a ON a.pid = blocking.pid
ORDER BY a.xact_start NULLS LAST LIMIT 1
"""
_HOLDER = """
SELECT 'process ' || l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
WHERE l.locktype = 'advisory' AND l.classid = ($1::bigint >> 32)::oid AND l.objid = ($1::bigint & 4294967295)::oid
    AND l.granted
LIMIT 1
"""


class MigrationBlocked(Exception):
    """A migration has waited too long. The message is one sentence: for what, and what to do."""


class Guard:
    """Holds the lock by `connection`. `patience`: seconds that one statement or one revision waits for other
    transactions, all attempts together."""

    def __init__(self, connection: Driver, report: Report, patience: float) -> None:
        self._connection = connection
        self.report = report
        self.patience = patience
        self._seen: tuple[float, str] | None = None
        self._unlimited = False

    @property
    def blocker(self) -> str | None:
        """What the statements waited for a moment ago, if that was seen."""
        return self._seen[1] if self._seen and time.monotonic() - self._seen[0] < 1 else None

    def require_lock(self) -> None:
        """Raises `MigrationBlocked` if the connection is lost, and with it the lock."""
        if self._connection.is_closed():
            raise MigrationBlocked("the connection that holds the lock of migrations is lost: run the command again")

    @contextmanager
    def unlimited(self) -> Iterator[None]:
        """For a statement without `lock_timeout`: the watch reports its wait, and ends it after `patience` seconds."""
        self._unlimited = True
        try:
            yield
        finally:
            self._unlimited = False

    async def watch(self, dsn: str, pid: int) -> None:
        """Observes the process `pid` of the server, until this task is cancelled."""
        await asyncio.sleep(_LOOK_SECONDS)
        connection = await connect(dsn)
        try:
            since = reported = 0.0
            while True:
                blocker, now = await connection.fetchval(_BLOCKERS, pid), time.monotonic()
                if blocker:
                    self._seen = now, blocker
                since = (since or now) if blocker and self._unlimited else 0.0
                if since and now - since > self.patience:
                    await connection.execute(f"SELECT pg_cancel_backend({pid})")
                elif since and now - max(reported, since) > _REPORT_SECONDS:
                    self.report(f"the migration has waited {now - since:.0f} s for {blocker}")
                    reported = now
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            connection.terminate()


@asynccontextmanager
async def guarded(
    dsn: str, lock: int, report: Report, *, patience: float, patience_for_others: float
) -> AsyncIterator[Guard]:
    """Holds the lock. Raises `MigrationBlocked` if other migrations hold it for `patience_for_others` seconds."""
    connection = await connect(dsn)
    try:
        await _acquire(connection, lock, report, patience_for_others)
        yield Guard(connection, report, patience)
    finally:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            await connection.close(timeout=CONNECT_SECONDS)


async def connect(dsn: str) -> Driver:
    connection = await asyncpg.connect(
        dsn, timeout=CONNECT_SECONDS, statement_cache_size=0, server_settings={"application_name": APPLICATION}
    )
    try:
        await connection.execute(_NO_LIMITS)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _acquire(connection: Driver, lock: int, report: Report, patience: float) -> None:
    """Tries again and again instead of waiting: a statement that waits has a snapshot, and the migration that holds the
    lock would wait for it when it builds an index."""
    began = time.monotonic()
    reported = None
    while True:
        await connection.execute("BEGIN")
        if await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", lock):
            # The portal of the last query keeps its snapshot until the next one.
            await connection.execute("SELECT")
            return
        holder = await connection.fetchval(_HOLDER, lock) or "another process"
        await connection.execute("ROLLBACK")
        now = time.monotonic()
        if now - began > patience:
            raise MigrationBlocked(
                f"{holder} has migrated this database for {patience:.0f} s: wait for its end, then run the command"
                " again"
            )
        if reported is None or now - reported > _REPORT_SECONDS:
            report(f"waiting for another migration of this database, {holder}")
            reported = now
        await asyncio.sleep(random.uniform(0.1, 0.3))  # noqa: S311
