"""What a mail about a place in an event says: its subject, its sentence, and the facts below, for each thing that can
happen to a booking."""

from dataclasses import replace
from datetime import datetime

from domain.bookings import CancelReason
from domain.events import RESCHEDULED
from domain.outbox import MessageType
from domain.refunds import PAID_AFTER_START, PAID_TWICE, SEAT_GONE
from infrastructure.delivery.payloads import BookingPayload, Payload, Person
from infrastructure.email.content import Button, EmailCopy, said
from infrastructure.email.copy.event_changes import change_wording, place_of, previous_facts
from infrastructure.email.copy.payments import (
    BY_GATEWAY,
    CANCEL_FOR_FULL_REFUND,
    WHERE_TO_ASK,
    is_by_hand,
    money_facts,
    price,
)
from servicekit.local_times import ahead, instant, reading_zone, when

# `{title}`, `{money}` and `{facilitator}` are filled in.
_WORDING = {
    MessageType.BOOKING_CREATED: EmailCopy(
        "You are booked: {title}",
        "You are booked",
        "Your place in {title} is confirmed. We look forward to seeing you.",
    ),
    MessageType.BOOKING_REMINDER: EmailCopy(
        "Reminder: {title}", "It begins soon", "{title} begins soon. We look forward to seeing you."
    ),
    MessageType.BOOKING_CANCELLED: EmailCopy(
        "Booking cancelled: {title}", "Your booking is cancelled", "Your booking of {title} is cancelled, as you asked."
    ),
    MessageType.PAYMENT_COMPLETED: EmailCopy(
        "Receipt: {title}",
        "Thank you for your payment",
        "We have received {money} for your place in {title}. This mail is your receipt.",
    ),
    MessageType.PAYMENT_FAILED: EmailCopy(
        "Payment failed: {title}",
        "Your payment did not go through",
        "{money} for your place in {title} could not be collected. Please try again.",
    ),
    MessageType.BOOKING_REFUNDED: EmailCopy(
        "Refund: {title}",
        "Your money is on its way back",
        "{money} of what you paid for {title} are given back to you.",
    ),
}
_HELD = EmailCopy(
    "Please pay: {title}",
    "Your place is held for you",
    "We keep a place in {title} for you until the time below. Please pay by then; without a payment the place goes to "
    "somebody else.",
)
_REMINDER_OF_HELD = (
    "{{title}} begins {ahead}, and your place is held for you until the time below. Please pay by then; without a "
    "payment the place goes to somebody else."
)
_CANCELLED: dict[str, EmailCopy] = {
    MessageType.EVENT_CANCELLED: EmailCopy(
        "Cancelled: {title}",
        "This event is cancelled",
        "We are sorry: {title} will not take place, and your booking is cancelled with it.",
    ),
    CancelReason.BY_ORGANISER: EmailCopy(
        "Booking cancelled: {title}",
        "Your booking is cancelled",
        "The organiser has cancelled your booking of {title}. If you paid, you receive a full refund.",
    ),
    CancelReason.PAYMENT_EXPIRED: EmailCopy(
        "Booking ended: {title}",
        "Your place was given up",
        "Your payment for {title} did not arrive in time, so the place that was held for you is free again. You are "
        "welcome to book anew. Should your payment still arrive, you get a place if one is left, or your money.",
    ),
}
_ENDED_AT_START = EmailCopy(
    "Booking ended: {title}",
    "Your booking has ended",
    "Your payment for {title} did not arrive before the start, so your booking has ended. If it still arrives, we "
    "refund it in full.",
)
_REFUNDED: dict[str, str] = {
    PAID_AFTER_START: (
        "Your payment for {title} arrived after the start. We have refunded {money}, the full amount you paid."
    ),
    CancelReason.BY_ORGANISER: "We have refunded {money} for {title}.",
    SEAT_GONE: (
        "Your payment for {title} arrived after the time to pay was over, when your place had been given up and none "
        "could be had any more. We are sorry: you have no place, and {money}, all that you paid, are given back to you."
    ),
    PAID_TWICE: (
        "{title} had been paid for already when another payment of yours arrived. Your booking stands, and {money}, "
        "the whole second payment, are given back to you."
    ),
    MessageType.BOOKING_CANCELLED: (
        "Your booking of {title} was cancelled; {money} of what you paid are given back to you."
    ),
    MessageType.EVENT_CANCELLED: "{title} will not take place, and {money}, all that you paid, are given back to you.",
}
_BY_HAND = " You paid on the spot, so {facilitator} hands the money back to you."


