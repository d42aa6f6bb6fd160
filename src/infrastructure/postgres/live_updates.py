"""Live updates in PostgreSQL."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from application.notifications.ports import EntryId, LiveUpdate
from domain.accounts import UserId
from domain.outbox import Message
from infrastructure.postgres.batch_loader import BatchLoader
from infrastructure.postgres.engine import Database
from infrastructure.postgres.erasure.statements import USER, USER_TEXT, scrubbed_json

# One at a time for each facilitator: an entry with a smaller id must not become visible after one with a larger id,
# because followers would miss it.
RECORD = """
WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock($1::int, hashint8($2)))
INSERT INTO feed_entries (facilitator_id, message_id, fact, told, occurred_at)
SELECT $2, $3, $4, $5, $6 FROM turn
ON CONFLICT DO NOTHING
"""
_OURS = 0x66656564  # "feed": locks of this kind only meet their own
PRUNE_LIVE_UPDATES = """
DELETE FROM feed_entries WHERE id IN (
    SELECT id FROM feed_entries WHERE recorded_at < now() - $1::interval
    ORDER BY recorded_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""
"""$1: age, $2: at most so many rows."""
_PAYLOAD = "told"
_AFTER = f"""
SELECT id, fact, {_PAYLOAD} AS payload, occurred_at FROM feed_entries
WHERE facilitator_id = $1 AND id > $2 ORDER BY id LIMIT $3
"""  # noqa: S608 (composed of constants)
ERASE = (
    f"DELETE FROM feed_entries WHERE facilitator_id = {USER}",  # noqa: S608 (a constant)
    f"""UPDATE feed_entries SET {_PAYLOAD} = {scrubbed_json(_PAYLOAD)}
        || CASE WHEN {_PAYLOAD} ? 'notes' THEN '{{"notes": null}}'::jsonb ELSE '{{}}' END
        WHERE {_PAYLOAD} #>> '{{user,id}}' = {USER_TEXT}""",  # noqa: S608 (composed of constants)
)
"""The feed of the person, and what others' feeds have about the person's bookings."""
RETENTION = timedelta(days=30)
LOOKED_FOR_SECONDS = 0.25


class PostgresLiveUpdates:
    def __init__(self, database: Database) -> None:
        self._database = database
        # All connections of a facilitator get the same signal and have seen the same entries.
        self._after = BatchLoader(self._after_each, window=0)
        self._has_updates = BatchLoader(self._with_updates, window=LOOKED_FOR_SECONDS)

    async def record(self, facilitator_id: UserId, message: Message, payload: Mapping[str, object]) -> None:
        """The same message is recorded once. `payload` is JSON as the codec of the connection accepts it."""
        async with self._database.connection() as connection:
            await connection.execute(
                RECORD, _OURS, facilitator_id, message.id, message.message_type, payload, message.occurred_at
            )

    async def newest(self, facilitator_id: UserId) -> EntryId:
        async with self._database.connection() as connection:
            newest = await connection.fetchval(
                "SELECT max(id) FROM feed_entries WHERE facilitator_id = $1", facilitator_id
            )
        return EntryId(newest or 0)

    async def after(self, facilitator_id: UserId, entry_id: EntryId, *, limit: int) -> Sequence[LiveUpdate]:
        return await self._after((facilitator_id, entry_id, limit)) or ()

    async def has_updates(self, facilitator_id: UserId, entry_id: EntryId) -> bool:
        return bool(await self._has_updates((facilitator_id, entry_id)))

    async def _after_each(
        self, asked: Collection[tuple[UserId, EntryId, int]]
    ) -> Mapping[tuple[UserId, EntryId, int], Sequence[LiveUpdate]]:
        return dict(zip(asked, await asyncio.gather(*(self._read(*each) for each in asked)), strict=True))

    async def _read(self, facilitator_id: UserId, entry_id: EntryId, limit: int) -> Sequence[LiveUpdate]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _AFTER,
                *(facilitator_id, entry_id, limit),
            )
        return [LiveUpdate(EntryId(row["id"]), row["fact"], row["payload"], row["occurred_at"]) for row in rows]

    async def _with_updates(self, asked: Collection[tuple[UserId, EntryId]]) -> Mapping[tuple[UserId, EntryId], bool]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                """SELECT facilitator_id, seen FROM unnest($1::bigint[], $2::bigint[]) AS asked(facilitator_id, seen)
                   WHERE EXISTS (SELECT FROM feed_entries e
                                 WHERE e.facilitator_id = asked.facilitator_id AND e.id > asked.seen)""",
                *([each[place] for each in asked] for place in (0, 1)),
            )
        return {(UserId(row["facilitator_id"]), EntryId(row["seen"])): True for row in rows}
