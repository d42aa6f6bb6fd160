"""The outbox in PostgreSQL, as the worker claims it and as an operator looks after it.

Leases and due times follow the database's clock alone: workers' clocks may differ.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import structlog

from application.ports.persistence import Letter
from domain.messages import (
    Delivered,
    Destination,
    Fact,
    Message,
    MessageId,
    MessageNotDead,
    MessageNotFound,
    MessageStatus,
    Outcome,
)
from infrastructure.database.engine import Database
from infrastructure.database.figures import DeliveryCounts

_log = structlog.get_logger(__name__)

_LONGEST_DETAIL = 2_000

# An earlier pending message of the lane blocks the later ones, due or not; a dead one does not. Two workers cannot take
# the same row: the second skips it while it is locked and, once the claim is committed, finds it no longer due. A fact
# that a newer version wrote is left for its workers.
_CLAIM = """
WITH due AS (
    SELECT id, claimed_by IS NOT NULL AS rescued FROM outbox AS message
    WHERE status = 'pending' AND destination = $1 AND due_at <= now() AND fact = ANY($5)
      AND seq = (
          SELECT min(seq) FROM outbox AS lane
          WHERE lane.status = 'pending' AND lane.destination = message.destination AND lane.lane = message.lane)
    ORDER BY due_at, seq
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE outbox SET due_at = now() + $3::interval, claimed_by = $4, attempts = attempts + 1
    FROM due WHERE outbox.id = due.id
    RETURNING outbox.*, due.rescued
)
SELECT id, lane, fact, snapshot, attempts, occurred_at, request_id, rescued FROM claimed ORDER BY seq
"""

# A worker may lose a lease and claim the message again itself: the attempt's number tells the two claims apart.
_OURS = "id = $1 AND claimed_by = $2 AND attempts = $3 AND status = 'pending'"

_RENEW = f"UPDATE outbox SET due_at = now() + $4::interval WHERE {_OURS} RETURNING id"  # noqa: S608

_RELEASE = f"""
UPDATE outbox SET due_at = now(), claimed_by = NULL, attempts = attempts - 1 WHERE {_OURS} RETURNING id
"""  # noqa: S608

_SETTLE = f"""
WITH settled AS (
    UPDATE outbox SET
        status = $4, claimed_by = NULL, last_error = CASE WHEN $4 = 'delivered' THEN NULL ELSE $8::text END,
        due_at = CASE WHEN $4 = 'pending' THEN now() + $5::interval ELSE due_at END,
        settled_at = CASE WHEN $4 = 'pending' THEN NULL ELSE now() END
    WHERE {_OURS}
    RETURNING id
), attempt AS (
    INSERT INTO delivery_attempts (message_id, attempt, started_at, took_ms, result, status_code, detail)
    SELECT id, $3, clock_timestamp() - $6::interval, round(extract(epoch FROM $6::interval) * 1000)::int,
           CASE WHEN $4 = 'delivered' THEN 'delivered' ELSE 'failed' END, $7::int, $8::text
    FROM outbox WHERE id = $1
)
SELECT id FROM settled
"""  # noqa: S608


class PostgresDueMessages:
    """One worker's view of the outbox; its claims carry a token of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._token = uuid4()
        self.counts = DeliveryCounts(database)

    async def claim(self, destination: Destination, *, limit: int, lease: timedelta) -> Sequence[Message]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_CLAIM, destination, limit, lease, self._token, list(Fact))
        for row in rows:
            if row["rescued"]:
                self.counts.add(destination, "rescued")
        return [
            Message(
                id=MessageId(row["id"]),
                destination=destination,
                lane=row["lane"],
                fact=Fact(row["fact"]),
                snapshot=row["snapshot"],
                attempt=row["attempts"],
                occurred_at=row["occurred_at"],
                request_id=row["request_id"],
            )
            for row in rows
        ]

    async def renew(self, message: Message, *, lease: timedelta) -> None:
        await self._change(message, "renew", _RENEW, lease)

    async def release(self, message: Message) -> None:
        await self._change(message, "release", _RELEASE)

    async def settle(self, message: Message, outcome: Outcome, *, took: timedelta, retry_in: timedelta | None) -> None:
        if isinstance(outcome, Delivered):
            status, detail = MessageStatus.DELIVERED, outcome.answer
        else:
            status = MessageStatus.DEAD if retry_in is None else MessageStatus.PENDING
            detail = outcome.reason
        detail = _storable(detail)
        kept = await self._change(message, "settle", _SETTLE, status, retry_in, took, outcome.status_code, detail)
        if kept:
            self.counts.add(message.destination, "failed" if status is MessageStatus.PENDING else str(status))
            tell = _log.info if status is MessageStatus.DELIVERED else _log.warning
            tell(
                "message_delivered" if status is MessageStatus.DELIVERED else "message_failed",
                **_identity(message),
                result="retry" if status is MessageStatus.PENDING else str(status),
                status_code=outcome.status_code,
                took_ms=round(took.total_seconds() * 1000),
                retry_in_s=round(retry_in.total_seconds()) if retry_in is not None else None,
                error=detail[:300] if status is not MessageStatus.DELIVERED else None,
            )

    async def _change(self, message: Message, step: str, statement: str, *values: object) -> bool:
        async with self._database.connection() as connection:
            kept = await connection.fetchval(statement, message.id, self._token, message.attempt, *values)
        if kept is None:
            _log.warning("lease_lost", **_identity(message), step=step)
        return kept is not None


