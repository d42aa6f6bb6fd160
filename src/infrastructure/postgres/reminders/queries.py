"""Queries about reminders, for delivery and for lists."""

from datetime import datetime

from application.notifications.ports import QueuedReminder, ReminderView
from application.ports import Page, PageRequest
from domain.ids import PayableRef
from domain.reminders import ReminderId, ReminderStatus, SkipReason
from infrastructure.postgres.engine import Database
from infrastructure.postgres.pages import cursor_of, moment_and_uuid_after
from infrastructure.postgres.payments.repository import column_of
from infrastructure.postgres.reminders.repository import FIND, seen

# The state of a queued reminder is derived from its message, which alone records the last attempt and an operator's
# decision. A message that was deleted had been discarded: delivery would have marked the reminder as sent.
_LIST = """
SELECT r.id, r."before", r.starts_at, r.due_at, r.settled_at, u.name AS user_name,
       CASE WHEN given_up IS NULL THEN r.status ELSE 'failed' END AS status, coalesce(given_up, r.reason) AS reason
FROM reminders r JOIN users u ON u.id = r.user_id
     LEFT JOIN outbox m ON m.id = r.message_id,
     LATERAL (SELECT CASE
         WHEN r.status <> 'queued' OR r.message_id IS NULL THEN NULL
         WHEN m.status = 'dead' THEN 'undeliverable'
         WHEN m.status = 'discarded' OR m.id IS NULL THEN 'discarded'
     END AS given_up) AS end_of_message
WHERE """


class PostgresReminderQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, reminder_id: ReminderId, now: datetime) -> QueuedReminder | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(FIND, reminder_id, now)
        return QueuedReminder(*seen(row), row["snapshot"]) if row else None

    async def list_of(self, about: PayableRef, page: PageRequest) -> Page[ReminderView]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""{_LIST} r.{column_of(about)} = $1
                AND ($2::timestamptz IS NULL OR (r.due_at, r.id) > ($2, $3::uuid))
                ORDER BY r.due_at, r.id LIMIT $4""",
                about.id,
                *moment_and_uuid_after(page.after),
                page.limit + 1,
            )
        shown = rows[: page.limit]
        following = cursor_of(shown[-1]["due_at"], shown[-1]["id"]) if len(rows) > page.limit else None
        reminders = [
            ReminderView(
                before=row["before"],
                starts_at=row["starts_at"],
                due_at=row["due_at"],
                status=ReminderStatus(row["status"]),
                reason=SkipReason(row["reason"]) if row["reason"] else None,
                settled_at=row["settled_at"],
                user_name=row["user_name"],
            )
            for row in shown
        ]
        return Page(reminders, following)
