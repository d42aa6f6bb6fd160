"""Fills columns of events that a migration has added: in batches, beside requests.

A batch skips rows that something else has locked. Each is found again by the next run, as are those that a process of
the version before writes meanwhile.
"""

import asyncio

from infrastructure.postgres.engine import Database

BATCH = 200
_PAUSE_SECONDS = 0.1

# The share of the account keeps an operator from activating it meanwhile.
_FACILITATOR_INACTIVE = """
WITH batch AS (
    SELECT events.id FROM users JOIN events ON events.facilitator_id = users.id
    WHERE NOT users.is_active AND events.facilitator_active
    LIMIT $1
    FOR SHARE OF users SKIP LOCKED FOR NO KEY UPDATE OF events SKIP LOCKED
)
UPDATE events SET facilitator_active = false FROM batch WHERE events.id = batch.id
"""


class FillFacilitatorActive:
    """Events of facilitators that were deactivated before migration 0016. Returns the number of events."""

    def __init__(self, database: Database, *, batch: int = BATCH) -> None:
        self._database = database
        self._batch = batch

    async def __call__(self) -> int:
        filled = 0
        while True:
            async with self._database.connection() as connection:
                done = int((await connection.execute(_FACILITATOR_INACTIVE, self._batch)).split()[-1])
            filled += done
            if done < self._batch:
                return filled
            await asyncio.sleep(_PAUSE_SECONDS)
