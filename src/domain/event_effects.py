"""What follows from a change of an event. The repository applies it when it saves the event."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from domain.bookings import BookingChange
from domain.events import EventChange
from domain.outbox import MessageType


@dataclass(frozen=True, slots=True)
class EventEffects:
    """Written in the transaction of the change, in this order."""

    keeps_policy: bool = False
    """Bookings without a refund policy of their own keep the earlier one."""
    payments: bool = False
    """Payments of confirmed bookings are refunded in full, and open checkouts are closed."""
    message: MessageType | None = None
    """About the event, to the recipients that `domain.outbox.ROUTES` names."""
    participants: MessageType | None = None
    """The same about each confirmed booking."""
    bookings: BookingChange | None = None
    """Confirmed bookings change with the event. What follows from that: `domain.booking_effects`."""
    start: bool = False
    """Unpaid bookings hold their seats no longer than until the new start, and reminders are planned for it."""
    invitations: bool = False
    """Pending invitations are withdrawn."""


_UPDATED = EventEffects(message=MessageType.EVENT_UPDATED, participants=MessageType.BOOKING_MOVED)

EFFECTS: Mapping[EventChange, EventEffects] = {
    EventChange.CREATED: EventEffects(message=MessageType.EVENT_CREATED),
    EventChange.EDITED: EventEffects(),
    EventChange.CORRECTED: EventEffects(message=MessageType.EVENT_UPDATED),
    EventChange.RENAMED: _UPDATED,
    EventChange.RESCHEDULED: _UPDATED,
    EventChange.MOVED: replace(_UPDATED, start=True),
    EventChange.POLICY_CHANGED: EventEffects(keeps_policy=True),
    EventChange.CANCELLED: EventEffects(
        payments=True,
        message=MessageType.EVENT_CANCELLED,
        bookings=BookingChange.EVENT_CANCELLED,
        invitations=True,
    ),
    EventChange.COMPLETED: EventEffects(bookings=BookingChange.COMPLETED),
    EventChange.DELETED: EventEffects(),
}
