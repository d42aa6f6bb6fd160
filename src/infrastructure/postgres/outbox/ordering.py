"""Keeps a long lane from being looked through by every claim.

A claim goes through what is due until it has enough, and asks of each message whether an earlier one of its lane still
waits. Behind a message that waits for its next attempt that is the same answer thousands of times. So what waits behind
it is made due a while after it; when it is settled, its successor is due at once (`_RECORD` in `claims`).
"""

from domain.outbox import Destination
from infrastructure.postgres.engine import STATEMENT_SECONDS, Database

# A head that cannot be due before this statement has ended cannot be settled meanwhile either, so no successor is moved
# away behind the back of whoever settles it. What was tried before keeps the time of its own next attempt.
_HOLD_BACK = f"""
WITH blocked AS (
    SELECT message.id, head.due_at AS head_due_at
    FROM unnest($1::text[]) AS d (name)
    CROSS JOIN LATERAL (
        SELECT id, seq, lane FROM outbox
        WHERE status = 'pending' AND destination = d.name AND due_at <= now()
        ORDER BY due_at, seq LIMIT $2) message
    CROSS JOIN LATERAL (
        SELECT seq, due_at, claimed_by FROM outbox
        WHERE status = 'pending' AND destination = d.name AND lane = message.lane
        ORDER BY seq LIMIT 1) head
    WHERE head.seq < message.seq AND head.claimed_by IS NULL
      AND head.due_at > now() + interval '{STATEMENT_SECONDS + 1} s'
), held AS (
    SELECT outbox.id, head_due_at FROM outbox JOIN blocked USING (id)
    WHERE claimed_by IS NULL AND attempts = 0
    ORDER BY id
    FOR UPDATE OF outbox SKIP LOCKED
)
UPDATE outbox SET due_at = head_due_at + interval '5 minutes' FROM held WHERE outbox.id = held.id
"""  # noqa: S608


class PostgresOrderingKeys:
    def __init__(self, database: Database, *, at_once: int = 2_000) -> None:
        self._database = database
        self._at_once = at_once

    async def hold_back(self) -> int:
        """Of the messages due first, those whose turn cannot come soon are made due later; answers how many."""
        async with self._database.connection() as connection:
            done = await connection.execute(_HOLD_BACK, list(Destination), self._at_once)
        return int(done.rpartition(" ")[2])
