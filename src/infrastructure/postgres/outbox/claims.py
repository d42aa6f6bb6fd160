"""Claims of outbox messages in PostgreSQL.

Leases and due times use the clock of the database; the clocks of workers may differ. Concurrent calls share a
statement: a claim those of other destinations, a result those that end within a few milliseconds.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import randrange
from typing import Any
from uuid import uuid4

import asyncpg
import structlog

from domain.circuit_breaker import destination_is_healthy
from domain.errors import Unavailable
from domain.outbox import Delivered, Destination, Failed, Held, Message, MessageId, MessageStatus, MessageType, Outcome
from infrastructure.postgres.engine import Database, storable
from infrastructure.postgres.outbox.positions import LATE_COMMIT, ClaimPositions, Position
from infrastructure.postgres.statistics import DeliveryCounts
from servicekit.batches import Batches

_log = structlog.get_logger(__name__)

_GATHER_SECONDS = 0.005
"""The first of several results waits this long for others."""
_LONGEST_DETAIL = 2_000
_SHARDS = 16
"""Counter rows of one minute: an updated row stays locked until its transaction is on disk."""

# An earlier pending message of an ordering key blocks the later ones, due or not; a dead one does not. Two workers
# cannot claim the same row: the second skips it while it is locked and, after the commit, finds it no longer due.
# Unknown message types of a newer version are left to its workers. While the circuit of a destination is open, one
# message may be claimed; its claim moves `probe_at` ahead, a concurrent claim waits for that row and finds it moved.
# The worker that reclaims a message records the attempt that has no result. A claim begins at a position (`positions`),
# and returns the time to which it has read, in a row without an id if it has claimed nothing.
_CLAIM = """
WITH open AS MATERIALIZED (
    SELECT wanted.*, state.tripped_at IS NOT NULL AS tripped
    FROM unnest($1::text[], $2::int[], $7::timestamptz[], $8::bigint[]) AS wanted (name, most, since, since_seq)
         LEFT JOIN destinations state ON state.name = wanted.name
    WHERE state.halted_at IS NULL AND coalesce(state.paused_until <= now(), true)
      AND (state.tripped_at IS NULL OR coalesce(state.probe_at <= now(), true))
), due AS MATERIALIZED (
    SELECT due.*, open.name, open.tripped
    FROM open CROSS JOIN LATERAL (
        SELECT id, due_at, claimed_by IS NOT NULL AS rescued FROM outbox AS message
        WHERE status = 'pending' AND destination = open.name AND due_at <= now() AND fact = ANY($5)
          AND (due_at, seq) >= (coalesce(open.since, '-infinity'), open.since_seq)
      AND seq = (
          SELECT min(seq) FROM outbox AS lane
          WHERE lane.status = 'pending' AND lane.destination = message.destination AND lane.lane = message.lane)
        ORDER BY due_at, seq
        LIMIT CASE WHEN open.tripped THEN 1 ELSE open.most END
        FOR UPDATE SKIP LOCKED) due
), turn AS (
    UPDATE destinations SET probe_at = now() + $6::interval
    WHERE name = ANY($1) AND tripped_at IS NOT NULL AND probe_at <= now()
      AND name IN (SELECT name FROM due WHERE tripped)
    RETURNING name
), claimed AS (
    UPDATE outbox SET due_at = now() + $3::interval, claimed_by = $4, attempts = attempts + 1
    FROM due WHERE outbox.id = due.id AND (NOT due.tripped OR due.name IN (SELECT name FROM turn))
    RETURNING outbox.*, due.rescued, due.tripped AS probe, due.due_at AS was_due_at
), lost AS (
    INSERT INTO delivery_attempts (message_id, attempt, started_at, took_ms, result, detail)
    SELECT id, attempts - 1, now(), 0, 'failed', 'reclaimed: the lease of its worker expired'
    FROM claimed WHERE rescued
)
SELECT now() AS read_at, pg_relation_size('ix_outbox_due') AS index_bytes,
       ARRAY(SELECT name FROM open WHERE NOT tripped) AS read,
       id, destination, lane, fact, snapshot, attempts, occurred_at, request_id, rescued, probe, was_due_at, seq,
       held_for
