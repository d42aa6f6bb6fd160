"""The outbox for an operator's eyes and hands."""

from datetime import datetime
from uuid import UUID

import asyncpg

from application.ports.deliveries import AttemptMade, Letter, LetterFilter, OpenedLetter
from application.ports.readers import Page, PageRequest
from domain.errors import Invalid
from domain.messages import Destination, MessageId, MessageNotDead, MessageNotFound, MessageStatus
from infrastructure.database.engine import Connection, Database

_LETTER = "id, destination, fact, lane, status, attempts, occurred_at, due_at, last_error"
_REPLAYED = "status = 'pending', attempts = 0, due_at = now(), settled_at = NULL"
_DISCARDED = "status = 'discarded', settled_at = now()"

_MOST_AT_ONCE = 5_000
"""Messages that one statement decides about, so that it ends in time."""
_APART = 3600.0
"""In seconds: how far the clock that dates what happened may lie from the one that numbers messages."""


class PostgresDeadLetters:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, wanted: LetterFilter, page: PageRequest) -> Page[Letter]:
        # The status stands in the statement, where the planner finds the index that holds only such messages; ids
        # (UUIDv7) follow time, so that a page of five million rows is read from its end and no further than `since`.
        status = "" if wanted.status is None else f"status = '{MessageStatus(wanted.status)}' AND"
        # The dead are few and may be old: from the end, millions that were delivered since would be passed over.
        fence = "OFFSET 0" if wanted.status is MessageStatus.DEAD else ""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""SELECT * FROM (
                        SELECT {_LETTER} FROM outbox
                        WHERE {status} ($1::text IS NULL OR destination = $1) AND id >= $2
                          AND ($3::timestamptz IS NULL OR occurred_at >= $3) AND ($4::uuid IS NULL OR id < $4)
                        {fence}) AS letters
                    ORDER BY id DESC LIMIT $5""",  # noqa: S608
                wanted.destination,
                _first_id(wanted.since),
                wanted.since,
                _cursor(page.after),
                page.limit + 1,
            )
        letters = [_letter(row) for row in rows[: page.limit]]
        return Page(letters, str(letters[-1].id) if len(rows) > page.limit else None)

    async def show(self, message_id: UUID) -> OpenedLetter:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"""SELECT {_LETTER}, settled_at, request_id, snapshot,
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
        return OpenedLetter(
            letter=_letter(row),
            settled_at=row["settled_at"],
            request_id=row["request_id"],
            in_flight=row["in_flight"],
            attempts_made=[AttemptMade(**made) for made in attempts],
            snapshot=row["snapshot"],
        )

    async def replay(self, message_id: UUID) -> None:
        await self._decide(_REPLAYED, message_id)

    async def replay_all(self, *, destination: Destination | None, since: datetime | None) -> int:
        return await self._decide_all(_REPLAYED, destination, since)

    async def discard(self, message_id: UUID) -> None:
        await self._decide(_DISCARDED, message_id)

    async def discard_all(self, *, destination: Destination | None, since: datetime | None) -> int:
        return await self._decide_all(_DISCARDED, destination, since)

    async def _decide(self, change: str, message_id: UUID) -> None:
        statement = f"UPDATE outbox SET {change} WHERE id = $1 AND status = 'dead' RETURNING id"  # noqa: S608
        async with self._database.connection() as connection:
            if await connection.fetchval(statement, message_id) is None:
                await _refuse(connection, message_id)

    async def _decide_all(self, change: str, destination: Destination | None, since: datetime | None) -> int:
        """In steps; a message that dies again meanwhile is not decided about twice."""
        statement = f"""
            UPDATE outbox SET {change} WHERE id IN (
                SELECT id FROM outbox
                WHERE status = 'dead' AND ($1::text IS NULL OR destination = $1)
                  AND ($2::timestamptz IS NULL OR occurred_at >= $2) AND seq > $3
                ORDER BY seq LIMIT {_MOST_AT_ONCE} FOR UPDATE)
            RETURNING seq"""  # noqa: S608
        last, decided = 0, 0
        while True:
            async with self._database.connection() as connection:
                rows = await connection.fetch(statement, destination, since, last)
            decided += len(rows)
            if len(rows) < _MOST_AT_ONCE:
                return decided
            last = max(row["seq"] for row in rows)


async def _refuse(connection: Connection, message_id: UUID) -> None:
    known = await connection.fetchval("SELECT true FROM outbox WHERE id = $1", message_id)
    raise MessageNotDead if known else MessageNotFound


def _letter(row: asyncpg.Record) -> Letter:
    return Letter(
        id=MessageId(row["id"]),
        destination=row["destination"],
        fact=row["fact"],
        lane=row["lane"],
        status=MessageStatus(row["status"]),
        attempts=row["attempts"],
        occurred_at=row["occurred_at"],
        due_at=row["due_at"],
        last_error=row["last_error"],
    )


def _first_id(since: datetime | None) -> UUID:
    """The smallest id of what happened then: a UUIDv7 begins with the milliseconds since 1970 (RFC 9562, 5.7)."""
    milliseconds = 0 if since is None else max(0, int((since.timestamp() - _APART) * 1000))
    return UUID(int=milliseconds << 80)


def _cursor(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise Invalid({"cursor": "Is not a cursor of this list"}) from None