_LETTER = "id, destination, fact, lane, status, attempts, occurred_at, due_at, last_error"


class PostgresDeadLetters:
    """The outbox for an operator's eyes and hands."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, *, status: str | None, destination: str | None, since: datetime | None, limit: int
    ) -> list[Letter]:
        """The newest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""SELECT {_LETTER} FROM outbox
                    WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR destination = $2)
                      AND ($3::timestamptz IS NULL OR occurred_at >= $3)
                    ORDER BY seq DESC LIMIT $4""",  # noqa: S608
                *(status, destination, since, limit),
            )
        return [Letter(**row) for row in rows]

    async def show(self, message_id: UUID) -> dict[str, Any]:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                """SELECT o.id, destination, lane, fact, status, attempts, occurred_at, due_at, settled_at, last_error,
                          request_id, claimed_by IS NOT NULL AND due_at > now() AS in_flight, snapshot,
                          (SELECT coalesce(jsonb_agg(jsonb_build_object(
                               'attempt', a.attempt, 'started_at', a.started_at, 'took_ms', a.took_ms,
                               'result', a.result, 'status_code', a.status_code, 'detail', a.detail)
                               ORDER BY a.id), '[]')
                           FROM delivery_attempts a WHERE a.message_id = o.id) AS attempts_made
                   FROM outbox o WHERE o.id = $1""",
                message_id,
            )
        if row is None:
            raise MessageNotFound
        return dict(row)

    async def replay(self, *, message_id: UUID | None, destination: str | None, since: datetime | None) -> int:
        """Makes dead messages due again with a fresh schedule; answers how many. A message that is named must be dead:
        raises `MessageNotFound`, `MessageNotDead`."""
        async with self._database.connection() as connection:
            replayed = await connection.fetch(
                """UPDATE outbox SET status = 'pending', attempts = 0, due_at = now(), settled_at = NULL
                   WHERE status = 'dead' AND ($1::uuid IS NULL OR id = $1) AND ($2::text IS NULL OR destination = $2)
                     AND ($3::timestamptz IS NULL OR occurred_at >= $3)
                   RETURNING id""",
                *(message_id, destination, since),
            )
            if message_id is not None and not replayed:
                await _refuse(connection, message_id)
        return len(replayed)

    async def discard(self, *, message_id: UUID) -> None:
        async with self._database.connection() as connection:
            discarded = await connection.fetchval(
                """UPDATE outbox SET status = 'discarded', settled_at = now()
                   WHERE id = $1 AND status = 'dead' RETURNING id""",
                message_id,
            )
            if discarded is None:
                await _refuse(connection, message_id)


async def _refuse(connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", message_id: UUID) -> None:
    known = await connection.fetchval("SELECT true FROM outbox WHERE id = $1", message_id)
    raise MessageNotDead if known else MessageNotFound


def _identity(message: Message) -> dict[str, Any]:
    return {
        "message_id": str(message.id),
        "request_id": message.request_id,
        "destination": str(message.destination),
        "fact": str(message.fact),
        "attempt": message.attempt,
    }


def _storable(detail: str) -> str:
    """PostgreSQL keeps no NUL and no lone surrogate; an answer may hold both."""
    return detail.replace("\x00", "").encode(errors="replace").decode()[:_LONGEST_DETAIL]
