"""Reminders of bookings: one per person, offset and start time. Useless ones are skipped."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from domain.accounts import UserId
from domain.ids import PayableRef

ReminderId = NewType("ReminderId", UUID)


class ReminderStatus(StrEnum):
    """`planned` until it is due; `queued` when its e-mail is in the outbox; then `sent`, `skipped` if it is useless, or
    `failed` if the e-mail could not be delivered, unless an operator replays it."""

    PLANNED = "planned"
    QUEUED = "queued"
    SENT = "sent"
    SKIPPED = "skipped"
    FAILED = "failed"


class SkipReason(StrEnum):
    """Why a reminder is not sent."""

    BOOKING_CANCELLED = "booking_cancelled"
    NOT_CONFIRMED = "not_confirmed"
    MOVED = "moved"
    """The booking was rescheduled. There are other reminders for its new start."""
    SUPERSEDED = "superseded"
    """It is so late that the next reminder is also due."""
    TOO_LATE = "too_late"
    """The event or session has started or ended."""
    UNDELIVERABLE = "undeliverable"
    """There is no recipient, or no server accepted the e-mail within the retry schedule."""
    DISCARDED = "discarded"
    """The e-mail could not be delivered, and an operator has discarded it."""


@dataclass(frozen=True, slots=True)
class Reminder:
    """`before`: the offset before the planned start. `latest`: whether no other reminder of this person for this start
    with a smaller offset is due."""

    id: ReminderId
    about: PayableRef
    user_id: UserId
    before: timedelta
    starts_at: datetime
    latest: bool = True


@dataclass(frozen=True, slots=True)
class Reminded:
    """The current state of the booking that a reminder is about."""

    starts_at: datetime
    is_cancelled: bool
    is_confirmed: bool
    is_over: bool = False
    """Whether it has taken place: a coach may complete a session before its end."""


def skip_reason(reminder: Reminder, about: Reminded, now: datetime) -> SkipReason | None:
    """Returns None if the reminder is to be sent. After an outage the last of several due reminders is sent, if the
    start is still in the future."""
    if about.is_cancelled:
        return SkipReason.BOOKING_CANCELLED
    if about.starts_at != reminder.starts_at:
        return SkipReason.MOVED
    if about.starts_at <= now or about.is_over:
        return SkipReason.TOO_LATE
    if not about.is_confirmed:
        return SkipReason.NOT_CONFIRMED
    if not reminder.latest:
        return SkipReason.SUPERSEDED
    return None
