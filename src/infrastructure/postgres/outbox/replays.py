"""Replay of delivered messages: docs/decisions/0011."""

from collections.abc import Sequence
from datetime import datetime

from application.outbox.ports import KeptMessages, Replay
from domain.audit import AuditAction, AuditTrail
from domain.audit_effects import record_decisions
from domain.outbox import Destination, MessageStatus
from infrastructure.postgres.audit.writer import write_on
from infrastructure.postgres.engine import Database
from servicekit.database import Connection

_AT_ONCE = 5_000
"""Messages changed by one statement, so that it ends within its time limit."""

_LONGEST_SECONDS = 1_800
"""Time limit of the transaction: over a million messages."""

_COUNT = """
SELECT count(*) FROM (
    (SELECT FROM outbox WHERE status = 'delivered' AND destination = $1 AND settled_at >= $2 AND settled_at < now()
     LIMIT $3)
    UNION ALL
    (SELECT FROM outbox WHERE status = 'dead' AND destination = $1 AND occurred_at >= $2 LIMIT $3)
) AS matching
"""

# `now()` is the start of the transaction. What it has made pending no longer matches. Each message is due at the place
# of its ordering key in the queue, divided by the rate.
_MAKE_PENDING = """
WITH chosen AS MATERIALIZED ({chosen}),
placed AS (
    SELECT lane, sum(count(*)) OVER (ORDER BY min(settled_at), lane) - count(*) AS place FROM chosen GROUP BY lane
)
UPDATE outbox SET status = 'pending', attempts = 0, settled_at = NULL,
    due_at = now() + ($4 + placed.place)::float8 / $5 * interval '1 s'
FROM chosen JOIN placed USING (lane) WHERE outbox.id = chosen.id
RETURNING outbox.seq, chosen.settled_at
"""
_DELIVERED = _MAKE_PENDING.format(
    chosen="""
    SELECT id, lane, settled_at FROM outbox
    WHERE status = 'delivered' AND destination = $1 AND settled_at >= $2 AND settled_at < now()
    ORDER BY settled_at LIMIT $3 FOR UPDATE"""
)
_DEAD = _MAKE_PENDING.format(
    chosen="""
    SELECT id, lane, settled_at FROM outbox
    WHERE status = 'dead' AND destination = $1 AND occurred_at >= $2
    ORDER BY seq LIMIT $3 FOR UPDATE"""
)

_RELEASE_ALL = """
UPDATE outbox SET claimed_by = NULL, due_at = now(), attempts = attempts - 1
WHERE status = 'pending' AND claimed_by IS NOT NULL
"""

_WAITING = "SELECT count(*) FROM outbox WHERE status = 'pending' AND destination = $1 AND seq <= $2"

# Steps from one destination and status in `ix_outbox_listed` to the next, and reads both ends of each.
_KEPT = """
WITH RECURSIVE kinds AS (
    (SELECT destination, status FROM outbox ORDER BY destination, status LIMIT 1)
    UNION ALL
    SELECT following.* FROM kinds CROSS JOIN LATERAL (
        SELECT destination, status FROM outbox WHERE (destination, status) > (kinds.destination, kinds.status)
        ORDER BY destination, status LIMIT 1) following
)
SELECT kinds.destination, kinds.status, first.occurred_at AS oldest, last.occurred_at AS newest
FROM kinds CROSS JOIN LATERAL (
    SELECT occurred_at FROM outbox WHERE (destination, status) >= (kinds.destination, kinds.status)
    ORDER BY destination, status, id LIMIT 1) first
CROSS JOIN LATERAL (
    SELECT occurred_at FROM outbox WHERE (destination, status) <= (kinds.destination, kinds.status)
    ORDER BY destination DESC, status DESC, id DESC LIMIT 1) last
ORDER BY kinds.destination, kinds.status
"""


async def replay_since(
    database: Database, destination: Destination, since: datetime, *, per_second: int, most: int, trail: AuditTrail
) -> Replay:
    """As `DeadLetters.replay_since`. One transaction: a newer message of an ordering key must not be delivered between
    the replayed ones of that key."""
    async with database.connection_for(_LONGEST_SECONDS) as connection, connection.transaction():
        if await connection.fetchval(_COUNT, destination, since, most + 1) > most:
            return Replay(most + 1, 0)
        dead = await _make_pending(connection, _DEAD, destination, since, per_second, Replay(0, 0))
        replay = await _make_pending(connection, _DELIVERED, destination, since, per_second, dead)
        record_decisions(trail, AuditAction.MESSAGES_REPLAYED, destination, since, replay.messages)
        await write_on(connection, trail)
    return replay


async def _make_pending(
    connection: Connection, statement: str, destination: Destination, since: datetime, per_second: int, before: Replay
) -> Replay:
    messages, last = before.messages, before.last
    while True:
        rows = await connection.fetch(statement, destination, since, _AT_ONCE, messages, per_second)
        messages += len(rows)
        last = max(last, *(row["seq"] for row in rows)) if rows else last
        if len(rows) < _AT_ONCE:
            return Replay(messages, last)
        if statement is _DELIVERED:  # the index still has the rows before it
            since = max(row["settled_at"] for row in rows)


async def release_all(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute(_RELEASE_ALL)


async def waiting(database: Database, destination: Destination, last: int) -> int:
    async with database.connection() as connection:
        count: int = await connection.fetchval(_WAITING, destination, last)
    return count


async def kept(database: Database) -> Sequence[KeptMessages]:
    async with database.connection() as connection:
        rows = await connection.fetch(_KEPT)
    return [
        KeptMessages(row["destination"], MessageStatus(row["status"]), row["oldest"], row["newest"]) for row in rows
    ]
