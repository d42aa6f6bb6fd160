"""Postpones blocked messages, so that claims do not read long queues of one ordering key.

A claim reads due messages until it has enough and checks for each whether an earlier one of its ordering key is
pending. Behind a message that waits for its next attempt, thousands of checks would give the same result. Its
successors are therefore made due after it; when it is finished, the next is due immediately (`_RECORD` in `claims`).
"""

from domain.outbox import Destination
from infrastructure.postgres.engine import Database

# A head that cannot become due before the end of this statement cannot be finished meanwhile, so no successor is
# postponed after its head was finished. Messages with earlier attempts keep the time of their next attempt.
_DELAY_BLOCKED = """
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
      AND head.due_at > now() + $3 * interval '1 s'
), held AS (
    SELECT outbox.id, head_due_at FROM outbox JOIN blocked USING (id)
    WHERE claimed_by IS NULL AND attempts = 0
    ORDER BY id
    FOR UPDATE OF outbox SKIP LOCKED
)
UPDATE outbox SET due_at = head_due_at + interval '5 minutes' FROM held WHERE outbox.id = held.id
"""


class PostgresOrderingKeys:
    def __init__(self, database: Database, *, at_once: int = 2_000) -> None:
        self._database = database
        self._at_once = at_once

    async def delay_blocked(self) -> int:
        """Postpones blocked messages among those due first; returns their number."""
        async with self._database.connection() as connection:
            longest = self._database.timeouts.total + 1
            done = await connection.execute(_DELAY_BLOCKED, list(Destination), self._at_once, longest)
        return int(done.rpartition(" ")[2])
