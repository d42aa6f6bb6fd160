"""Copy of mails about bookings of events: subject, sentence and details for each message type."""

from dataclasses import replace
from datetime import datetime

from domain.bookings import CancelReason
from domain.events import RESCHEDULED
from domain.outbox import MessageType
from domain.refunds import PAID_AFTER_START, PAID_TWICE, SEAT_GONE
from infrastructure.delivery.payloads import BookingPayload, Payload, Person
from infrastructure.email.content import Button, EmailCopy, without_empty
from infrastructure.email.copy.event_changes import change_copy, location_of, previous_details
from infrastructure.email.copy.payments import (
    BY_GATEWAY,
    CANCEL_FOR_FULL_REFUND,
    WHERE_TO_ASK,
    is_paid_offline,
    payment_details,
    price,
)
from servicekit.local_times import ahead, instant, reading_zone, when

# `{title}`, `{money}` and `{facilitator}` are filled in.
_COPY = {
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
        "We have refunded {money} for {title}.",
    ),
}
_HELD = EmailCopy(
    "Please pay: {title}",
    "Your place is held for you",
    "We keep a place in {title} for you until the time below. Please pay by then; without a payment the place goes to "
    "another client.",
)
_REMINDER_OF_HELD = (
    "{{title}} begins {ahead}, and your place is held for you until the time below. Please pay by then; without a "
    "payment the place goes to another client."
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
        "could be had any more. We are sorry: you have no place. We have refunded {money}, the full amount you paid."
    ),
    PAID_TWICE: (
        "{title} had been paid for already when another payment of yours arrived. Your booking stands. "
        "We have refunded {money}, the whole second payment."
    ),
    MessageType.BOOKING_CANCELLED: ("Your booking of {title} was cancelled. We have refunded {money}."),
    MessageType.EVENT_CANCELLED: "{title} will not take place. We have refunded {money}, the full amount you paid.",
}
_OFFLINE_REFUND = " You paid on the spot, so {facilitator} hands the money back to you."


def booking_copy(message_type: MessageType, payload: Payload, booking: BookingPayload) -> EmailCopy | None:
    """The copy of a mail; None for message types without a mail."""
    if message_type is MessageType.BOOKING_REMINDER:
        return _reminder(payload, booking)
    if message_type is MessageType.BOOKING_MOVED:
        copy = change_copy(payload.before, payload.event)
        if payload.reason != RESCHEDULED or not payload.agreed.price:
            return copy
        return replace(copy, sentence=copy.sentence + CANCEL_FOR_FULL_REFUND)
    if message_type not in _COPY:
        return None
    copy = _COPY[message_type]
    offline = is_paid_offline(payload.payment)
    if message_type is MessageType.BOOKING_CREATED and booking.awaits_payment:
        copy = _HELD if payload.payment_url else replace(_HELD, sentence=_HELD.sentence + WHERE_TO_ASK)
    elif message_type is MessageType.BOOKING_CANCELLED:
        copy = _CANCELLED.get(payload.reason or "", copy)
        if payload.reason == CancelReason.PAYMENT_EXPIRED and ended_at_start(payload, booking):
            copy = _ENDED_AT_START
    elif message_type is MessageType.BOOKING_REFUNDED:
        headline = "You get your money back" if offline else copy.headline
        sentence = _REFUNDED.get(payload.reason or "", copy.sentence)
        if offline:
            sentence = sentence.replace("We have refunded {money}", "You receive a refund of {money}") + _OFFLINE_REFUND
        else:
            sentence += BY_GATEWAY
        copy = EmailCopy(copy.subject, headline, sentence)
    return copy


def _reminder(payload: Payload, booking: BookingPayload) -> EmailCopy | None:
    if payload.as_of is None or payload.user is None:
        return None
    soon = ahead(payload.event.starts_at, payload.as_of, reading_zone(payload.user.timezone))
    sentence = f"{{title}} begins {soon}. We look forward to seeing you."
    if booking.awaits_payment:
        sentence = _REMINDER_OF_HELD.format(ahead=soon)
    return EmailCopy(f"{soon[0].upper()}{soon[1:]}: {{title}}", f"It begins {soon}", sentence)


def ended_at_start(payload: Payload, booking: BookingPayload) -> bool:
    """Whether it was cancelled when the event had started."""
    return booking.cancelled_at is not None and booking.cancelled_at >= payload.event.starts_at


def details(
    message_type: MessageType, payload: Payload, booking: BookingPayload, reader: Person, *, occurred_at: datetime
) -> dict[str, str]:
    event, zone = payload.event, reading_zone(reader.timezone)
    paid = {"Price": price(booking.payment_status, *payload.agreed)}
    return without_empty(
        {
            "What": event.title,
            "When": when(event.starts_at, event.ends_at, zone),
            "Where": location_of(event),
            **previous_details(payload.before, event, zone),
            "With": payload.facilitator.name,
            "Booking": booking.reference,
            **(
                payment_details(message_type, payload.money, payload.payment, occurred_at, zone)
                if payload.money
                else paid
            ),
            "Pay by": instant(booking.hold_until, zone) if booking.hold_until and booking.awaits_payment else None,
            "Your notes": booking.notes,
        }
    )


def event_details(payload: Payload, booking: BookingPayload, reader: Person) -> dict[str, str]:
    """Details of the event without those of the payment."""
    event = payload.event
    return without_empty(
        {
            "What": event.title,
            "When": when(event.starts_at, event.ends_at, reading_zone(reader.timezone)),
            "Where": location_of(event),
            "Booking": booking.reference,
        }
    )


def button(message_type: MessageType, payload: Payload) -> Button | None:
    """The button for the next action, if there is one."""
    if payload.payment_url is not None:
        return Button("Pay now", payload.payment_url)
    if message_type is MessageType.PAYMENT_FAILED:
        return Button("Pay now", payload.payment.url) if payload.payment and payload.payment.url else None
    if message_type in {MessageType.BOOKING_CANCELLED, MessageType.BOOKING_REFUNDED} or not payload.join_link:
        return None
    return Button("Join online", payload.join_link)
