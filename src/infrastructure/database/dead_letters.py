"""The outbox for an operator's eyes and hands."""

from datetime import datetime
from typing import Any
from uuid import UUID

from application.ports.persistence import Letter
from domain.messages import MessageNotDead, MessageNotFound
from infrastructure.database.engine import Connection, Database

_LETTER = "id, destination, fact, lane, status, attempts, occurred_at, due_at, last_error"


class PostgresDeadLetters:
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
        change = "status = 'pending', attempts = 0, due_at = now(), settled_at = NULL"
        return await self._decide(change, message_id, destination, since)

    async def discard(self, *, message_id: UUID | None, destination: str | None, since: datetime | None) -> int:
        """Dead messages are never delivered; answers how many. Raises as `replay`."""
        return await self._decide("status = 'discarded', settled_at = now()", message_id, destination, since)

    async def _decide(
        self, change: str, message_id: UUID | None, destination: str | None, since: datetime | None
    ) -> int:
        async with self._database.connection() as connection:
            decided = await connection.fetch(
                f"""UPDATE outbox SET {change}
                    WHERE status = 'dead' AND ($1::uuid IS NULL OR id = $1) AND ($2::text IS NULL OR destination = $2)
                      AND ($3::timestamptz IS NULL OR occurred_at >= $3)
                    RETURNING id""",  # noqa: S608
                *(message_id, destination, since),
            )
            if message_id is not None and not decided:
                await _refuse(connection, message_id)
        return len(decided)


async def _refuse(connection: Connection, message_id: UUID) -> None:
    known = await connection.fetchval("SELECT true FROM outbox WHERE id = $1", message_id)
    raise MessageNotDead if known else MessageNotFound
