"""Texts from outside, made fit for PostgreSQL."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol, TypeAlias

import asyncpg
import msgspec
from advanced_alchemy.exceptions import RepositoryError
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, Pool
from sqlalchemy.pool import PoolProxiedConnection as PooledConnection

from domain.errors import Unavailable


def storable(text: str, longest: int) -> str:
    """Cut short; PostgreSQL keeps no NUL and no lone surrogate, and an answer may hold both."""
    return text.replace("\x00", "").encode(errors="replace").decode()[:longest]


Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


CONNECT_SECONDS = 3

STATEMENT_SECONDS = 4

# All of one use of the database, waiting for a connection included: a caller is answered within 5 s.
DEADLINE_SECONDS = 4

# A longer wait for a lock becomes a 503: a stalled holder must not exhaust the pool.
SERVER_SETTINGS = {
    "application_name": "convene",
    "lock_timeout": "3s",
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "idle_in_transaction_session_timeout": "10s",
    "timezone": "UTC",
    # The statements here are short and their plans few; compiling them to machine code costs more than it gives.
    "jit": "off",
    # Every statement here finds its rows by an index. A plan is kept for the life of its connection: one made while a
    # table was small would read all of it, also after it has grown: docs/decisions/0001 has the figures.
    "enable_seqscan": "off",
}


_AWAY = (
    OSError,
    TimeoutError,
    PoolTimeout,
    asyncpg.InterfaceError,
    # What asyncpg says when a server goes away under a connection that is just being handed out.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.DeadlockDetectedError,
)


@contextlib.contextmanager
def database_unavailable() -> Iterator[None]:
    """Turns whatever the drivers raise when the server is away, stalled or overrun into `Unavailable`."""
    try:
        yield
    except asyncpg.InterfaceError as error:
        if isinstance(error, ValueError):  # a value that fits no parameter is our mistake, not an outage
            raise
        raise Unavailable from error
    except _AWAY as error:
        raise Unavailable from error
    except RepositoryError as error:  # which advanced-alchemy makes of any of these
        if isinstance(error.__cause__, PoolTimeout) or isinstance(driver_error(error), _AWAY):
            raise Unavailable from error
        raise
    except DBAPIError as error:
        if error.connection_invalidated or isinstance(driver_error(error), _AWAY):
            raise Unavailable from error
        raise


@contextlib.asynccontextmanager
async def within_the_deadline() -> AsyncIterator[None]:
    """As `database_unavailable`, and `Unavailable` too when it takes longer than a caller is kept waiting."""
    with database_unavailable():
        async with asyncio.timeout(DEADLINE_SECONDS):
            yield


def driver_error(error: BaseException) -> BaseException | None:
    """The asyncpg error at the root of what SQLAlchemy or advanced-alchemy raised."""
    current: BaseException | None = error
    while current is not None and not isinstance(current, asyncpg.PostgresError | asyncpg.InterfaceError):
        current = getattr(current, "orig", None) or current.__cause__
    return current


class _ImpatientConnection(asyncpg.Connection):
    """SQLAlchemy gives a connection that it abandons 2 s to say goodbye. A server that hangs never does."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 (asyncpg's own signature)
        await super().close(timeout=min(timeout or 0.25, 0.25))


class PoolWatch(Protocol):
    """Receives the wait of each acquired connection, in seconds, and the number of connections in use."""

    def waited(self, seconds: float) -> None: ...
    def in_use(self, connections: int) -> None: ...


class Database:
    """Opened lazily: a process starts, and says that it cannot serve, while its database is away."""

    def __init__(self, dsn: str, *, pool_size: int = 4, watch: PoolWatch | None = None) -> None:
        self._dsn = dsn
        self._pool_size = pool_size
        self._watch = watch
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self.engine: AsyncEngine = create_async_engine(
            make_url(dsn).set(drivername="postgresql+asyncpg"),
            poolclass=self._watched_pool() if watch else AsyncAdaptedQueuePool,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=CONNECT_SECONDS,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={
                "timeout": CONNECT_SECONDS,
                "command_timeout": STATEMENT_SECONDS,
                "server_settings": SERVER_SETTINGS,
                "connection_class": _ImpatientConnection,
            },
        )
        self._session = async_sessionmaker(self.engine, expire_on_commit=False)

    def session(self) -> AsyncSession:
        return self._session()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A pooled asyncpg connection. Raises `Unavailable` when there is none to be had in a few seconds."""
        async with within_the_deadline():
            pool = self._pool or await self._open()
            with self._waiting():
                connection = await pool.acquire(timeout=CONNECT_SECONDS)
            try:
                yield connection
            except (TimeoutError, asyncio.CancelledError):
                # Its query still runs. To take it back asyncpg would wait for the server, which may be what hangs.
                connection.terminate()
                raise
            finally:
                await pool.release(connection)
                self._tell()

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
        await self.engine.dispose()

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            if self._watch:
                self._watch.waited(time.perf_counter() - began)
                self._tell()

    def _tell(self) -> None:
        if self._watch:
            hot = self._pool.get_size() - self._pool.get_idle_size() if self._pool else 0
            self._watch.in_use(hot + self.engine.pool.checkedout())  # type: ignore[attr-defined]

    def _watched_pool(self) -> type[Pool]:
        database = self

        class WatchedPool(AsyncAdaptedQueuePool):
            def connect(self) -> PooledConnection:
                with database._waiting():
                    return super().connect()

            def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
                super()._do_return_conn(record)
                database._tell()

        return WatchedPool

    async def _open(self) -> "asyncpg.Pool[asyncpg.Record]":
        pool = asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=self._pool_size,
            max_inactive_connection_lifetime=300,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            server_settings=SERVER_SETTINGS,
            init=_decode_json,
            reset=_nothing_to_reset,
        )
        # Set before the await: everybody who asks meanwhile shares this one, and asyncpg opens it once.
        self._pool = self._pool or pool
        await self._pool
        return self._pool


async def _decode_json(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(
            kind, schema="pg_catalog", encoder=_to_json, decoder=msgspec.json.decode, format="text"
        )


def _to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def _nothing_to_reset(_connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """No statement here leaves anything behind in its session (settings, locks, listeners), so a release needs no
    round trip. A transaction is always ended by its own context manager."""
