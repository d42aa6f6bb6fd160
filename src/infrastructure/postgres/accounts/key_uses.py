"""Stores when API keys were last used, apart from the requests that use them."""

import asyncio
from datetime import datetime

import structlog

from domain.api_keys import ApiKeyId
from domain.errors import Unavailable
from infrastructure.postgres.engine import Database
from servicekit.log_errors import error_text

WAIT_SECONDS = 1.0
"""Uses within this time are stored by one statement."""
MOST_WAITING = 10_000
"""Keys whose use is not stored yet; that of further ones is dropped."""

# Another process may have stored a later minute, and this one too: both write it once.
_STORE = """
UPDATE api_keys k SET last_used_at = used.minute
FROM unnest($1::uuid[], $2::timestamptz[]) AS used(id, minute)
WHERE k.id = used.id AND (k.last_used_at IS NULL OR k.last_used_at < used.minute)
"""

_log = structlog.get_logger(__name__)


class PostgresKeyUses:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[ApiKeyId, datetime] = {}
        self._noted = asyncio.Event()

    def note(self, key_id: ApiKeyId, minute: datetime) -> None:
        if key_id in self._waiting or len(self._waiting) < MOST_WAITING:
            self._waiting[key_id] = minute
            self._noted.set()

    async def run(self) -> None:
        """Stores uses until it is cancelled. Without a database they wait."""
        while True:
            await self._noted.wait()
            await asyncio.sleep(WAIT_SECONDS)
            await self.store()

    async def store(self) -> None:
        """Stores the uses that wait."""
        self._noted.clear()
        uses, self._waiting = self._waiting, {}
        if not uses:
            return
        ids = sorted(uses)  # two processes lock rows in the same order
        try:
            async with self._database.connection() as connection:
                await connection.execute(_STORE, ids, [uses[key_id] for key_id in ids])
        except Unavailable as error:
            _log.warning("api_key_uses.not_stored", keys=len(uses), error=error_text(error))
