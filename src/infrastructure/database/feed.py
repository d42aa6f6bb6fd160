"""The feed in PostgreSQL."""

from collections.abc import Mapping, Sequence

from application.ports.feed import EntryId, FeedEntry
from domain.messages import Message
from domain.users import UserId
from infrastructure.database.engine import Database

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


class PostgresFeed:
    def __init__(self, database: Database) -> None:
        self._database = database

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
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                """SELECT id, fact, told, occurred_at FROM feed_entries
                   WHERE facilitator_id = $1 AND id > $2 ORDER BY id LIMIT $3""",
                *(facilitator_id, entry_id, limit),
            )
        return [FeedEntry(EntryId(row["id"]), row["fact"], row["told"], row["occurred_at"]) for row in rows]

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
