"""Copy of the mail about a new series of appointments, to the client and to the coach."""

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from infrastructure.delivery.appointment_payloads import AppointmentPayload, SessionPayload
from infrastructure.email.content import Button, EmailCopy, without_empty
from infrastructure.email.copy.payments import WHERE_TO_ASK, price
from servicekit.links import is_web_address
from servicekit.local_times import instant

# `{title}`, `{number}`, `{client}` and `{coach}` are filled in.
_TO_CLIENT = EmailCopy(
    "Requested: {title} ({number} sessions)",
    "Your request is on its way",
    "You have asked {coach} for {number} sessions, and their times are kept for you. We write to you when {coach} "
    "confirms them.",
)
_TO_COACH = EmailCopy(
    "New request: {title} ({number} sessions)",
    "You have a new request",
    "{client} asks for {number} sessions with you. Their times are kept until you confirm or decline each of them.",
)
_HELD_FOR_CLIENT = EmailCopy(
    "Please pay: {title} ({number} sessions)",
    "Your times are held for you",
    "We keep {number} times of {coach} for you until the time below. Please pay for each session by then; the time of "
    "a session that is not paid goes to another client.",
)
_HELD_OF_COACH = EmailCopy(
    "New booking: {title} ({number} sessions)",
    "You have a new booking",
    "{client} has booked {number} sessions with you. Each of them is confirmed as soon as it is paid; without a "
    "payment its time is free again after the time below.",
)


def series_copy(payload: AppointmentPayload) -> EmailCopy:
    awaits_payment = any(session.awaits_payment for session in payload.series)
    if payload.recipient == "coach":
        return _HELD_OF_COACH if awaits_payment else _TO_COACH
    if not awaits_payment:
        return _TO_CLIENT
    links = all(session.id in payload.payment_urls for session in payload.series if session.awaits_payment)
    return _HELD_FOR_CLIENT if links else replace(_HELD_FOR_CLIENT, sentence=_HELD_FOR_CLIENT.sentence + WHERE_TO_ASK)


def series_details(payload: AppointmentPayload, title: str, zone: ZoneInfo) -> dict[str, str]:
    session, to_coach = payload.appointment, payload.recipient == "coach"
    deadline = _earliest_deadline(payload)
    return without_empty(
        {
            "What": title,
            "Sessions": str(len(payload.series)),
            "Where": "Online" if session.meeting_link else None,
            "With": payload.client.name if to_coach else payload.coach.name,
            "Status": "Waiting for the payments" if deadline else "Waiting for confirmation",
            "Price of each": price(session.payment_status, session.exact_price, session.currency),
            "Held until" if to_coach else "Pay by": instant(deadline, zone) if deadline else None,
            "Their notes" if to_coach else "Your notes": session.notes,
        }
    )


def _earliest_deadline(payload: AppointmentPayload) -> datetime | None:
    """A session that begins soon is held until its start at most."""
    held = [session.hold_until for session in payload.series if session.awaits_payment]
    return min((until for until in held if until is not None), default=None)


def payment_button(payload: AppointmentPayload, session: SessionPayload) -> Button | None:
    url = payload.payment_urls.get(session.id)
    return Button("Pay now", url) if url is not None and is_web_address(url) else None
