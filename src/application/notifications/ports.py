"""Ports of notifications: live updates, reminders, mails about changes, mail to addresses that are not verified."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NewType, Protocol, TypeAlias

from application.ports import Page, PageRequest
from domain.accounts import UserId
from domain.appointments import Appointment
from domain.events import Event, EventId
from domain.ids import AppointmentId, PayableRef
from domain.invitations import InvitationId
from domain.outbox import MessageId
from domain.reminders import Reminded, Reminder, ReminderId, ReminderStatus, SkipReason
from domain.unverified_mail import BookedSession

EntryId = NewType("EntryId", int)


@dataclass(frozen=True, slots=True)
class LiveUpdate:
    """`payload` has the fields of the message to the CRM."""

    id: EntryId
    message_type: str
    payload: dict[str, Any]
    occurred_at: datetime


class LiveUpdateQueries(Protocol):
    async def newest(self, facilitator_id: UserId) -> EntryId:
        """The id of the newest entry; 0 without one."""
        ...

    async def after(self, facilitator_id: UserId, entry_id: EntryId, *, limit: int) -> Sequence[LiveUpdate]:
        """The next entries, oldest first."""
        ...

    async def has_updates(self, facilitator_id: UserId, entry_id: EntryId) -> bool:
        """Whether there are entries after it. Concurrent calls are batched into one query."""
        ...


class Listener(Protocol):
    async def wait(self, seconds: float) -> bool:
        """Waits for a signal, at most that long. Returns True if there may be new entries."""
        ...


class LiveUpdateListeners(Protocol):
    """Signals to every process that live updates of a facilitator were recorded. A signal can be lost, so waiting
    followers also poll."""

    def listening(self, facilitator_id: UserId) -> AbstractAsyncContextManager[Listener]: ...


class Reminders(Protocol):
    """Within a unit of work. The `align` methods make the planned reminders match the booking: one for each recipient
    and future offset, none for a cancelled booking or another start. They are idempotent.
    Saving a booking or an appointment aligns its reminders."""

    async def claim_due(self, now: datetime, *, limit: int) -> Sequence[tuple[Reminder, Reminded]]:
        """Planned reminders that are due, locked until the unit of work ends. Skips those that others have locked."""
        ...

    async def queue(self, reminders: Sequence[ReminderId]) -> None:
        """Enqueues their e-mails."""
        ...

    async def skip(self, reminders: Sequence[ReminderId], why: SkipReason, now: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class ReminderView:
    before: timedelta
    starts_at: datetime
    due_at: datetime
    status: ReminderStatus
    reason: SkipReason | None
    settled_at: datetime | None
    user_name: str


@dataclass(frozen=True, slots=True)
class QueuedReminder:
    """`snapshot` is what its mail is written from: the booking as it is at the same moment as `about`."""

    reminder: Reminder
    about: Reminded
    payload: dict[str, Any]


class ReminderQueries(Protocol):
    """Reminders outside of a unit of work."""

    async def find(self, reminder_id: ReminderId, now: datetime) -> QueuedReminder | None:
        """Returns None for a reminder that was sent."""
        ...

    async def list_of(self, about: PayableRef, page: PageRequest) -> Page[ReminderView]:
        """By due time, next one first. Raises `Invalid` for an unknown cursor."""
        ...


class ReminderResults(Protocol):
    """Results of reminder mails, outside of a unit of work."""

    async def record(self, reminder_id: ReminderId, why: SkipReason | None, now: datetime) -> None:
        """Records that the reminder was sent, or skipped for a reason. A sent one does not change any more."""
        ...


ChangedRef: TypeAlias = EventId | AppointmentId


class ChangeMails(Protocol):
    """Within a unit of work. Mails about changes of events and appointments that wait for further changes: one row for
    each booking and each appointment. Saving a changed event or appointment adds them, or enqueues them if they must
    not wait (`domain.change_mails`)."""

    async def find_due(self, now: datetime, *, limit: int) -> Sequence[ChangedRef]:
        """The events and appointments of at most `limit` mails that are due, the one that has waited longest first."""
        ...

    async def queue_for_event(self, event: Event) -> None:
        """Enqueues the event's mails that are due and forgets those with nothing to tell: the booking is not confirmed
        any more, or a later change has restored what the participant knows. The event must be locked."""
        ...

    async def queue_for_appointment(self, appointment: Appointment) -> None:
        """The same for an appointment, which must be locked: one mail to the client and one to the coach."""
        ...


@dataclass(frozen=True, slots=True)
class AddressOwner:
    """`is_limited`: the address is not proven. `user_id`: the account with this address, if there is one."""

    is_limited: bool
    user_id: UserId | None


class UnverifiedAddresses(Protocol):
    """Mails to addresses that are not verified, by the clock of the storage. Every method raises `Unavailable`."""

    async def find(self, address: str) -> AddressOwner:
        """Concurrent calls may be batched into one query."""
        ...

    async def count(self, address: str, message_id: MessageId, *, at_most: int, per: timedelta) -> bool:
        """Counts a mail to the address and returns True, unless it had `at_most` mails in the time `per` before. A
        message that was counted is not counted again. Concurrent calls never exceed the limit."""
        ...


SessionRef: TypeAlias = PayableRef | InvitationId


class BookedSessions(Protocol):
    """The present state of what mails are about."""

    async def find(self, about: SessionRef) -> BookedSession | None: ...
