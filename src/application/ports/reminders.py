"""Reminders as rows that live with their booking."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from application.ports.pages import Page, PageRequest
from domain.bookings import BookingId
from domain.coaching import CoachingId
from domain.events import EventId
from domain.reminders import Reminded, Reminder, ReminderId, ReminderStatus, WhyNot


class Reminders(Protocol):
    """Inside a unit of work. The `align` methods make the planned reminders what they have to be now: there is one for
    each person and offset that is still ahead, none for what was cancelled or begins at another time. They may be
    called as often as one likes."""

    async def align_booking(self, booking_id: BookingId) -> None: ...

    async def align_event(self, event_id: EventId) -> None:
        """Those of all its bookings."""
        ...

    async def align_coaching(self, coaching_id: CoachingId) -> None: ...

    async def claim_due(self, now: datetime, *, limit: int) -> Sequence[tuple[Reminder, Reminded]]:
        """Planned ones whose time has come, locked until the unit of work ends; what others have locked is left out."""
        ...

    async def queue(self, reminders: Sequence[ReminderId]) -> None:
        """They are owed by mail from now on."""
        ...

    async def skip(self, reminders: Sequence[ReminderId], why: WhyNot, now: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class ReminderView:
    before: timedelta
    starts_at: datetime
    due_at: datetime
    status: ReminderStatus
    reason: WhyNot | None
    settled_at: datetime | None
    user_name: str


@dataclass(frozen=True, slots=True)
class QueuedReminder:
    """`snapshot` is what its mail is written from: the booking as it is at the same moment as `about`."""

    reminder: Reminder
    about: Reminded
    snapshot: dict[str, Any]


class ReminderBook(Protocol):
    """Outside of a unit of work."""

    async def find(self, reminder_id: ReminderId, now: datetime) -> QueuedReminder | None:
        """None for one that was sent."""
        ...

    async def settle(self, reminder_id: ReminderId, why: WhyNot | None, now: datetime) -> None:
        """Sent, or skipped for a reason. One that was sent stays so."""
        ...

    async def list_of(self, booking_id: BookingId | CoachingId, page: PageRequest) -> Page[ReminderView]:
        """The next to come first. Raises `Invalid` for a cursor it did not make."""
        ...
