"""Messages of every type as the outbox has them: what mails and requests to other services are made of."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from domain.outbox import ROUTES, Destination, Message, MessageType
from tests.support.messages import a_coaching_message, a_message

_HELD = {"hold_until": "2026-11-20T13:38:10+00:00", "payment_status": "pending"}
_MONEY: dict[str, Any] = {
    "money": {"amount": "30.50", "currency": "INR"},
    "payment": {"gateway": "stripe", "id": "pi_1", "received_at": "2026-11-20T13:10:00+00:00", "url": None},
}
_TO_PAY: dict[str, Any] = {
    "money": {"amount": "30.50", "currency": "INR"},
    "payment": {"gateway": "stripe", "id": None, "received_at": None, "url": "https://pay.example.com/1"},
    "payment_url": "https://pay.example.com/1",
}
_BEFORE = {
    "title": "Yoga",
    "starts_at": "2026-12-01T09:00:00+00:00",
    "ends_at": "2026-12-01T10:30:00+00:00",
    "location": "Garden",
    "virtual_link": None,
}
_INVITED = {
    "id": "019bb1c6-5a00-7000-8000-000000000005",
    "name": "Grace Hopper",
    "email": "grace@example.com",
    "expires_at": "2026-11-22T13:08:10+00:00",
}
_EVENT_ALONE: dict[str, Any] = {"booking": None, "user": None}

EVENT_VARIANTS: dict[str, dict[str, Any]] = {
    "erased": {"user": {"id": 3}},
    "": {},
    "unpaid": {"booking": _HELD, **_TO_PAY},
    "paid": {"booking": {"price": "30.5000", "currency": "INR", "uid": "stored@example.com"}, **_MONEY},
    "cancelled": {
        "booking": {"status": "cancelled", "cancelled_at": "2026-11-21T08:00:00+00:00"},
        "reason": "by_person",
    },
    "moved": {"before": _BEFORE, "facilitator": {"timezone": "Europe/Berlin"}},
    "online": {"event": {"location": None}},
    "event alone": _EVENT_ALONE,
    "written": {"written": {"subject": "Bring a mat", "text": "And water."}},
    "invited": {**_EVENT_ALONE, "invitation": _INVITED},
    "reminder": {"as_of": "2026-11-30T10:00:00+00:00"},
}
APPOINTMENT_VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "unpaid": {"coaching": {**_HELD, "price": "30.5000"}, **_TO_PAY},
    "paid": {"coaching": {"status": "confirmed", "payment_status": "completed", "price": "30.5000"}, **_MONEY},
    "cancelled": {"coaching": {"status": "cancelled"}, "reason": "by_coach"},
    "moved": {
        "before": {"starts_at": "2026-12-01T09:00:00+00:00", "ends_at": "2026-12-01T10:00:00+00:00"},
        "coaching": {"status": "confirmed", "sequence": 1},
    },
    "online": {"coaching": {"status": "confirmed", "meeting_link": "https://meet.example.com/abc"}},
    "reminder": {"coaching": {"status": "confirmed"}, "as_of": "2026-11-30T10:00:00+00:00"},
}
_USUAL = ("", "unpaid", "paid")
_CHOSEN: dict[MessageType, tuple[str, ...]] = {
    MessageType.BOOKING_CREATED: (*_USUAL, "online"),
    MessageType.BOOKING_CANCELLED: ("", "cancelled"),
    MessageType.BOOKING_RESCHEDULED: ("moved", "online"),
    MessageType.BOOKING_MOVED: (*_USUAL, "moved", "online"),
    MessageType.EVENT_CREATED: ("event alone",),
    MessageType.EVENT_UPDATED: ("event alone",),
    MessageType.EVENT_CANCELLED: ("event alone",),
    MessageType.BOOKING_REMINDER: ("reminder",),
    MessageType.BOOKING_INVITATION: ("invited",),
    MessageType.PARTICIPANT_MESSAGE: ("written",),
    MessageType.USER_ERASED: ("erased",),
}
_ABOUT_AN_ACCOUNT = (
    MessageType.FACILITATOR_APPROVED,
    MessageType.CALENDAR_REVOKED,
    MessageType.EMAIL_VERIFICATION,
    MessageType.PASSWORD_RESET_REQUESTED,
    MessageType.PASSWORD_CHANGED,
    MessageType.EMAIL_CHANGE_REQUESTED,
    MessageType.EMAIL_CHANGE_CONFIRMATION,
    MessageType.EMAIL_CHANGED,
    MessageType.LOGIN_FROM_NEW_NETWORK,
    MessageType.SECOND_FACTOR_CHANGED,
    MessageType.ERASURE_REQUESTED,
)
_PERSON = {
    "person": {"name": "Ada Lovelace", "email": "ada@example.com"},
    "provider": "google",
    "network": "203.0.113.7",
    "due_at": "2026-12-01T10:00:00+00:00",
    "token": "vYd3mQ8xTz1LrBkWn5sJc7gHoP2uEfAi9R4yVtXqM0w",
}


def sent_to(destination: Destination) -> list[MessageType]:
    """The types of message that this destination gets about bookings, appointments and events."""
    return [
        message_type
        for message_type in MessageType
        if destination in ROUTES[message_type] and message_type not in _ABOUT_AN_ACCOUNT
    ]


def messages(destination: Destination) -> Iterator[tuple[str, Message]]:
    """Every type of message to this destination in its variants, named by both."""
    for message_type in sent_to(destination):
        chosen = _CHOSEN.get(message_type, _USUAL)
        for name, payload in _of(chosen, EVENT_VARIANTS):
            yield (
                _named(message_type, "event", name),
                _changed(a_message(message_type, destination=destination), payload),
            )
        recipients: tuple[str | None, ...] = ("client", "coach") if destination is Destination.EMAIL else (None,)
        for recipient in recipients:
            for name, payload in _of(chosen, APPOINTMENT_VARIANTS):
                about = f"appointment to {recipient}" if recipient else "appointment"
                yield _named(message_type, about, name), _changed(a_coaching_message(message_type, recipient), payload)


def _of(chosen: tuple[str, ...], variants: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, variants[name]) for name in chosen if name in variants]


def account_messages() -> Iterator[tuple[str, Message]]:
    """Those about an account or a calendar, whose content is the person alone."""
    for message_type in _ABOUT_AN_ACCOUNT:
        yield message_type.value, replace(a_message(message_type, destination=Destination.EMAIL), payload=_PERSON)


def _changed(message: Message, changes: dict[str, Any]) -> Message:
    payload = dict(message.payload)
    for part, change in changes.items():
        payload[part] = (payload.get(part) or {}) | change if isinstance(change, dict) else change
    return replace(message, payload=payload)


def _named(message_type: MessageType, about: str, variant: str) -> str:
    return ", ".join(filter(None, (message_type.value, about, variant)))