def words(message_type: MessageType, then: Payload, booking: BookingPayload) -> EmailCopy | None:
    """None for what no mail is written about."""
    if message_type is MessageType.BOOKING_REMINDER:
        return _reminder(then, booking)
    if message_type is MessageType.BOOKING_MOVED:
        wording = change_wording(then.before, then.event)
        if then.reason != RESCHEDULED or not then.agreed.price:
            return wording
        return replace(wording, sentence=wording.sentence + CANCEL_FOR_FULL_REFUND)
    if message_type not in _WORDING:
        return None
    wording = _WORDING[message_type]
    by_hand = is_by_hand(then.payment)
    if message_type is MessageType.BOOKING_CREATED and booking.awaits_payment:
        wording = _HELD if then.payment_url else replace(_HELD, sentence=_HELD.sentence + WHERE_TO_ASK)
    elif message_type is MessageType.BOOKING_CANCELLED:
        wording = _CANCELLED.get(then.reason or "", wording)
        if then.reason == CancelReason.PAYMENT_EXPIRED and ended_at_start(then, booking):
            wording = _ENDED_AT_START
    elif message_type is MessageType.BOOKING_REFUNDED:
        headline = "You get your money back" if by_hand else wording.headline
        sentence = _REFUNDED.get(then.reason or "", wording.sentence) + (_BY_HAND if by_hand else BY_GATEWAY)
        wording = EmailCopy(wording.subject, headline, sentence)
    return wording


def _reminder(then: Payload, booking: BookingPayload) -> EmailCopy | None:
    if then.as_of is None or then.user is None:
        return None
    soon = ahead(then.event.starts_at, then.as_of, reading_zone(then.user.timezone))
    sentence = f"{{title}} begins {soon}. We look forward to seeing you."
    if booking.awaits_payment:
        sentence = _REMINDER_OF_HELD.format(ahead=soon)
    return EmailCopy(f"{soon[0].upper()}{soon[1:]}: {{title}}", f"It begins {soon}", sentence)


def ended_at_start(then: Payload, booking: BookingPayload) -> bool:
    """Whether it was cancelled when the event had started."""
    return booking.cancelled_at is not None and booking.cancelled_at >= then.event.starts_at


def facts(
    message_type: MessageType, then: Payload, booking: BookingPayload, reader: Person, *, occurred_at: datetime
) -> dict[str, str]:
    event, zone = then.event, reading_zone(reader.timezone)
    paid = {"Price": price(booking.payment_status, *then.agreed)}
    return said(
        {
            "What": event.title,
            "When": when(event.starts_at, event.ends_at, zone),
            "Where": place_of(event),
            **previous_facts(then.before, event, zone),
            "With": then.facilitator.name,
            "Booking": booking.reference,
            **(money_facts(message_type, then.money, then.payment, occurred_at, zone) if then.money else paid),
            "Pay by": instant(booking.hold_until, zone) if booking.hold_until and booking.awaits_payment else None,
            "Your notes": booking.notes,
        }
    )


def event_facts(then: Payload, booking: BookingPayload, reader: Person) -> dict[str, str]:
    """What a mail says that is about the event and not about the booking."""
    event = then.event
    return said(
        {
            "What": event.title,
            "When": when(event.starts_at, event.ends_at, reading_zone(reader.timezone)),
            "Where": place_of(event),
            "Booking": booking.reference,
        }
    )


def button(message_type: MessageType, then: Payload) -> Button | None:
    """The one thing to do next, if there is one."""
    if then.payment_url is not None:
        return Button("Pay now", then.payment_url)
    if message_type is MessageType.PAYMENT_FAILED:
        return Button("Pay now", then.payment.url) if then.payment and then.payment.url else None
    if message_type in {MessageType.BOOKING_CANCELLED, MessageType.BOOKING_REFUNDED} or not then.join_link:
        return None
    return Button("Join online", then.join_link)
