"""Reminders in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts import UserId
from domain.events import EventId
from domain.ids import AppointmentId, BookingId
from domain.outbox import Destination, MessageType
from domain.reminders import Reminded, Reminder, ReminderId, SkipReason
from infrastructure.postgres.appointments import messages
from infrastructure.postgres.engine import Database
from infrastructure.postgres.outbox import payloads
from infrastructure.postgres.payments.repository import payable_of

# The subjects of reminders: `of` is the column of `reminders`. The coach is reminded as well as the client.
_PLACES = """
SELECT b.id AS booking_id, NULL::uuid AS coaching_booking_id, b.user_id, e.starts_at, b.status = 'cancelled' AS gone
FROM bookings b JOIN events e ON e.id = b.event_id WHERE """
_SESSIONS = """
SELECT NULL::bigint AS booking_id, c.id AS coaching_booking_id, p.user_id, c.starts_at, c.status = 'cancelled' AS gone
FROM coaching_bookings c, unnest(ARRAY[c.client_id, c.coach_id]) AS p(user_id) WHERE """

# The array makes the planner look up these few bookings, independently of the number of planned reminders.
_ALIGN = """
WITH about AS ({about}), dropped AS (
    UPDATE reminders r SET status = 'skipped', settled_at = :now,
        reason = CASE WHEN about.gone THEN 'booking_cancelled' ELSE 'moved' END
    FROM about
    WHERE r.{column} = ANY(ARRAY(SELECT {column} FROM about)) AND r.{column} = about.{column}
      AND r.user_id = about.user_id AND r.status = 'planned'
      AND (about.gone OR r.starts_at <> about.starts_at)
)
INSERT INTO reminders (booking_id, coaching_booking_id, user_id, "before", starts_at, due_at)
SELECT about.booking_id, about.coaching_booking_id, about.user_id, o, about.starts_at, about.starts_at - o
FROM about, unnest(CAST(:offsets AS interval[])) AS o
WHERE NOT about.gone AND about.starts_at - o > :now
ON CONFLICT ON CONSTRAINT uq_reminders_once DO UPDATE SET status = 'planned', reason = NULL, settled_at = NULL
    WHERE reminders.status = 'skipped' AND reminders.reason IN ('booking_cancelled', 'moved')
"""

_LOOK = """
SELECT r.id, r.booking_id, r.coaching_booking_id, r.user_id, r."before", r.starts_at,
       coalesce(e.starts_at, c.starts_at) AS starts_now,
       coalesce(b.status, c.status) = 'cancelled' AS is_cancelled,
       coalesce(b.status, c.status) = 'completed' AS is_over,
       coalesce(b.status, c.status) = 'confirmed' AND (b.hold_until IS NULL OR b.hold_until > {now}) AS is_confirmed,
       NOT EXISTS (
           SELECT FROM reminders later
           WHERE (later.booking_id = r.booking_id OR later.coaching_booking_id = r.coaching_booking_id)
             AND later.user_id = r.user_id AND later.starts_at = r.starts_at
             AND later."before" < r."before" AND later.due_at <= {now}
       ) AS latest{more}
FROM reminders r
     LEFT JOIN bookings b ON b.id = r.booking_id LEFT JOIN events e ON e.id = b.event_id
     LEFT JOIN coaching_bookings c ON c.id = r.coaching_booking_id
