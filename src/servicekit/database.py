"""A pool of asyncpg connections: a connection within a deadline, or an error that says that there is none."""

import asyncio
import functools
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import asyncpg

from servicekit import sqlstates
from servicekit.conflicts import repeated
from servicekit.pooler import DIRECT, Pooler

CLOSE_SECONDS = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of waiting for the database, in seconds, derived from one figure.

    `total`: all of one use of the database, waiting for a connection included. A caller is answered a second later.
    """

    total: float = 4

    @property
    def connect(self) -> float:
        """For a free connection of the pool, and for a new one to the server."""
        return self.total * 3 / 4

    @property
    def session_settings(self) -> dict[str, str]:
        """Parameters of each session."""
        return {
            # A longer wait for a lock becomes an error: a stalled holder must not exhaust the pool.
            "lock_timeout": f"{self.total * 750:.0f}ms",
            "statement_timeout": f"{self.total * 1000:.0f}ms",
            "idle_in_transaction_session_timeout": f"{self.total * 2500:.0f}ms",
            "timezone": "UTC",
            # The statements are short and their plans few; compiling them to machine code costs more than it gives.
            "jit": "off",
        }


_CLIENT_SIDE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # Raised by asyncpg when a server closes a connection that is just being handed out.
    asyncpg.InternalClientError,
)
"""What the driver raises itself when the server is unreachable or stalled. `sqlstates` has the server's errors."""

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


def is_unavailable(error: BaseException | None) -> bool:
    """Whether `error` is an outage. asyncpg's complaint about an argument is a ValueError, and a fault of the code."""
    if isinstance(error, asyncpg.PostgresError):
        return sqlstates.is_outage(error.sqlstate or "")
    return isinstance(error, _CLIENT_SIDE) and not isinstance(error, ValueError)


@contextmanager
def raised_as(unavailable: type[Exception]) -> Iterator[None]:
    """Raises `unavailable` for each error of the driver that is an outage."""
    try:
        yield
    except (*_CLIENT_SIDE, asyncpg.PostgresError) as error:
        if is_unavailable(error):
            raise unavailable from error
        raise


def is_conflict(error: BaseException | None) -> bool:
    """Whether the server rolled the transaction back because of another one, or because a migration has changed a table
    after the connection planned a statement that reads it."""
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return True
    return isinstance(error, asyncpg.PostgresError) and sqlstates.is_conflict(error.sqlstate or "")


async def in_transaction(connection: Connection, work: Callable[[], Awaitable[T]]) -> T:
    """The result of `work` in a transaction of `connection`. Both are repeated after a conflict, so `work` must do
    nothing but statements of this transaction."""

    async def once() -> T:
        async with connection.transaction():
            return await work()

    done = await repeated(once, is_conflict)
    connection.wrote()  # type: ignore[attr-defined]
    return done


_WRITES = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)


@functools.lru_cache(1000)
def _may_write(statement: str) -> bool:
    return _WRITES.search(statement) is not None


class RepeatingConnection(asyncpg.Connection):
    """Repeats a statement after a conflict, if it is a transaction by itself. `wrote` is called after each transaction
    that may have written."""

    def wrote(self) -> None: ...

    async def execute(self, query: str, *arguments: Any, **options: Any) -> Any:
        return await self._repeated(super().execute, query, arguments, options)

    async def fetch(self, query: str, *arguments: Any, **options: Any) -> Any:
        return await self._repeated(super().fetch, query, arguments, options)

    async def fetchrow(self, query: str, *arguments: Any, **options: Any) -> Any:
        return await self._repeated(super().fetchrow, query, arguments, options)

    async def fetchval(self, query: str, *arguments: Any, **options: Any) -> Any:
        return await self._repeated(super().fetchval, query, arguments, options)

    async def _repeated(
        self, run: Callable[..., Awaitable[Any]], query: str, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        if self.is_in_transaction():
            return await run(query, *arguments, **options)
        result = await repeated(lambda: run(query, *arguments, **options), is_conflict)
        if _may_write(query):
            self.wrote()
        return result


def _ignore(_seconds: float) -> None:
    pass


class ConnectionPool:
    """Opened by its first use, so that a process starts while its database is unreachable.

    Raises `unavailable` for an outage. `server_settings`: parameters of each session, besides those of `timeouts`.
    `prepare` sets up a new connection. `waiting` surrounds each wait for a connection, `waited` receives its seconds,
    `released` is called after each release, `wrote` after each transaction that may have written.
    """

    def __init__(
        self,
        dsn: str,
        *,
        size: int,
        unavailable: type[Exception],
        server_settings: Mapping[str, str],
        timeouts: Timeouts,
        pooler: Pooler = DIRECT,
        prepare: Callable[[Any], Coroutine[Any, Any, None]] | None = None,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
        waited: Callable[[float], None] = _ignore,
        released: Callable[[], None] = lambda: None,
        wrote: Callable[[], None] = lambda: None,
    ) -> None:
        self._dsn = dsn
        self._size = size
        self._unavailable = unavailable
        self.timeouts = timeouts
        connection_class = type("PooledConnection", (RepeatingConnection,), {"wrote": lambda _self: wrote()})
        self._options = pooler.connect_options(timeouts.session_settings | dict(server_settings), connection_class)
        self._prepare = prepare
        self._waiting = waiting
        self._waited = waited
        self._released = released
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    @property
    def in_use(self) -> int:
        """Connections that are handed out."""
        return self._pool.get_size() - self._pool.get_idle_size() if self._pool else 0

    @asynccontextmanager
    async def connection(self, seconds: float | None = None) -> AsyncIterator[Connection]:
        """A connection for at most `seconds`, the total of the timeouts by default, with the wait for it."""
        with raised_as(self._unavailable):
            async with asyncio.timeout(self.timeouts.total if seconds is None else seconds):
                pool = self._pool or await self._open()
                began = time.perf_counter()
                try:
                    with self._waiting():
                        connection = await pool.acquire(timeout=self.timeouts.connect)
                finally:
                    self._waited(time.perf_counter() - began)
                try:
                    yield connection
                except (TimeoutError, asyncio.CancelledError):
                    # Its statement still runs. asyncpg would wait for the server, which may not respond.
                    connection.terminate()
                    raise
                finally:
                    await pool.release(connection)
                    self._released()

    @asynccontextmanager
    async def snapshot(self, seconds: float | None = None) -> AsyncIterator[Connection]:
        """As `connection`; its statements all read the state of one moment."""
        async with (
            self.connection(seconds) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    async def answers(self) -> bool:
        """Whether the database answers within a second."""
        with suppress(self._unavailable):
            async with self.connection(seconds=1) as connection:
                await connection.execute("SELECT 1")
                return True
        return False

    async def close(self) -> None:
        """Closes all connections. The next use opens the pool again, as it opens that of SQLAlchemy's engine."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), CLOSE_SECONDS)
        except (*_CLIENT_SIDE, asyncpg.PostgresError):
            pool.terminate()

    async def _open(self) -> "asyncpg.Pool[asyncpg.Record]":
        pool = asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=self._size,
            max_inactive_connection_lifetime=300,
            timeout=self.timeouts.connect,
            command_timeout=self.timeouts.total,
            init=self._prepare,
            reset=_nothing_to_reset,
            **self._options,
        )
        # Set before the await: concurrent callers share this pool, and asyncpg opens it once.
        self._pool = pool = self._pool or pool
        await pool
        return pool


async def _nothing_to_reset(_connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """No statement leaves anything behind in its session (settings, locks, listeners), so a release needs no round
    trip. A transaction is always ended by its context manager."""
