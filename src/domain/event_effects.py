"""Effects of a change of an event. The repository applies them when it saves the event."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from domain.audit import AuditAction
from domain.bookings import BookingChange
from domain.events import EventChange
from domain.outbox import MessageType


@dataclass(frozen=True, slots=True)
class EventEffects:
    """Effects in the transaction of the change, in this order."""

    keeps_policy: bool = False
    """The earlier refund policy is stored with bookings that have no stored one."""
    payments: bool = False
    """Payments of confirmed bookings are refunded in full, and open checkouts are closed."""
    message: MessageType | None = None
    """A message about the event, to the destinations in `domain.outbox.ROUTES`."""
    bookings: BookingChange | None = None
    """The change of each confirmed booking, with the effects in `domain.booking_effects`."""
    start: bool = False
    """Holds of unpaid bookings end at the new start at the latest, and reminders are planned for it."""
    participants: bool = False
    """A mail about each confirmed booking, which may wait for further changes (`domain.change_mails`)."""
    invitations: bool = False
    """Pending invitations are withdrawn."""
    audit: AuditAction | None = None
    """The action in the audit log, with the changed details."""


_EDITED = EventEffects(audit=AuditAction.EVENT_CHANGED)
_UPDATED = replace(_EDITED, message=MessageType.EVENT_UPDATED, participants=True)

EFFECTS: Mapping[EventChange, EventEffects] = {
    EventChange.CREATED: EventEffects(message=MessageType.EVENT_CREATED, audit=AuditAction.EVENT_CREATED),
    EventChange.EDITED: _EDITED,
    EventChange.CORRECTED: replace(_EDITED, message=MessageType.EVENT_UPDATED),
    EventChange.RENAMED: _UPDATED,
    EventChange.RESCHEDULED: _UPDATED,
    EventChange.MOVED: replace(_UPDATED, start=True),
    # The change of details that is recorded with it has the entry in the audit log.
    EventChange.POLICY_CHANGED: EventEffects(keeps_policy=True),
    EventChange.CANCELLED: EventEffects(
        payments=True,
        message=MessageType.EVENT_CANCELLED,
        bookings=BookingChange.EVENT_CANCELLED,
        invitations=True,
        audit=AuditAction.EVENT_CANCELLED,
    ),
    EventChange.COMPLETED: EventEffects(bookings=BookingChange.COMPLETED),
    EventChange.DELETED: EventEffects(audit=AuditAction.EVENT_DELETED),
}
