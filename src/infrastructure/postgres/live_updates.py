"""The feed in PostgreSQL."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from application.notifications.ports import EntryId, FeedEntry
from domain.accounts import UserId
from domain.outbox import Message
from infrastructure.postgres.batch_loader import BatchLoader
from infrastructure.postgres.engine import Database

# One at a time for each facilitator: an id that is given out earlier must not become visible later, or whoever has
# seen the later one misses it.
RECORD = """
WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock($1::int, hashint8($2)))
INSERT INTO feed_entries (facilitator_id, message_id, fact, told, occurred_at)
SELECT $2, $3, $4, $5, $6 FROM turn
ON CONFLICT DO NOTHING
"""
_OURS = 0x66656564  # "feed": locks of this kind only meet their own
# In small steps, each short enough to hold nobody up.
_FORGET = """
DELETE FROM feed_entries WHERE id IN (
    SELECT id FROM feed_entries WHERE recorded_at < now() - make_interval(days => $1)
    ORDER BY recorded_at LIMIT $2
    FOR UPDATE SKIP LOCKED)
"""
_STEP, _MOST_STEPS = 500, 20
KEPT_DAYS = 30
LOOKED_FOR_SECONDS = 0.25


class PostgresFeed:
    def __init__(self, database: Database) -> None:
        self._database = database
        # All connections of a facilitator hear the same ring, and have seen the same.
        self._after = BatchLoader(self._after_each, window=0)
        self._has_news = BatchLoader(self._with_news, window=LOOKED_FOR_SECONDS)

    async def record(self, facilitator_id: UserId, message: Message, told: Mapping[str, object]) -> None:
        """The same message is recorded once. `told` is JSON as the codec of the connection takes it."""
        async with self._database.connection() as connection:
            await connection.execute(RECORD, _OURS, facilitator_id, message.id, message.fact, told, message.occurred_at)

    async def newest(self, facilitator_id: UserId) -> EntryId:
        async with self._database.connection() as connection:
            newest = await connection.fetchval(
                "SELECT max(id) FROM feed_entries WHERE facilitator_id = $1", facilitator_id
            )
        return EntryId(newest or 0)

    async def after(self, facilitator_id: UserId, entry_id: EntryId, *, limit: int) -> Sequence[FeedEntry]:
        return await self._after((facilitator_id, entry_id, limit)) or ()

    async def has_news(self, facilitator_id: UserId, entry_id: EntryId) -> bool:
        return bool(await self._has_news((facilitator_id, entry_id)))

    async def _after_each(
        self, asked: Collection[tuple[UserId, EntryId, int]]
    ) -> Mapping[tuple[UserId, EntryId, int], Sequence[FeedEntry]]:
        return dict(zip(asked, await asyncio.gather(*(self._read(*each) for each in asked)), strict=True))

    async def _read(self, facilitator_id: UserId, entry_id: EntryId, limit: int) -> Sequence[FeedEntry]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                """SELECT id, fact, told, occurred_at FROM feed_entries
                   WHERE facilitator_id = $1 AND id > $2 ORDER BY id LIMIT $3""",
                *(facilitator_id, entry_id, limit),
            )
        return [FeedEntry(EntryId(row["id"]), row["fact"], row["told"], row["occurred_at"]) for row in rows]

    async def _with_news(self, asked: Collection[tuple[UserId, EntryId]]) -> Mapping[tuple[UserId, EntryId], bool]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                """SELECT facilitator_id, seen FROM unnest($1::bigint[], $2::bigint[]) AS asked(facilitator_id, seen)
                   WHERE EXISTS (SELECT FROM feed_entries e
                                 WHERE e.facilitator_id = asked.facilitator_id AND e.id > asked.seen)""",
                *([each[place] for each in asked] for place in (0, 1)),
            )
        return {(UserId(row["facilitator_id"]), EntryId(row["seen"])): True for row in rows}

    async def forget(self) -> int:
        """What is older than `KEPT_DAYS`, up to 10,000 entries at a time; answers how many."""
        forgotten = 0
        for _ in range(_MOST_STEPS):
            async with self._database.connection() as connection:
                done = int((await connection.execute(_FORGET, KEPT_DAYS, _STEP)).rpartition(" ")[2])
            forgotten += done
            if done < _STEP:
                break
        return forgotten
