"""Connections to PostgreSQL through a pooler that lends a server connection for one transaction, such as PgBouncer in
transaction mode."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

T = TypeVar("T")
_PASSED_ON = frozenset({"application_name", "client_encoding", "datestyle", "timezone"})
"""Parameters that PgBouncer accepts at the start of a session and sets on each server connection that it lends."""


@dataclass(frozen=True, slots=True)
class Pooler:
    """How a process reaches PostgreSQL.

    `transactions`: through a pooler that lends a server connection for one transaction. Nothing of a session remains
    there: settings are made in each transaction, and every statement is in one.
    `prepared_statements`: whether a statement is prepared once for many uses. PgBouncer forwards them from version 1.21
    on, with `max_prepared_statements`.
    """

    transactions: bool = False
    prepared_statements: bool = True

    def connect_options(
        self,
        settings: Mapping[str, str],
        connection: "type[asyncpg.Connection[asyncpg.Record]]" = asyncpg.Connection,
    ) -> dict[str, Any]:
        """Arguments of `asyncpg.connect`, so that `settings` hold for every statement of that connection."""
        options: dict[str, Any] = {} if self.prepared_statements else {"statement_cache_size": 0}
        at_start = settings
        if self.transactions:
            at_start = {name: value for name, value in settings.items() if name in _PASSED_ON}
            statements = "".join(
                f"SET LOCAL {name} = '{value}';" for name, value in settings.items() if name not in at_start
            )
            connection = type("LentConnection", (_LentConnection, connection), {"settings": statements})
        return options | {"server_settings": dict(at_start), "connection_class": connection}


DIRECT = Pooler()
ANY_POOLER = Pooler(transactions=True, prepared_statements=False)
"""What works with every pooler, and without one."""


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
