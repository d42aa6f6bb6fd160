"""Stored busy times of the connected calendars of coaches."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from application.calendars.ports import CoachCalendar, OwnEntries
from domain.accounts import UserId
from domain.calendars import ConnectionId, Provider, entry_key
from domain.ids import AppointmentId
from domain.time import Interval
from infrastructure.postgres.engine import Database
from servicekit.database import in_transaction

_CLAIM = """
WITH due AS (
    SELECT c.id FROM calendar_connections c JOIN users u ON u.id = c.user_id
    WHERE c.status = 'active' AND c.busy_due_at <= now() AND u.role IN ('facilitator', 'admin')
    ORDER BY c.busy_due_at LIMIT $1 FOR UPDATE OF c SKIP LOCKED
)
UPDATE calendar_connections c SET busy_due_at = now() + $2::interval FROM due WHERE c.id = due.id
RETURNING c.id, c.user_id, c.provider
"""
_STALE = """
SELECT c.id, c.user_id, c.provider FROM calendar_connections c JOIN users u ON u.id = c.user_id
WHERE u.uuid = $1 AND c.status = 'active' AND (c.busy_read_at IS NULL OR c.busy_read_at < now() - $2::interval)
"""
# Live sessions are busy times themselves. An entry that is still to be moved or removed is at its earlier time.
_OWN = """
SELECT b.id, b.starts_at, b.ends_at, NULL AS entry_id FROM coaching_bookings b
WHERE b.coach_id = $1 AND b.status IN ('pending', 'confirmed') AND b.starts_at < $3 AND b.ends_at > $2
UNION ALL
SELECT e.booking_id, e.starts_at, e.ends_at, e.entry_id FROM calendar_entries e
WHERE e.connection_id = $4 AND e.starts_at < $3 AND e.ends_at > $2
"""
_KEEP = """
UPDATE calendar_connections SET busy_read_at = $2, busy_due_at = now() + $3::interval, last_error = NULL
WHERE id = $1 AND status = 'active' AND connected_at <= $2 AND (busy_read_at IS NULL OR busy_read_at < $2)
RETURNING id
"""
_PUT_OFF = """
UPDATE calendar_connections SET last_error = $2,
    busy_due_at = now()
        + least($3::interval, greatest(interval '5 minutes', now() - coalesce(busy_read_at, connected_at)))
WHERE id = $1
"""


class PostgresBusyTimeStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim_due(self, *, limit: int, every: timedelta) -> Sequence[CoachCalendar]:
        async with self._database.connection() as connection:
            return [_calendar(row) for row in await connection.fetch(_CLAIM, limit, every)]

    async def list_stale(self, coach: UUID, *, older_than: timedelta) -> Sequence[CoachCalendar]:
        async with self._database.connection() as connection:
            return [_calendar(row) for row in await connection.fetch(_STALE, coach, older_than)]

    async def own_entries(self, calendar: CoachCalendar, window: Interval) -> OwnEntries:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_OWN, calendar.coach_id, window.starts_at, window.ends_at, calendar.id)
        return OwnEntries(
            entry_ids={row["entry_id"] for row in rows if row["entry_id"] is not None},
            keys={str(entry_key(AppointmentId(row["id"]), calendar.coach_id)) for row in rows},
            times=[Interval(row["starts_at"], row["ends_at"]) for row in rows],
        )

    async def keep(
        self, calendar: CoachCalendar, busy: Sequence[Interval], *, began: datetime, next_in: timedelta
    ) -> None:
        async with self._database.connection() as connection:

            async def replace() -> None:
                if await connection.fetchval(_KEEP, calendar.id, began, next_in) is None:
                    return
                await connection.execute("DELETE FROM calendar_busy WHERE connection_id = $1", calendar.id)
                await connection.execute(
                    """INSERT INTO calendar_busy (connection_id, starts_at, ends_at)
                       SELECT DISTINCT $1::uuid, starts, ends
                       FROM unnest($2::timestamptz[], $3::timestamptz[]) t(starts, ends)""",
                    calendar.id,
                    [each.starts_at for each in busy],
                    [each.ends_at for each in busy],
                )

            await in_transaction(connection, replace)

    async def postpone(self, calendar: CoachCalendar, why: str, *, at_most: timedelta) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_PUT_OFF, calendar.id, why[:500], at_most)


def _calendar(row: asyncpg.Record) -> CoachCalendar:
    return CoachCalendar(ConnectionId(row["id"]), UserId(row["user_id"]), Provider(row["provider"]))
