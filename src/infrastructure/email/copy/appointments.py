"""Copy of mails about appointments, to the client and to the coach: subject, sentence and details."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from domain.appointments import AppointmentCancelReason, AppointmentStatus
from domain.outbox import NOT_TO_CLIENTS, MessageType
from domain.refunds import PAID_AFTER_START, PAID_TWICE, SEAT_GONE
from infrastructure.delivery.appointment_payloads import AppointmentPayload, SessionPayload
from infrastructure.email.content import Button, EmailCopy, without_empty
from infrastructure.email.copy.payments import (
    BY_GATEWAY,
    CANCEL_FOR_FULL_REFUND,
    WHERE_TO_ASK,
    is_paid_offline,
    payment_details,
    price,
)
from servicekit.local_times import ahead, instant, reading_zone, when

# `{title}`, `{client}`, `{coach}` and `{money}` are filled in.
_TO_CLIENT = {
    MessageType.BOOKING_CREATED: EmailCopy(
        "Requested: {title}",
        "Your request is on its way",
        "You have asked {coach} for a session, and the time is kept for you. We write to you when {coach} confirms it.",
    ),
    MessageType.BOOKING_CONFIRMED: EmailCopy(
        "Confirmed: {title}", "Your session is confirmed", "{coach} has confirmed your session and looks forward to it."
    ),
    MessageType.BOOKING_REMINDER: EmailCopy(
        "Reminder: {title}", "Your session begins soon", "Your session with {coach} begins soon."
    ),
    MessageType.BOOKING_RESCHEDULED: EmailCopy(
        "Moved: {title}", "Your session has moved", "Your session with {coach} takes place at another time."
    ),
    MessageType.BOOKING_CANCELLED: EmailCopy(
        "Booking cancelled: {title}",
        "Your session is cancelled",
        "Your session with {coach} is cancelled, as you asked.",
    ),
    MessageType.PAYMENT_COMPLETED: EmailCopy(
        "Receipt: {title}",
        "Thank you for your payment",
        "We have received {money} for your session with {coach}. This mail is your receipt.",
    ),
    MessageType.PAYMENT_FAILED: EmailCopy(
        "Payment failed: {title}",
        "Your payment did not go through",
        "{money} for your session with {coach} could not be collected. Please try again.",
    ),
    MessageType.BOOKING_REFUNDED: EmailCopy(
        "Refund: {title}",
        "Your money is on its way back",
        "We have refunded {money} for your session with {coach}.",
    ),
}
_TO_COACH = {
    MessageType.BOOKING_CREATED: EmailCopy(
        "New request: {title}",
        "You have a new request",
        "{client} asks for a session with you. The time is kept for it until you confirm or decline it.",
    ),
    MessageType.BOOKING_CONFIRMED: EmailCopy(
        "Confirmed: {title}", "Your session is confirmed", "Your session with {client} is confirmed."
    ),
    MessageType.BOOKING_REMINDER: EmailCopy(
        "Reminder: {title}", "A session begins soon", "Your session with {client} begins soon."
    ),
    MessageType.BOOKING_RESCHEDULED: EmailCopy(
        "Moved: {title}", "A session has moved", "Your session with {client} takes place at another time."
    ),
    MessageType.BOOKING_CANCELLED: EmailCopy(
        "Booking cancelled: {title}",
        "A session is cancelled",
        "{client} has cancelled the session with you. The time can be booked again.",
    ),
    MessageType.PAYMENT_COMPLETED: EmailCopy(
        "Paid: {title}", "A session is paid", "{client} has paid {money} for the session with you."
    ),
    MessageType.BOOKING_REFUNDED: EmailCopy(
        "Refund: {title}", "Money goes back", "We have refunded {money} to {client} for the session with you."
    ),
    MessageType.DISPUTE_OPENED: EmailCopy(
        "Payment disputed: {title}",
        "A payment is disputed",
        "The bank of {client} disputes the payment of {money} for the session with you. The session stays booked, and "
        "the payment cannot be refunded until the bank has decided.",
    ),
    MessageType.DISPUTE_WON: EmailCopy(
        "Dispute won: {title}",
        "The dispute is decided for you",
        "The bank has decided the dispute about {money} for the session with {client} for you. The payment stays.",
    ),
    MessageType.DISPUTE_LOST: EmailCopy(
        "Dispute lost: {title}",
        "The dispute is decided for the payer",
        "The bank has returned {money} for the session with you to {client}.",
    ),
}
_HELD_FOR_CLIENT = EmailCopy(
    "Please pay: {title}",
    "Your time is held for you",
    "We keep the time of {coach} for you until the time below. Please pay by then; without a payment the time goes to "
    "another client.",
)
_HELD_OF_COACH = EmailCopy(
    "New booking: {title}",
    "You have a new booking",
    "{client} has booked a session with you. It is confirmed as soon as it is paid; without a payment the time is free "
    "again after the time below.",
)
_CANCELLED_FOR_CLIENT: Mapping[str, EmailCopy] = {
    AppointmentCancelReason.BY_COACH: EmailCopy(
        "Cancelled: {title}",
        "Your session does not take place",
        "We are sorry: {coach} cannot hold your session, and it is cancelled.",
    ),
    AppointmentCancelReason.BY_ORGANISER: EmailCopy(
        "Cancelled: {title}",
        "Your session is cancelled",
        "The organiser has cancelled your session with {coach}. If you paid, you receive a full refund.",
    ),
    AppointmentCancelReason.PAYMENT_EXPIRED: EmailCopy(
        "Booking ended: {title}",
        "Your time was given up",
        "Your payment for the session with {coach} did not arrive in time, so the time that was held for you is free "
        "again. You are welcome to book anew. Should your payment still arrive, you get the session if the time is "
        "still free, or your money.",
    ),
}
_CANCELLED_FOR_COACH: Mapping[str, EmailCopy] = {
    AppointmentCancelReason.BY_COACH: EmailCopy(
        "Cancelled: {title}",
        "A session is cancelled",
        "Your session with {client} is cancelled from your side. We have informed {client}.",
    ),
    AppointmentCancelReason.BY_ORGANISER: EmailCopy(
        "Cancelled: {title}",
        "A session is cancelled",
        "The organiser has cancelled your session with {client}. The time can be booked again.",
    ),
    AppointmentCancelReason.PAYMENT_EXPIRED: EmailCopy(
        "Booking ended: {title}",
        "Your time is free again",
        "{client} did not pay in time for the session with you, so the time can be booked again.",
    ),
}
_REFUNDED: Mapping[str, str] = {
    PAID_AFTER_START: (
        "Your payment for the session with {coach} arrived after its start. We have refunded {money}, the full amount "
        "you paid."
    ),
    SEAT_GONE: (
        "Your payment for the session with {coach} arrived after the time to pay was over, and the time could not be "
        "had any more. We are sorry: you have no session. We have refunded {money}, the full amount you paid."
    ),
    PAID_TWICE: (
        "The session with {coach} had been paid for already when another payment of yours arrived. Your booking "
        "stands. We have refunded {money}, the whole second payment."
    ),
    MessageType.BOOKING_CANCELLED: ("Your session with {coach} was cancelled. We have refunded {money}."),
}
_OFFLINE_REFUND = " You paid on the spot, so {coach} hands the money back to you."
_OFFLINE_REFUND_BY_COACH = "You took the money on the spot: please hand {money} back to {client}."
_STATUS = {True: "Waiting for the payment", False: "Waiting for confirmation"}


def appointment_copy(message_type: MessageType, payload: AppointmentPayload) -> EmailCopy | None:
    """The copy of a mail; None for message types without a mail."""
    if message_type is MessageType.BOOKING_REMINDER:
        return _reminder(payload)
    return _to_coach(message_type, payload) if payload.recipient == "coach" else _to_client(message_type, payload)


def _reminder(payload: AppointmentPayload) -> EmailCopy | None:
    if payload.as_of is None:
        return None
    reader, other = (payload.coach, "{client}") if payload.recipient == "coach" else (payload.client, "{coach}")
    soon = ahead(payload.appointment.starts_at, payload.as_of, reading_zone(reader.timezone))
    return EmailCopy(
        f"{soon[0].upper()}{soon[1:]}: {{title}}", f"It begins {soon}", f"Your session with {other} begins {soon}."
    )


def _to_client(message_type: MessageType, payload: AppointmentPayload) -> EmailCopy | None:
    copy = _TO_CLIENT.get(message_type)
    if copy is None:
        return None
    match message_type:
        case MessageType.BOOKING_CREATED if payload.appointment.awaits_payment:
            held = _HELD_FOR_CLIENT
            return held if payload.payment_url else replace(held, sentence=held.sentence + WHERE_TO_ASK)
        case MessageType.BOOKING_CANCELLED:
            return _CANCELLED_FOR_CLIENT.get(payload.reason or "", copy)
        case MessageType.BOOKING_RESCHEDULED if (
            payload.reason == AppointmentCancelReason.BY_COACH and payload.appointment.price
        ):
            copy = replace(copy, sentence=copy.sentence + CANCEL_FOR_FULL_REFUND)
        case MessageType.BOOKING_REFUNDED:
            offline = is_paid_offline(payload.payment)
            sentence = _REFUNDED.get(payload.reason or "", copy.sentence)
            if offline:
                sentence = (
                    sentence.replace("We have refunded {money}", "You receive a refund of {money}") + _OFFLINE_REFUND
                )
            else:
                sentence += BY_GATEWAY
            return EmailCopy(copy.subject, "You get your money back" if offline else copy.headline, sentence)
        case MessageType.PAYMENT_COMPLETED if payload.appointment.status is AppointmentStatus.CONFIRMED:
            return EmailCopy(copy.subject, copy.headline, f"{copy.sentence} Your session is confirmed.")
    return copy


def _to_coach(message_type: MessageType, payload: AppointmentPayload) -> EmailCopy | None:
    copy = _TO_COACH.get(message_type)
    if copy is None:
        return None
    match message_type:
        case MessageType.BOOKING_CREATED if payload.appointment.awaits_payment:
            return _HELD_OF_COACH
        case MessageType.BOOKING_CANCELLED:
            return _CANCELLED_FOR_COACH.get(payload.reason or "", copy)
        case MessageType.BOOKING_REFUNDED if is_paid_offline(payload.payment):
            return EmailCopy(copy.subject, "Please give money back", _OFFLINE_REFUND_BY_COACH)
        case MessageType.PAYMENT_COMPLETED if payload.appointment.status is AppointmentStatus.CONFIRMED:
            return EmailCopy(copy.subject, copy.headline, f"{copy.sentence} It is confirmed.")
    return copy


def details(
    message_type: MessageType, payload: AppointmentPayload, title: str, zone: ZoneInfo, occurred_at: datetime
) -> dict[str, str]:
    session, to_coach = payload.appointment, payload.recipient == "coach"
    other = payload.client if to_coach else payload.coach
    paid = {"Price": price(session.payment_status, session.exact_price, session.currency)}
    return without_empty(
        {
            "What": title,
            "When": when(session.starts_at, session.ends_at, zone),
            "Was": _earlier_time(payload, zone),
            "Where": "Online" if session.meeting_link else None,
            "With": other.name,
            "Booking": str(session.id),
            "Status": _STATUS[session.awaits_payment] if session.status is AppointmentStatus.PENDING else None,
            **(
                payment_details(message_type, payload.money, payload.payment, occurred_at, zone)
                if payload.money
                else paid
            ),
            "Held until" if to_coach else "Pay by": _deadline(session, zone),
            "Their notes" if to_coach else "Your notes": session.notes,
        }
    )


def _earlier_time(payload: AppointmentPayload, zone: ZoneInfo) -> str | None:
    """None if it is the same, as after a reminder that showed a time between."""
    before, session = payload.before, payload.appointment
    if before is None or (before.starts_at, before.ends_at) == (session.starts_at, session.ends_at):
        return None
    return when(before.starts_at, before.ends_at, zone)


def button(message_type: MessageType, payload: AppointmentPayload) -> Button | None:
    """The button for the next action, if there is one."""
    if payload.payment_url is not None:
        return Button("Pay now", payload.payment_url)
    if message_type is MessageType.PAYMENT_FAILED:
        return Button("Pay now", payload.payment.url) if payload.payment and payload.payment.url else None
    if (
        message_type in {MessageType.BOOKING_CANCELLED, MessageType.BOOKING_REFUNDED, *NOT_TO_CLIENTS}
        or not payload.appointment.meeting_link
    ):
        return None
    return Button("Join online", payload.appointment.meeting_link)


def _deadline(session: SessionPayload, zone: ZoneInfo) -> str | None:
    return instant(session.hold_until, zone) if session.hold_until and session.awaits_payment else None
