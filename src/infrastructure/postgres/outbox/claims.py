"""Claims of outbox messages in PostgreSQL.

Leases and due times use the clock of the database; the clocks of workers may differ.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import structlog

from domain.circuit_breaker import destination_is_healthy
from domain.outbox import Delivered, Destination, Message, MessageId, MessageStatus, MessageType, Outcome
from infrastructure.postgres.engine import Database, storable
from infrastructure.postgres.statistics import DeliveryCounts

_log = structlog.get_logger(__name__)

_LONGEST_DETAIL = 2_000
_SHARDS = 16
"""Counter rows of one minute: an updated row stays locked until its transaction is on disk."""

# An earlier pending message of an ordering key blocks the later ones, due or not; a dead one does not. Two workers
# cannot claim the same row: the second skips it while it is locked and, after the commit, finds it no longer due.
# Unknown message types of a newer version are left to its workers. While the circuit of a destination is open, one
# message may be claimed; its claim moves `probe_at` ahead, a concurrent claim waits for that row and finds it moved.
# The worker that reclaims a message records the attempt that has no result.
_CLAIM = """
WITH state AS MATERIALIZED (
    SELECT tripped_at IS NOT NULL AS tripped,
           halted_at IS NOT NULL OR coalesce(paused_until > now(), false)
           OR (tripped_at IS NOT NULL AND probe_at > now()) AS shut
    FROM destinations WHERE name = $1
), due AS MATERIALIZED (
    SELECT id, claimed_by IS NOT NULL AS rescued FROM outbox AS message
    WHERE status = 'pending' AND destination = $1 AND due_at <= now() AND fact = ANY($5)
      AND seq = (
          SELECT min(seq) FROM outbox AS lane
          WHERE lane.status = 'pending' AND lane.destination = message.destination AND lane.lane = message.lane)
    ORDER BY due_at, seq
    LIMIT CASE WHEN (SELECT shut FROM state) THEN 0 WHEN (SELECT tripped FROM state) THEN 1 ELSE $2 END
    FOR UPDATE SKIP LOCKED
), turn AS (
    UPDATE destinations SET probe_at = now() + $6::interval
    WHERE name = $1 AND tripped_at IS NOT NULL AND probe_at <= now() AND (SELECT tripped FROM state)
      AND EXISTS (SELECT FROM due)
    RETURNING name
), claimed AS (
    UPDATE outbox SET due_at = now() + $3::interval, claimed_by = $4, attempts = attempts + 1
    FROM due WHERE outbox.id = due.id AND ((SELECT tripped FROM state) IS NOT TRUE OR EXISTS (SELECT FROM turn))
    RETURNING outbox.*, due.rescued
), lost AS (
    INSERT INTO delivery_attempts (message_id, attempt, started_at, took_ms, result, detail)
    SELECT id, attempts - 1, now(), 0, 'failed', 'reclaimed: the lease of its worker expired'
    FROM claimed WHERE rescued
)
SELECT id, lane, fact, snapshot, attempts, occurred_at, request_id, rescued,
       EXISTS (SELECT FROM turn) AS probe