FROM (VALUES (1)) AS always LEFT JOIN claimed ON true ORDER BY seq
"""

# A worker may lose a lease and claim the message again itself: the attempt number distinguishes the two claims. The
# status is an expression, so that a plan made while the table was small does not read a partial index of pending ones.
_OWN_CLAIM = "outbox.id = own.id AND claimed_by = $2 AND attempts = own.attempt AND outbox.status || '' = 'pending'"
_OWN = "unnest($1::uuid[], $3::int[]) AS own (id, attempt)"

_RENEW = f"""
UPDATE outbox SET due_at = now() + $4::interval FROM {_OWN} WHERE {_OWN_CLAIM} RETURNING own.id, own.attempt
"""  # noqa: S608

_RELEASE = f"""
UPDATE outbox SET due_at = now(), claimed_by = NULL, attempts = attempts - 1 FROM {_OWN} WHERE {_OWN_CLAIM}
RETURNING own.id, own.attempt
"""  # noqa: S608

# The successor of a finished message is due immediately, unless an earlier attempt has set its next attempt. One that
# has been due for longer is made due now: claims may have passed it while it was blocked. An attempt is stored and
# counted even if its claim was lost. A held message was not attempted.
_RECORD = f"""
WITH own AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::uuid[], $3::int[], $4::text[], $5::interval[], $6::interval[], $7::int[], $8::text[], $9::boolean[],
        $10::boolean[], $11::text[], $12::int[], $14::text[]
    ) AS own (
        id, attempt, status, retry_in, took, status_code, detail, uncounted, probe, destination, failure, held_for)
), settled AS (
    UPDATE outbox SET
        status = own.status, claimed_by = NULL,
        last_error = CASE WHEN own.status = 'delivered' THEN NULL ELSE own.detail END,
        due_at = CASE WHEN own.status = 'pending' THEN now() + own.retry_in ELSE due_at END,
        settled_at = CASE WHEN own.status = 'pending' THEN NULL ELSE now() END,
        attempts = CASE WHEN own.uncounted THEN attempts - 1 ELSE attempts END,
        held_for = coalesce(own.held_for, outbox.held_for)
    FROM own WHERE {_OWN_CLAIM}
    RETURNING own.id, own.attempt, seq, outbox.destination, lane, own.status
), attempt AS (
    INSERT INTO delivery_attempts (message_id, attempt, started_at, took_ms, result, status_code, detail, probe)
    SELECT own.id, own.attempt, clock_timestamp() - own.took, round(extract(epoch FROM own.took) * 1000)::int,
           CASE WHEN own.status = 'delivered' THEN 'delivered' ELSE 'failed' END, own.status_code, own.detail, own.probe
    FROM own WHERE own.status <> 'held' AND EXISTS (SELECT FROM outbox WHERE outbox.id = own.id)
), counted AS (
    INSERT INTO destination_minutes AS kept (destination, minute, shard, attempts, failures)
    SELECT destination, date_trunc('minute', now()), $13::int, count(*), sum(failure)
    FROM own WHERE failure IS NOT NULL GROUP BY destination
    ORDER BY destination  -- in one order, so that two workers never wait for each other
    ON CONFLICT (destination, minute, shard)
        DO UPDATE SET attempts = kept.attempts + excluded.attempts, failures = kept.failures + excluded.failures
), following AS MATERIALIZED (
    SELECT settled.id, settled.attempt, later.id AS later_id, later.attempts = 0 OR later.due_at <= now() AS is_due
    FROM settled CROSS JOIN LATERAL (
        SELECT id, claimed_by, attempts, due_at FROM outbox
        WHERE status = 'pending' AND destination = settled.destination AND lane = settled.lane AND seq > settled.seq
        ORDER BY seq LIMIT 1) later
    WHERE settled.status <> 'pending' AND later.claimed_by IS NULL
), next AS (
    UPDATE outbox SET due_at = now() FROM following
    WHERE outbox.id = following.later_id AND claimed_by IS NULL
      AND (attempts = 0 AND due_at > now() OR due_at < now() - interval '{LATE_COMMIT.total_seconds()} s')
)
SELECT settled.id, settled.attempt, coalesce(following.is_due, false) AS has_next
FROM settled LEFT JOIN following ON following.id = settled.id
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class _Wanted:
    destination: Destination
    limit: int
    lease: timedelta
    probe_every: timedelta


