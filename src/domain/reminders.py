"""Reminders before what people booked: once per person, offset and start time, and never when it is of no use."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from domain.accounts import UserId
from domain.ids import PayableRef

ReminderId = NewType("ReminderId", UUID)


class ReminderStatus(StrEnum):
    """`planned` until its time; `queued` when its e-mail is in the outbox; then `sent`, `skipped` if it is of no use,
    or `failed` if the e-mail could not be delivered, unless an operator replays it."""

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
    """What was booked begins at another time now, of which people are reminded anew."""
    SUPERSEDED = "superseded"
    """It is so late that the next one is due, too."""
    TOO_LATE = "too_late"
    """It has begun, or is over."""
    UNDELIVERABLE = "undeliverable"
    """There is no recipient, or no server accepted the e-mail within the retry schedule."""
    DISCARDED = "discarded"
    """It could not be delivered, and an operator decided to leave it at that."""


@dataclass(frozen=True, slots=True)
class Reminder:
    """`before` the start as it was planned: the offset. `latest` says that no other reminder of this person for this
    start is due already with a smaller offset."""

    id: ReminderId
    about: PayableRef
    user_id: UserId
    before: timedelta
    starts_at: datetime
    latest: bool = True


@dataclass(frozen=True, slots=True)
class Reminded:
    """What a reminder is about, as it is now."""

    starts_at: datetime
    is_cancelled: bool
    is_confirmed: bool
    is_over: bool = False
    """Taken place, whatever the clock says: a coach may complete a session before its time."""


def skip_reason(reminder: Reminder, about: Reminded, now: datetime) -> SkipReason | None:
    """None when it is to be sent. Late is better than never, as long as it helps: after an outage the last of those
    that are due is sent while the start is ahead."""
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
