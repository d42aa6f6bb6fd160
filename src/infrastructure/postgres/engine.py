"""Access to PostgreSQL: pooled asyncpg connections, and sessions of SQLAlchemy."""

import asyncio
import contextlib
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

import asyncpg
import msgspec
from advanced_alchemy.exceptions import RepositoryError
from sqlalchemy import event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, Pool
from sqlalchemy.pool import PoolProxiedConnection as PooledConnection

from domain.errors import Unavailable
from infrastructure.retries import TransactionConflict, make_final
from servicekit.database import (
    Connection,
    ConnectionPool,
    Timeouts,
    is_conflict,
    is_unavailable,
    raised_as,
)
from servicekit.pooler import DIRECT, Pooler


def storable(text: str, longest: int) -> str:
    """The text, truncated and without NUL and lone surrogates, which PostgreSQL cannot store."""
    return text.replace("\x00", "").encode(errors="replace").decode()[:longest]


SERVER_SETTINGS = {
    "application_name": "convene",
    # Every statement here finds its rows by an index. A plan is kept for the life of its connection: one made while a
    # table was small would read all of it, also after it has grown: docs/decisions/0001 has the figures.
    "enable_seqscan": "off",
}


@contextlib.contextmanager
def database_unavailable() -> Iterator[None]:
    """Raises `Unavailable` for the errors of the drivers if the server is unreachable, stalled or overloaded, and
    `TransactionConflict` if it rolled the transaction back because of another one."""
    with raised_as(Unavailable):
        try:
            yield
        except PoolTimeout as error:
            raise Unavailable from error
        except RepositoryError as error:  # made by advanced-alchemy of any of these
            if isinstance(error.__cause__, PoolTimeout):
                raise Unavailable from error
            _raise_unavailable(error)
            raise
        except DBAPIError as error:
            _raise_unavailable(error)
            if error.connection_invalidated:
                raise Unavailable from error
            raise


def _raise_unavailable(error: Exception) -> None:
    found = driver_error(error)
    if is_conflict(found):
        raise TransactionConflict from error
    if is_unavailable(found):
        raise Unavailable from error


def driver_error(error: BaseException) -> BaseException | None:
    """The asyncpg error at the root of what SQLAlchemy or advanced-alchemy raised."""
    current: BaseException | None = error
    while current is not None and not isinstance(current, asyncpg.PostgresError | asyncpg.InterfaceError):
        current = getattr(current, "orig", None) or current.__cause__
    return current


class _ImpatientConnection(asyncpg.Connection):
    """Closes within 0.25 s. SQLAlchemy waits 2 s for an abandoned connection, which a stalled server never closes."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 (asyncpg's own signature)
        await super().close(timeout=min(timeout or 0.25, 0.25))


class PoolWatch(Protocol):
    """Receives the wait of each acquired connection, in seconds, and the number of connections in use."""

    def waited(self, seconds: float) -> None: ...
    def in_use(self, connections: int) -> None: ...


class Database:
    """Opened by its first use, so that a process starts while its database is unreachable."""

    def __init__(
        self,
        dsn: str,
        *,
        pool_size: int = 4,
        timeout: float = 4,
        pooler: Pooler = DIRECT,
        watch: PoolWatch | None = None,
        waiting: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        """`waiting` surrounds each wait for a connection."""
        self.timeouts = timeouts = Timeouts(timeout)
        self._watch = watch
        self._waiting = waiting
        self._pool = ConnectionPool(
            dsn,
            size=pool_size,
            unavailable=Unavailable,
            server_settings=SERVER_SETTINGS,
            timeouts=timeouts,
            pooler=pooler,
            prepare=_decode_json,
            waiting=waiting,
            waited=self._waited,
            released=self._report,
            wrote=make_final,
        )
        self.engine: AsyncEngine = create_async_engine(
            make_url(dsn).set(drivername="postgresql+asyncpg"),
            poolclass=self._watched_pool() if watch else AsyncAdaptedQueuePool,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=timeouts.connect,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={
                "timeout": timeouts.connect,
                "command_timeout": timeouts.total,
                **({} if pooler.prepared_statements else {"prepared_statement_cache_size": 0}),
                **pooler.connect_options(timeouts.session_settings | SERVER_SETTINGS, _ImpatientConnection),
            },
        )
        self._session = async_sessionmaker(self.engine, expire_on_commit=False)
        self._connections: weakref.WeakSet[asyncpg.Connection[asyncpg.Record]] = weakref.WeakSet()
        event.listen(self.engine.sync_engine, "connect", self._connected)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A session for at most the total of the timeouts. Raises `Unavailable` also when that has passed."""
        with database_unavailable():
            async with asyncio.timeout(self.timeouts.total), self._session() as session:
                yield session

    def connection(self) -> contextlib.AbstractAsyncContextManager[Connection]:
        """A pooled asyncpg connection. Raises `Unavailable`."""
        return self._pool.connection()

    def connection_for(self, seconds: float) -> contextlib.AbstractAsyncContextManager[Connection]:
        """As `connection`, for at most `seconds` instead of the total of the timeouts. Each statement has its limit."""
        return self._pool.connection(seconds)

    def snapshot(self, seconds: float | None = None) -> contextlib.AbstractAsyncContextManager[Connection]:
        """A connection whose statements all read the state of one moment, for at most `seconds`, by default the total
        of the timeouts. Raises `Unavailable`."""
        return self._pool.snapshot(seconds)

    async def close(self) -> None:
        await self._pool.close()
        await self.engine.dispose()
        # Those of tasks that have not ended yet: the engine closes only what nothing uses.
        for connection in self._connections:
            if not connection.is_closed():
                connection.terminate()

    def _connected(self, connection: Any, _record: ConnectionPoolEntry) -> None:
        self._connections.add(connection.driver_connection)

    def _waited(self, seconds: float) -> None:
        if self._watch:
            self._watch.waited(seconds)
            self._report()

    def _report(self) -> None:
        if self._watch:
            self._watch.in_use(self._pool.in_use + self.engine.pool.checkedout())  # type: ignore[attr-defined]

    def _watched_pool(self) -> type[Pool]:
        database = self

        class WatchedPool(AsyncAdaptedQueuePool):
            def connect(self) -> PooledConnection:
                began = time.perf_counter()
                try:
                    with database._waiting():
                        return super().connect()
                finally:
                    database._waited(time.perf_counter() - began)

            def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
                super()._do_return_conn(record)
                database._report()

        return WatchedPool


async def _decode_json(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(
            kind, schema="pg_catalog", encoder=_to_json, decoder=msgspec.json.decode, format="text"
        )


def _to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