WHERE """

DUE = _LOOK.format(now=":now", more="") + "r.status = 'planned' AND r.due_at <= :now ORDER BY r.due_at LIMIT :limit"

_RECIPIENT = "CASE WHEN r.user_id = b.coach_id THEN 'coach' ELSE 'client' END"
# The table aliases in a payload's subquery hide those outside of it.
_SNAPSHOT = f""",
       CASE WHEN r.booking_id IS NOT NULL THEN (
           SELECT {payloads.booking_payload()}
           FROM bookings b JOIN events e ON e.id = b.event_id
                JOIN users u ON u.id = b.user_id JOIN users f ON f.id = e.facilitator_id
           WHERE b.id = r.booking_id
       ) ELSE (
           SELECT {messages.payload(recipient=_RECIPIENT)}
           FROM {messages.APPOINTMENT} WHERE b.id = r.coaching_booking_id
       ) END AS snapshot"""  # noqa: S608 (composed of constants)

FIND = _LOOK.format(now="$2", more=_SNAPSHOT) + "r.id = $1 AND r.status <> 'sent'"

# The message contains only the id of the reminder: the mail is rendered at send time.
_QUEUE = f"""
WITH queued AS (
    INSERT INTO outbox (destination, lane, fact, snapshot, request_id, occurred_at)
    SELECT '{Destination.EMAIL}', 'reminder:' || id, '{MessageType.BOOKING_REMINDER}',
           jsonb_build_object('reminder_id', id), NULL, :now
    FROM unnest(CAST(:ids AS uuid[])) AS id
    RETURNING id, snapshot
)
UPDATE reminders SET status = 'queued', message_id = queued.id
FROM queued WHERE reminders.id = CAST(queued.snapshot ->> 'reminder_id' AS uuid)
"""  # noqa: S608 (composed of constants)


class PostgresReminders:
    def __init__(self, session: AsyncSession, offsets: Sequence[timedelta], *, now: datetime) -> None:
        self._session = session
        self._when: dict[str, Any] = {"now": now}
        self._offsets = list(offsets)

    async def align_bookings(self, bookings: Sequence[BookingId]) -> None:
        await self._align(_PLACES + "b.id = ANY(CAST(:id AS bigint[]))", "booking_id", bookings)

    async def align_event(self, event_id: EventId) -> None:
        await self._align(_PLACES + "e.id = :id", "booking_id", event_id)

    async def align_appointments(self, appointments: Sequence[AppointmentId]) -> None:
        await self._align(_SESSIONS + "c.id = ANY(CAST(:id AS uuid[]))", "coaching_booking_id", appointments)

    async def _align(self, about: str, column: str, key: Any) -> None:
        statement = _ALIGN.format(about=about, column=column)
        await self._session.execute(text(statement), {**self._when, "id": key, "offsets": self._offsets})

    async def claim_due(self, now: datetime, *, limit: int) -> Sequence[tuple[Reminder, Reminded]]:
        values = {"now": now, "limit": limit}
        rows = await self._session.execute(text(f"{DUE} FOR UPDATE OF r SKIP LOCKED"), values)
        return [seen(row) for row in rows.mappings()]

    async def queue(self, reminders: Sequence[ReminderId]) -> None:
        if reminders:
            await self._session.execute(text(_QUEUE), {**self._when, "ids": list(reminders)})

    async def skip(self, reminders: Sequence[ReminderId], why: SkipReason, now: datetime) -> None:
        await self._session.execute(
            text("""UPDATE reminders SET status = 'skipped', reason = :why, settled_at = :now
                WHERE id = ANY(CAST(:ids AS uuid[]))"""),
            {"why": why, "now": now, "ids": list(reminders)},
        )


class PostgresReminderResults:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, reminder_id: ReminderId, why: SkipReason | None, now: datetime) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                """UPDATE reminders SET status = CASE WHEN $2::text IS NULL THEN 'sent' ELSE 'skipped' END,
                   reason = $2, settled_at = $3 WHERE id = $1 AND status <> 'sent'""",
                *(reminder_id, why, now),
            )


def seen(row: Any) -> tuple[Reminder, Reminded]:
    """The reminder and its subject in a row of `DUE` or `FIND`."""
    reminder = Reminder(
        id=ReminderId(row["id"]),
        about=payable_of(row),
        user_id=UserId(row["user_id"]),
        before=row["before"],
        starts_at=row["starts_at"],
        latest=row["latest"],
    )
    return reminder, Reminded(row["starts_now"], row["is_cancelled"], row["is_confirmed"], row["is_over"])
