"""Whether a database accepts writes. A replica, after a failover, and a server with a full disk can only be read."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import structlog

from servicekit.database import Connection

_log = structlog.get_logger(__name__)


class WriteProbe:
    """Commits a write at most once in `every` seconds, for all callers of the process.

    It writes a new version of the only row of `table`, the version of the schema, without a change. No index has to be
    written, and the server reuses the space of old versions, so the table does not grow. The row is skipped while a
    migration holds it. `unavailable` is what `connection` raises in an outage.
    """

    def __init__(
        self,
        connection: Callable[[], AbstractAsyncContextManager[Connection]],
        table: str,
        *,
        unavailable: type[Exception],
        every: float = 1,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._statement = (
            f"UPDATE {table} SET version_num = version_num "  # noqa: S608 (a constant of the program)
            f"WHERE version_num = (SELECT version_num FROM {table} LIMIT 1 FOR UPDATE SKIP LOCKED)"
        )
        self._unavailable = unavailable
        self._every = every
        self._monotonic = monotonic
        self._one_at_a_time = asyncio.Lock()
        self._succeeded = False
        self._valid_until = float("-inf")

    async def succeeds(self) -> bool:
        async with self._one_at_a_time:
            if self._monotonic() >= self._valid_until:
                self._succeeded = await self._write()
                self._valid_until = self._monotonic() + self._every
            return self._succeeded

    async def _write(self) -> bool:
        try:
            async with self._connection() as connection:
                await connection.execute(self._statement)
        except self._unavailable:
            return False
        except asyncpg.PostgresError as error:  # there is no table before the first migration
            _log.warning("write_probe_failed", exc_info=error)
            return False
        return True
