"""Connections of asyncpg to a pooler that lends a server connection for one transaction."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg

T = TypeVar("T")


def connection_class(
    settings: str, base: "type[asyncpg.Connection[asyncpg.Record]] | None"
) -> "type[asyncpg.Connection[asyncpg.Record]]":
    """`base` with the statements `settings` at the beginning of each transaction."""
    bases = (_LentConnection, base) if base else (_LentConnection,)
    return type("LentConnection", bases, {"settings": settings})


class _LentConnection(asyncpg.Connection):
    """Makes its settings at the beginning of each transaction, in the round trip of BEGIN. A statement outside of a
    transaction gets one of its own: without it the pooler could prepare it on one server connection and run it on
    another."""

    settings = ""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109
        if not args and not self.is_in_transaction():
            # Several statements in one message are one transaction, and one round trip.
            query = f"{query}{self.settings}" if query.startswith("BEGIN") else f"{self.settings}{query}"
        status: str = await super().execute(query, *args, timeout=timeout)
        return status

    async def _execute(self, query: str, args: Sequence[Any], *limits: Any, **options: Any) -> Any:
        return await self._in_transaction(super()._execute, query, args, *limits, **options)  # type: ignore[misc]

    async def _executemany(self, query: str, args: Any, *limits: Any, **options: Any) -> Any:
        return await self._in_transaction(super()._executemany, query, args, *limits, **options)  # type: ignore[misc]

    async def _in_transaction(self, run: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:
        if self.is_in_transaction():
            return await run(*arguments, **options)
        try:
            return await self._in_own_transaction(run, *arguments, **options)
        except asyncpg.InvalidCachedStatementError:
            # The schema has changed. asyncpg has dropped the statement, and prepares it again by itself only outside of
            # transactions.
            return await self._in_own_transaction(run, *arguments, **options)

    async def _in_own_transaction(self, run: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:
        await self.execute("BEGIN;")
        try:
            result = await run(*arguments, **options)
        except (TimeoutError, asyncio.CancelledError):
            # A rollback would wait for the server, which may not respond.
            self.terminate()
            raise
        except BaseException:
            if not self.is_closed():
                await self.execute("ROLLBACK;")
            raise
        await self.execute("COMMIT;")
        return result