@dataclass(frozen=True, slots=True)
class _Result:
    message: Message
    outcome: Outcome
    took: timedelta
    retry_in: timedelta | None
    status: MessageStatus
    detail: str

    def columns(self) -> tuple[Any, ...]:
        """As in `_RECORD`."""
        outcome, healthy = self.outcome, destination_is_healthy(self.outcome)
        uncounted = isinstance(outcome, Held) or (
            isinstance(outcome, Failed) and (outcome.stop_destination or outcome.not_attempted)
        )
        message = self.message
        return (
            *(message.id, message.attempt, self.status, self.retry_in, self.took, self.status_code, self.detail),
            *(uncounted, message.probe, message.destination, None if healthy is None else int(not healthy)),
            outcome.address if isinstance(outcome, Held) else None,
        )

    @property
    def status_code(self) -> int | None:
        return None if isinstance(self.outcome, Held) else self.outcome.status_code


class PostgresOutboxClaims:
    """The claims of one worker, marked by its token."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._token = uuid4()
        self.counts = DeliveryCounts(database)
        self._positions = ClaimPositions()
        self._claims = Batches(self._claim_all, unavailable=Unavailable)
        self._renewals = Batches(self._renew_all, unavailable=Unavailable)
        self._releases = Batches(self._release_all, unavailable=Unavailable)
        self._results = Batches(self._record_all, unavailable=Unavailable, window=_GATHER_SECONDS)

    async def claim(
        self, destination: Destination, *, limit: int, lease: timedelta, probe_every: timedelta
    ) -> Sequence[Message]:
        return await self._claims(_Wanted(destination, limit, lease, probe_every))

    async def renew(self, message: Message, *, lease: timedelta) -> None:
        if not await self._renewals((message, lease)):
            _log.warning("lease_lost", **_log_fields(message), step="renew")

    async def release(self, message: Message) -> None:
        if not await self._releases(message):
            _log.warning("lease_lost", **_log_fields(message), step="release")

    async def record_result(
        self, message: Message, outcome: Outcome, *, took: timedelta, retry_in: timedelta | None
    ) -> bool:
        if isinstance(outcome, Delivered):
            status, detail = MessageStatus.DELIVERED, outcome.answer
        elif isinstance(outcome, Held):
            status, detail = MessageStatus.HELD, outcome.reason
        else:
            status = MessageStatus.DEAD if retry_in is None else MessageStatus.PENDING
            detail = outcome.reason
        result = _Result(message, outcome, took, retry_in, status, storable(detail, _LONGEST_DETAIL))
        has_next = await self._results(result)
        if has_next is None:
            _log.warning("lease_lost", **_log_fields(message), step="settle")
            return False
        if status is not MessageStatus.HELD:
            self.counts.add(message.destination, "failed" if status is MessageStatus.PENDING else str(status))
        _log_result(result)
        return has_next

    async def _claim_all(self, wanted: Sequence[_Wanted]) -> Sequence[Sequence[Message]]:
        terms = {(each.lease, each.probe_every) for each in wanted}
        if len({each.destination for each in wanted}) < len(wanted) or len(terms) > 1:
            # A destination that is listed twice would get each message twice.
            return [await self._claim_one(each) for each in wanted]
        return await self._claim_each(wanted)

    async def _claim_one(self, wanted: _Wanted) -> Sequence[Message]:
        (messages,) = await self._claim_each([wanted])
        return messages

    async def _claim_each(self, wanted: Sequence[_Wanted]) -> Sequence[Sequence[Message]]:
        """Claims for different destinations, with one lease."""
        destinations, limits = [each.destination for each in wanted], [each.limit for each in wanted]
        lease, probe_every = wanted[0].lease, wanted[0].probe_every
        starts = [self._positions.start(destination) for destination in destinations]
        since = [None if start is None else start.due_at for start in starts]
        since_seq = [0 if start is None else start.seq for start in starts]
        async with self._database.connection() as connection:
            began = time.monotonic()
            rows = await connection.fetch(
                _CLAIM, destinations, limits, lease, self._token, list(MessageType), probe_every, since, since_seq
            )
            took = time.monotonic() - began
        claimed: dict[str, list[asyncpg.Record]] = {destination: [] for destination in destinations}
        for row in rows:
            if row["id"] is not None:
                claimed[row["destination"]].append(row)
            if row["rescued"]:
                self.counts.add(row["destination"], "rescued")
        for each, start in zip(wanted, starts, strict=True):
            if each.destination in rows[0]["read"]:
                end = _end(claimed[each.destination], each.limit, rows[0]["read_at"])
                self._positions.looked(
                    each.destination,
                    end,
                    full_seconds=took if start is None else None,
                    index_bytes=rows[0]["index_bytes"],
                )
        return [[_message(row) for row in claimed[destination]] for destination in destinations]

    async def _renew_all(self, renewed: Sequence[tuple[Message, timedelta]]) -> Sequence[bool]:
        held = set()
        for lease in {lease for _, lease in renewed}:
            held |= await self._change([message for message, each in renewed if each == lease], _RENEW, lease)
        return [_key(message) in held for message, _ in renewed]

    async def _release_all(self, messages: Sequence[Message]) -> Sequence[bool]:
        held = await self._change(messages, _RELEASE)
        return [_key(message) in held for message in messages]

    async def _change(self, messages: Sequence[Message], statement: str, *values: object) -> set[tuple[MessageId, int]]:
        """The messages whose claim was held."""
        ids, attempts = [message.id for message in messages], [message.attempt for message in messages]
        async with self._database.connection() as connection:
            rows = await connection.fetch(statement, ids, self._token, attempts, *values)
        return {(row["id"], row["attempt"]) for row in rows}

    async def _record_all(self, results: Sequence[_Result]) -> Sequence[bool | None]:
        """Whether each message has a successor; None for a lost claim."""
        ids, *columns, held_for = map(list, zip(*(result.columns() for result in results), strict=True))
        shard = randrange(_SHARDS)  # noqa: S311
        async with self._database.connection() as connection:
            rows = await connection.fetch(_RECORD, ids, self._token, *columns, shard, held_for)
        recorded = {(row["id"], row["attempt"]): row["has_next"] for row in rows}
        return [recorded.get(_key(result.message)) for result in results]


def _end(claimed: Sequence[asyncpg.Record], limit: int, read_at: datetime) -> Position:
    """The position behind a claim: that of its last message if it could not take all."""
    end = Position(read_at - LATE_COMMIT, 0)
    if len(claimed) < limit:
        return end
    last = max((row["was_due_at"], row["seq"]) for row in claimed)
    return min(end, Position(*last))


def _message(row: asyncpg.Record) -> Message:
    return Message(
        id=MessageId(row["id"]),
        destination=Destination(row["destination"]),
        ordering_key=row["lane"],
        message_type=MessageType(row["fact"]),
        payload=row["snapshot"],
        attempt=row["attempts"],
        occurred_at=row["occurred_at"],
        request_id=row["request_id"],
        probe=row["probe"],
        was_held=row["held_for"] is not None,
    )


def _key(message: Message) -> tuple[MessageId, int]:
    return message.id, message.attempt


def _log_result(result: _Result) -> None:
    is_delivered, is_held = result.status is MessageStatus.DELIVERED, result.status is MessageStatus.HELD
    log = _log.info if is_delivered or is_held else _log.warning
    log(
        "message_delivered" if is_delivered else "message_held" if is_held else "message_failed",
        **_log_fields(result.message),
        result="retry" if result.status is MessageStatus.PENDING else str(result.status),
        status_code=result.status_code,
        took_ms=round(result.took.total_seconds() * 1000),
        retry_in_s=round(result.retry_in.total_seconds()) if result.retry_in is not None else None,
        error=result.detail[:300] if not is_delivered else None,
    )


def _log_fields(message: Message) -> dict[str, Any]:
    return {
        "message_id": str(message.id),
        "request_id": message.request_id,
        "destination": str(message.destination),
        "fact": str(message.message_type),
        "attempt": message.attempt,
    }
