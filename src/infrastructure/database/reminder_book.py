"""Reminders as a worker delivers them and as people look them up."""

from collections.abc import Sequence
from datetime import datetime

from application.ports.reminders import ReminderView
from domain.bookings import BookingId
from domain.coaching import CoachingId
from domain.reminders import Reminded, Reminder, ReminderId, ReminderStatus, WhyNot
from infrastructure.database.engine import Database
from infrastructure.database.payments import column_of
from infrastructure.database.reminders import LOOK, seen


class PostgresReminderBook:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, reminder_id: ReminderId, now: datetime) -> tuple[Reminder, Reminded] | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"{LOOK.format(now='$2')} WHERE r.id = $1 AND r.status <> 'sent'", reminder_id, now
            )
        return seen(row) if row else None

    async def settle(self, reminder_id: ReminderId, why: WhyNot | None, now: datetime) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                """UPDATE reminders SET status = CASE WHEN $2::text IS NULL THEN 'sent' ELSE 'skipped' END,
                   reason = $2, settled_at = $3 WHERE id = $1 AND status <> 'sent'""",
                *(reminder_id, why, now),
            )

    async def list_of(self, booking_id: BookingId | CoachingId) -> Sequence[ReminderView]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""SELECT r.*, u.name FROM reminders r JOIN users u ON u.id = r.user_id
                    WHERE r.{column_of(booking_id)} = $1 ORDER BY r.due_at, r.id""",  # noqa: S608
                booking_id,
            )
        return [
            ReminderView(
                before=row["before"],
                starts_at=row["starts_at"],
                due_at=row["due_at"],
                status=ReminderStatus(row["status"]),
                reason=WhyNot(row["reason"]) if row["reason"] else None,
                settled_at=row["settled_at"],
                user_name=row["name"],
            )
            for row in rows
        ]
