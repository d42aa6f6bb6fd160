"""Content of mails to facilitators of events, to whose address mail is limited. The CRM mails the others."""

from collections.abc import Mapping

from domain.bookings import CancelReason
from domain.outbox import Message, MessageType
from infrastructure.delivery.payloads import Payload
from infrastructure.email.content import EmailContent, EmailCopy, Unmailable, shortened, without_empty
from infrastructure.email.copy.event_changes import location_of
from infrastructure.email.copy.payments import price
from servicekit.local_times import reading_zone, when
from servicekit.text import isolated

# `{title}`, `{who}` and `{money}` are filled in.
_COPY: Mapping[str, EmailCopy] = {
    MessageType.BOOKING_CREATED: EmailCopy("New booking: {title}", "New booking", "{who} booked a place in {title}."),
    MessageType.BOOKING_CANCELLED: EmailCopy(
        "Booking cancelled: {title}", "Booking cancelled", "{who} cancelled their place in {title}."
    ),
    CancelReason.BY_ORGANISER: EmailCopy(
        "Booking cancelled: {title}",
        "Booking cancelled",
        "The booking of {who} for {title} was cancelled by the organiser.",
    ),
    CancelReason.PAYMENT_EXPIRED: EmailCopy(
        "Booking ended: {title}", "Booking ended", "{who} did not pay in time for {title}: the place is free again."
    ),
    MessageType.PAYMENT_COMPLETED: EmailCopy(
        "Paid: {title}", "A booking is paid", "{who} paid {money} for their place in {title}."
    ),
    MessageType.PAYMENT_FAILED: EmailCopy(
        "Not paid yet: {title}", "A payment failed", "{who} tried to pay {money} for {title}, and it failed."
    ),
    MessageType.BOOKING_REFUNDED: EmailCopy(
        "Refunded: {title}", "A booking is refunded", "We have refunded {money} to {who} for {title}."
    ),
    MessageType.DISPUTE_OPENED: EmailCopy(
        "Payment disputed: {title}",
        "A payment is disputed",
        "The bank of {who} disputes the payment of {money} for {title}. It cannot be refunded until the bank has "
        "decided.",
    ),
    MessageType.DISPUTE_WON: EmailCopy(
        "Dispute won: {title}",
        "The dispute is decided for you",
        "The bank has decided the dispute of {who} about {money} for {title} for you.",
    ),
    MessageType.DISPUTE_LOST: EmailCopy(
        "Dispute lost: {title}",
        "The dispute is decided for the payer",
        "The bank has returned {money} for {title} to {who}.",
    ),
    MessageType.EVENT_CANCELLED: EmailCopy("Cancelled: {title}", "An event is cancelled", "{title} is cancelled."),
}


def facilitator_email(message: Message, payload: Payload) -> EmailContent:
    """Raises `Unmailable`."""
    copy = _COPY.get(payload.reason or "") if message.message_type is MessageType.BOOKING_CANCELLED else None
    copy = copy or _COPY.get(message.message_type)
    if copy is None:
        raise Unmailable(f"no mail is written about {message.message_type} to the facilitator")
    event, booking, user = payload.event, payload.booking, payload.user
    who = isolated(user.name) if user is not None else "A client"
    return EmailContent(
        recipient=payload.facilitator,
        reply_to=user,
        subject=copy.subject.format(title=shortened(event.title)),
        headline=copy.headline,
        sentence=copy.sentence.format(title=isolated(event.title), who=who, money=payload.money),
        details=without_empty(
            {
                "What": event.title,
                "When": when(event.starts_at, event.ends_at, reading_zone(payload.facilitator.timezone)),
                "Where": location_of(event),
                "Booked by": user.name if user is not None else None,
                "Booking": booking.reference if booking is not None else None,
                "Price": price(booking.payment_status, *payload.agreed) if booking is not None else None,
                "Places taken": f"{event.booked} of {event.capacity}",
                "Their notes": booking.notes if booking is not None else None,
            }
        ),
    )
