"""Bounded access to the CRM's PostgreSQL: an answer or `DatabaseUnavailable` within five seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Protocol

import asyncpg
from asyncpg.exceptions import InterfaceError

POOL_SIZE = 4
CONNECT_SECONDS = 2.0
WORK_SECONDS = 3.0
RELEASE_SECONDS = 1.0

_AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
    InterfaceError,
)


class Connection(Protocol):
    """What the CRM uses of an asyncpg connection, which carries no types of its own."""

    def transaction(self) -> AbstractAsyncContextManager[Any]: ...

    async def execute(self, query: str, *args: object) -> str: ...

    async def fetch(self, query: str, *args: object) -> list[Mapping[str, Any]]: ...

    async def fetchrow(self, query: str, *args: object) -> Mapping[str, Any] | None: ...


class DatabaseUnavailable(Exception):
    """The database did not answer in time, or not at all; nothing is known to have been committed."""


class Database:
    """A small pool. It opens without a connection, so that the service starts and heals without its database."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: Any = None

    async def open(self) -> None:
        create_pool: Any = asyncpg.create_pool
        self._pool = await create_pool(
            self._dsn,
            min_size=0,
            max_size=POOL_SIZE,
            timeout=CONNECT_SECONDS,
            command_timeout=WORK_SECONDS,
            server_settings={"application_name": "convene-crm"},
        )

    async def close(self) -> None:
        if self._pool is None:
            return
        try:
            await asyncio.wait_for(self._pool.close(), WORK_SECONDS)
        except (TimeoutError, *_AWAY):
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self, seconds: float = WORK_SECONDS) -> AsyncIterator[Connection]:
        """Lend a connection for at most `seconds`; raises DatabaseUnavailable when it cannot be had or breaks."""
        if self._pool is None:
            raise DatabaseUnavailable("the pool is not open")
        try:
            async with asyncio.timeout(seconds):
                connection = await self._pool.acquire()
                try:
                    yield connection
                finally:
                    with suppress(TimeoutError, *_AWAY):
                        await self._pool.release(connection, timeout=RELEASE_SECONDS)
        except (TimeoutError, *_AWAY) as error:
            if isinstance(error, ValueError):  # asyncpg's complaint about an argument: a bug, no outage
                raise
            raise DatabaseUnavailable(f"{type(error).__name__}: {error}") from error

    async def answers(self) -> bool:
        """Whether the database answers within a second."""
        try:
            async with self.connection(seconds=1.0) as connection:
                await connection.execute("SELECT 1")
        except DatabaseUnavailable:
            return False
        return True