FROM claimed ORDER BY seq
"""

# A worker may lose a lease and claim the message again itself: the attempt number distinguishes the two claims.
_OWN_CLAIM = "id = $1 AND claimed_by = $2 AND attempts = $3 AND status = 'pending'"

_RENEW = f"UPDATE outbox SET due_at = now() + $4::interval WHERE {_OWN_CLAIM} RETURNING id"  # noqa: S608

_RELEASE = f"""
UPDATE outbox SET due_at = now(), claimed_by = NULL, attempts = attempts - 1 WHERE {_OWN_CLAIM} RETURNING id
"""  # noqa: S608

# The successor of a finished message is due immediately, unless an earlier attempt has set its next attempt.
_RECORD = f"""
WITH settled AS (
    UPDATE outbox SET
        status = $4, claimed_by = NULL, last_error = CASE WHEN $4 = 'delivered' THEN NULL ELSE $8::text END,
        due_at = CASE WHEN $4 = 'pending' THEN now() + $5::interval ELSE due_at END,
        settled_at = CASE WHEN $4 = 'pending' THEN NULL ELSE now() END,
        attempts = CASE WHEN $9::boolean THEN attempts - 1 ELSE attempts END
    WHERE {_OWN_CLAIM}
    RETURNING id, seq, destination, lane, status
), attempt AS (
    INSERT INTO delivery_attempts (message_id, attempt, started_at, took_ms, result, status_code, detail, probe)
    SELECT id, $3, clock_timestamp() - $6::interval, round(extract(epoch FROM $6::interval) * 1000)::int,
           CASE WHEN $4 = 'delivered' THEN 'delivered' ELSE 'failed' END, $7::int, $8::text, $10::boolean
    FROM outbox WHERE id = $1
), counted AS (
    INSERT INTO destination_minutes AS kept (destination, minute, shard, attempts, failures)
    SELECT $11::text, date_trunc('minute', now()), floor(random() * {_SHARDS}), 1, $12::int WHERE $12::int IS NOT NULL
    ON CONFLICT (destination, minute, shard)
        DO UPDATE SET attempts = kept.attempts + 1, failures = kept.failures + excluded.failures
), next AS (
    UPDATE outbox SET due_at = now()
    WHERE claimed_by IS NULL AND attempts = 0 AND due_at > now() AND id = (
        SELECT later.id FROM outbox later, settled
        WHERE settled.status <> 'pending' AND later.status = 'pending' AND later.destination = settled.destination
          AND later.lane = settled.lane AND later.seq > settled.seq
        ORDER BY later.seq LIMIT 1)
)
SELECT id FROM settled
"""  # noqa: S608


class PostgresOutboxClaims:
    """The claims of one worker, marked by its token."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._token = uuid4()
        self.counts = DeliveryCounts(database)

    async def claim(
        self, destination: Destination, *, limit: int, lease: timedelta, probe_every: timedelta
    ) -> Sequence[Message]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _CLAIM, destination, limit, lease, self._token, list(MessageType), probe_every
            )
        for row in rows:
            if row["rescued"]:
                self.counts.add(destination, "rescued")
        return [
            Message(
                id=MessageId(row["id"]),
                destination=destination,
                ordering_key=row["lane"],
                message_type=MessageType(row["fact"]),
                payload=row["snapshot"],
                attempt=row["attempts"],
                occurred_at=row["occurred_at"],
                request_id=row["request_id"],
                probe=row["probe"],
            )
            for row in rows
        ]

    async def renew(self, message: Message, *, lease: timedelta) -> None:
        await self._change(message, "renew", _RENEW, lease)

    async def release(self, message: Message) -> None:
        await self._change(message, "release", _RELEASE)

    async def record_result(
        self, message: Message, outcome: Outcome, *, took: timedelta, retry_in: timedelta | None
    ) -> None:
        if isinstance(outcome, Delivered):
            status, detail, uncounted = MessageStatus.DELIVERED, outcome.answer, False
        else:
            status = MessageStatus.DEAD if retry_in is None else MessageStatus.PENDING
            detail, uncounted = outcome.reason, outcome.stop_destination or outcome.not_attempted
        detail, healthy = storable(detail, _LONGEST_DETAIL), destination_is_healthy(outcome)
        values = (status, retry_in, took, outcome.status_code, detail, uncounted, message.probe, message.destination)
        recorded = await self._change(
            message, "settle", _RECORD, *values, None if healthy is None else int(not healthy)
        )
        if recorded:
            self.counts.add(message.destination, "failed" if status is MessageStatus.PENDING else str(status))
            log = _log.info if status is MessageStatus.DELIVERED else _log.warning
            log(
                "message_delivered" if status is MessageStatus.DELIVERED else "message_failed",
                **_log_fields(message),
                result="retry" if status is MessageStatus.PENDING else str(status),
                status_code=outcome.status_code,
                took_ms=round(took.total_seconds() * 1000),
                retry_in_s=round(retry_in.total_seconds()) if retry_in is not None else None,
                error=detail[:300] if status is not MessageStatus.DELIVERED else None,
            )

    async def _change(self, message: Message, step: str, statement: str, *values: object) -> bool:
        async with self._database.connection() as connection:
            recorded = await connection.fetchval(statement, message.id, self._token, message.attempt, *values)
        if recorded is None:
            _log.warning("lease_lost", **_log_fields(message), step=step)
        return recorded is not None


def _log_fields(message: Message) -> dict[str, Any]:
    return {
        "message_id": str(message.id),
        "request_id": message.request_id,
        "destination": str(message.destination),
        "fact": str(message.message_type),
        "attempt": message.attempt,
    }
