"""Effects of a change of an appointment. The repository applies them when it saves the appointment."""

from collections.abc import Mapping
from dataclasses import dataclass

from domain.appointments import AppointmentChange
from domain.outbox import MessageType


@dataclass(frozen=True, slots=True)
class AppointmentEffects:
    """Effects in the transaction of the change. Every change also adds an entry to the history."""

    message: MessageType | None = None
    """Sent to the destinations in `domain.outbox.ROUTES`."""
    calendars: bool = False
    """A sync job for each connected calendar of the client and the coach."""
    reminders: bool = False
    """Reminders are planned or cancelled to match the appointment."""


EFFECTS: Mapping[AppointmentChange, AppointmentEffects] = {
    AppointmentChange.CREATED: AppointmentEffects(MessageType.BOOKING_CREATED, calendars=True, reminders=True),
    AppointmentChange.CONFIRMED: AppointmentEffects(MessageType.BOOKING_CONFIRMED, calendars=True),
    AppointmentChange.COMPLETED: AppointmentEffects(MessageType.BOOKING_COMPLETED),
    AppointmentChange.CANCELLED: AppointmentEffects(MessageType.BOOKING_CANCELLED, calendars=True, reminders=True),
    AppointmentChange.RESCHEDULED: AppointmentEffects(MessageType.BOOKING_RESCHEDULED, calendars=True, reminders=True),
    AppointmentChange.PAYMENT_FAILED: AppointmentEffects(MessageType.PAYMENT_FAILED),
    AppointmentChange.PAID: AppointmentEffects(MessageType.PAYMENT_COMPLETED, calendars=True),
    AppointmentChange.REINSTATED: AppointmentEffects(MessageType.PAYMENT_COMPLETED, calendars=True, reminders=True),
    # The messages about a refund are enqueued when the gateway has paid it.
    AppointmentChange.REFUNDED: AppointmentEffects(),
    AppointmentChange.DISPUTE_OPENED: AppointmentEffects(MessageType.DISPUTE_OPENED),
    AppointmentChange.DISPUTE_WON: AppointmentEffects(MessageType.DISPUTE_WON),
    AppointmentChange.DISPUTE_LOST: AppointmentEffects(MessageType.DISPUTE_LOST),
    AppointmentChange.NOTES_CHANGED: AppointmentEffects(),
    AppointmentChange.LINKED: AppointmentEffects(calendars=True),
    AppointmentChange.ATTACHMENT_ADDED: AppointmentEffects(),
    AppointmentChange.ATTACHMENT_REMOVED: AppointmentEffects(),
}
