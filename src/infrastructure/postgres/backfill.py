"""Fills columns that a migration has added: in batches, beside requests.

A batch skips rows that something else has locked. Each is found again by the next run, as are those that a process of
the version before writes meanwhile.
"""

import asyncio

from infrastructure.postgres.engine import Database

BATCH = 200
_PAUSE_SECONDS = 0.1


class Backfill:
    """Runs a statement until it finds less than a batch. `$1` is the number of rows of a batch. Returns the number of
    rows that were filled."""

    def __init__(self, database: Database, statement: str, *, batch: int = BATCH) -> None:
        self._database = database
        self._statement = statement
        self._batch = batch

    async def __call__(self) -> int:
        filled = 0
        while True:
            async with self._database.connection() as connection:
                done = int((await connection.execute(self._statement, self._batch)).split()[-1])
            filled += done
            if done < self._batch:
                return filled
            await asyncio.sleep(_PAUSE_SECONDS)
