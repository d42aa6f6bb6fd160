"""Effects of a change of a booking. The repository applies them when it saves the booking."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from domain.bookings import BookingChange
from domain.outbox import MessageType


class SeatEffect(StrEnum):
    """A change of the event's row. Each one increments the event's version, the SEQUENCE of its calendar entries."""

    RELEASE = "release"
    OCCUPY = "occupy"
    COUNT_CHANGE = "count_change"
    """The seat stays, and the calendar entry changes."""


@dataclass(frozen=True, slots=True)
class BookingEffects:
    """Effects in the transaction of the change."""

    message: MessageType | None = None
    """Sent to the destinations in `domain.outbox.ROUTES`."""
    seat: SeatEffect | None = None
    reminders: bool = False
    """Reminders are planned or cancelled to match the booking."""


EFFECTS: Mapping[BookingChange, BookingEffects] = {
    # The statement that reserves a seat writes the same for a booking that a person makes.
    BookingChange.INVITED: BookingEffects(MessageType.BOOKING_CREATED, reminders=True),
    BookingChange.CANCELLED: BookingEffects(MessageType.BOOKING_CANCELLED, SeatEffect.RELEASE, reminders=True),
    BookingChange.EVENT_CANCELLED: BookingEffects(MessageType.BOOKING_CANCELLED, reminders=True),
    BookingChange.COMPLETED: BookingEffects(MessageType.BOOKING_COMPLETED),
    # The calendar entry is no longer tentative, and a new STATUS needs a new SEQUENCE (RFC 5546, 2.1.4).
    BookingChange.PAID: BookingEffects(MessageType.PAYMENT_COMPLETED, SeatEffect.COUNT_CHANGE),
    BookingChange.PAYMENT_FAILED: BookingEffects(MessageType.PAYMENT_FAILED),
    BookingChange.REINSTATED: BookingEffects(MessageType.PAYMENT_COMPLETED, SeatEffect.OCCUPY, reminders=True),
    # The messages about a refund are enqueued when the gateway has paid it.
    BookingChange.REFUNDED: BookingEffects(),
    BookingChange.DISPUTE_OPENED: BookingEffects(MessageType.DISPUTE_OPENED),
    BookingChange.DISPUTE_WON: BookingEffects(MessageType.DISPUTE_WON),
    BookingChange.DISPUTE_LOST: BookingEffects(MessageType.DISPUTE_LOST),
}
