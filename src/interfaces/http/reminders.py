"""The JSON of reminders, the same for seats and appointments."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from application.notifications.ports import ReminderView
from domain.reminders import ReminderStatus, SkipReason
from interfaces.http.schemas import whole_seconds


class ReminderBody(Struct):
    """`due_at` is `offset_minutes` before `starts_at`, the start for which the reminder was planned. `reason` is the
    cause of a skipped or failed reminder."""

    recipient: str
    offset_minutes: int
    starts_at: datetime
    due_at: datetime
    status: ReminderStatus
    reason: SkipReason | None
    sent_at: datetime | None


def reminder_bodies(reminders: Sequence[ReminderView]) -> list[ReminderBody]:
    return [_body(reminder) for reminder in reminders]


def _body(view: ReminderView) -> ReminderBody:
    sent_at = view.settled_at if view.status is ReminderStatus.SENT else None
    return ReminderBody(
        recipient=view.user_name,
        offset_minutes=view.before // timedelta(minutes=1),
        starts_at=whole_seconds(view.starts_at),
        due_at=whole_seconds(view.due_at),
        status=view.status,
        reason=view.reason,
        sent_at=whole_seconds(sent_at) if sent_at else None,
    )
