"""Stored messages for operators: list, show, replay, discard."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from application.audit.ports import UNKEYED_TRAIL, NewTrail
from application.outbox.ports import (
    AttemptMade,
    KeptMessages,
    MessageFilter,
    Replay,
    StoredMessage,
    StoredMessageDetail,
)
from application.ports import Page, PageRequest
from domain.audit import AuditAction
from domain.audit_effects import record_decision, record_decisions
from domain.errors import Conflict
from domain.outbox import (
    DISCARDABLE,
    Destination,
    MessageId,
    MessageNotDead,
    MessageNotDiscardable,
    MessageNotFound,
    MessageStatus,
)
from infrastructure.postgres.audit.writer import write_on
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox import replays
from infrastructure.postgres.pages import LAST_UUID, cursor_of, first_uuid, uuid_after

_COLUMNS = "id, destination, fact, lane, status, attempts, occurred_at, due_at, last_error"
# Ids (UUIDv7) are ordered by time, so a page is read from its end down to `since`. Parameters: the first id, since,
# the id that the page comes before, how many.
_SINCE = "($2::timestamptz IS NULL OR occurred_at >= $2)"
_NEWEST = f"""
SELECT {_COLUMNS} FROM outbox WHERE id >= $1 AND id < $3 AND {_SINCE} ORDER BY id DESC LIMIT $4
"""  # noqa: S608

# Merges the newest messages of every requested destination and status, each read from the end of its range in
# `ix_outbox_listed`. Comparisons and order are those of that index: for `destination = ... ORDER BY id` the planner may
# scan the primary key of the whole table to find a rare status.
# `names` steps from one destination in the index to the next, because a newer version may have other destinations.
_NEWEST_OF_EACH = f"""
WITH RECURSIVE names AS (
    SELECT CASE WHEN $5::text IS NULL THEN (SELECT min(destination) FROM outbox) ELSE $5 END AS name
    UNION ALL
    SELECT (SELECT min(destination) FROM outbox WHERE destination > names.name) FROM names
    WHERE $5::text IS NULL AND names.name IS NOT NULL
)
SELECT letters.* FROM names CROSS JOIN unnest($6::text[]) AS wanted (status) CROSS JOIN LATERAL (
    SELECT {_COLUMNS} FROM outbox
    WHERE (destination, status, id) >= (names.name, wanted.status, $1)
      AND (destination, status, id) < (names.name, wanted.status, $3) AND {_SINCE}
    ORDER BY destination DESC, status DESC, id DESC LIMIT $4
) AS letters
ORDER BY letters.id DESC LIMIT $4
"""  # noqa: S608

_REPLAYED = "status = 'pending', attempts = 0, due_at = now(), settled_at = NULL"
_DISCARDED = "status = 'discarded', settled_at = now()"

_MOST_AT_ONCE = 5_000
"""Messages changed by one statement, so that it ends within its time limit."""


class PostgresDeadLetters:
    def __init__(self, database: Database, new_trail: NewTrail = UNKEYED_TRAIL) -> None:
        self._database = database
        self._new_trail = new_trail

    async def list(self, filter_: MessageFilter, page: PageRequest) -> Page[StoredMessage]:
        query = _NEWEST if filter_.status is None and filter_.destination is None else _NEWEST_OF_EACH
        chosen = () if query is _NEWEST else (filter_.destination, _statuses(filter_.status))
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                query,
                first_uuid(filter_.since),
                filter_.since,
                uuid_after(page.after) or LAST_UUID,
                page.limit + 1,
                *chosen,
            )
        messages = [_stored_message(row) for row in rows[: page.limit]]
        return Page(messages, cursor_of(messages[-1].id) if len(rows) > page.limit else None)

    async def show(self, message_id: UUID) -> StoredMessageDetail:
        async with self._database.snapshot() as connection:
            row = await connection.fetchrow(
                f"""SELECT {_COLUMNS}, settled_at, request_id, snapshot,
                           claimed_by IS NOT NULL AND due_at > now() AS in_flight
                    FROM outbox WHERE id = $1""",  # noqa: S608
                message_id,
            )
            attempts = await connection.fetch(
                """SELECT attempt, started_at, took_ms, result, status_code, detail, probe
                   FROM delivery_attempts WHERE message_id = $1 ORDER BY id""",
                message_id,
            )
        if row is None:
            raise MessageNotFound
        return StoredMessageDetail(
            message=_stored_message(row),
            settled_at=row["settled_at"],
            request_id=row["request_id"],
            in_flight=row["in_flight"],
            attempts_made=[AttemptMade(**made) for made in attempts],
            payload=row["snapshot"],
        )

    async def replay(self, message_id: UUID) -> None:
        await self._decide(_REPLAYED, AuditAction.MESSAGES_REPLAYED, message_id, (MessageStatus.DEAD,), MessageNotDead)

    async def replay_all(self, *, destination: Destination | None, since: datetime | None) -> int:
        return await self._decide_all(_REPLAYED, AuditAction.MESSAGES_REPLAYED, destination, since, MessageStatus.DEAD)

    async def replay_since(self, destination: Destination, since: datetime, *, per_second: int, most: int) -> Replay:
        return await replays.replay_since(
            self._database, destination, since, per_second=per_second, most=most, trail=self._new_trail()
        )

    async def release_all(self) -> None:
        """Ends the claims of all workers: those of a restored database no longer exist."""
        await replays.release_all(self._database)

    async def waiting(self, destination: Destination, last: int) -> int:
        """The number of pending messages of the destination, up to the sequence number `last`."""
        return await replays.waiting(self._database, destination, last)

    async def kept(self) -> Sequence[KeptMessages]:
        return await replays.kept(self._database)

    async def discard(self, message_id: UUID) -> None:
        await self._decide(_DISCARDED, AuditAction.MESSAGES_DISCARDED, message_id, DISCARDABLE, MessageNotDiscardable)

    async def discard_all(
        self, *, destination: Destination | None, since: datetime | None, status: MessageStatus = MessageStatus.DEAD
    ) -> int:
        return await self._decide_all(_DISCARDED, AuditAction.MESSAGES_DISCARDED, destination, since, status)

    async def _decide(
        self,
        change: str,
        action: AuditAction,
        message_id: UUID,
        statuses: Sequence[MessageStatus],
        refusal: type[Conflict],
    ) -> None:
        """Raises `refusal` for a message of another status."""
        statement = f"UPDATE outbox SET {change} WHERE id = $1 AND status = ANY ($2) RETURNING id"  # noqa: S608
        trail = self._new_trail()
        record_decision(trail, action, message_id)
        async with self._database.connection() as connection, connection.transaction():
            if await connection.fetchval(statement, message_id, statuses) is None:
                known = await connection.fetchval("SELECT true FROM outbox WHERE id = $1", message_id)
                raise refusal if known else MessageNotFound
            await write_on(connection, trail)

    async def _decide_all(
        self,
        change: str,
        action: AuditAction,
        destination: Destination | None,
        since: datetime | None,
        status: MessageStatus,
    ) -> int:
        """In batches; a message that has the status again meanwhile is not changed twice."""
        statement = f"""
            UPDATE outbox SET {change} WHERE id IN (
                SELECT id FROM outbox
                WHERE status = '{status}' AND ($1::text IS NULL OR destination = $1)
                  AND ($2::timestamptz IS NULL OR occurred_at >= $2) AND seq > $3
                ORDER BY seq LIMIT {_MOST_AT_ONCE} FOR UPDATE)
            RETURNING seq"""  # noqa: S608
        last, decided = 0, 0
        while True:
            trail = self._new_trail()
            async with self._database.connection() as connection, connection.transaction():
                rows = await connection.fetch(statement, destination, since, last)
                record_decisions(trail, action, destination, since, len(rows))
                await write_on(connection, trail)
            decided += len(rows)
            if len(rows) < _MOST_AT_ONCE:
                return decided
            last = max(row["seq"] for row in rows)


def _stored_message(row: asyncpg.Record) -> StoredMessage:
    return StoredMessage(
        id=MessageId(row["id"]),
        destination=row["destination"],
        message_type=row["fact"],
        ordering_key=row["lane"],
        status=MessageStatus(row["status"]),
        attempts=row["attempts"],
        occurred_at=row["occurred_at"],
        due_at=row["due_at"],
        last_error=row["last_error"],
    )


def _statuses(filter_: MessageStatus | None) -> list[str]:
    return [*MessageStatus] if filter_ is None else [filter_]
