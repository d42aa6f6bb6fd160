"""Mail to addresses that are not verified: how much, without what, and what is sent after the verification.

Anyone can register any address. So mails to it are few, and have no links and longer texts of users.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from domain.account_tokens import TOKEN_LIFETIME, TokenKind
from domain.accounts import User
from domain.errors import Forbidden
from domain.outbox import Message, MessageType
from domain.payments import UNPAID
from servicekit.links import mentions_link

MAILS_TO_UNVERIFIED = 5
"""To one address in `PER`."""
PER = timedelta(hours=24)


class AddressNotVerified(Forbidden):
    code = "email_not_verified"
    message = "Please confirm your e-mail address first, by the link in the mail"


class EmailVerification(StrEnum):
    """`limited`: an address that is not verified gets few mails. `required`: it cannot be used to book either."""

    LIMITED = "limited"
    REQUIRED = "required"

    def require_to_book(self, user: User) -> None:
        """Raises `AddressNotVerified`."""
        if self is EmailVerification.REQUIRED and not user.is_verified:
            raise AddressNotVerified


_ABOUT_MONEY = frozenset(
    {
        MessageType.PAYMENT_COMPLETED,
        MessageType.BOOKING_REFUNDED,
        MessageType.DISPUTE_OPENED,
        MessageType.DISPUTE_WON,
        MessageType.DISPUTE_LOST,
    }
)
ONLY_USER_CONTENT = frozenset({MessageType.PARTICIPANT_MESSAGE})
"""Mails that would be empty without the text of a user. They are held until the address is verified."""
_REQUESTS_PAYMENT = frozenset({MessageType.BOOKING_CREATED, MessageType.PAYMENT_FAILED})


@dataclass(frozen=True, slots=True)
class BookedSession:
    """A booking, an appointment or an invitation. `is_live`: neither cancelled nor ended. `payment_status`: None for an
    invitation."""

    starts_at: datetime
    ends_at: datetime
    is_live: bool
    payment_status: str | None

    @property
    def is_unpaid(self) -> bool:
        return self.payment_status in UNPAID


def outdated_reason(
    message: Message, then: BookedSession | None, now: BookedSession | None, at: datetime
) -> str | None:
    """Why a mail that was held is not sent; None if it is still current. `then`: the state that the mail shows, None
    for a mail about an account. `now`: the present state, None if it was deleted."""
    if message.message_type is MessageType.PASSWORD_RESET_REQUESTED:
        return "it is too late" if at >= message.occurred_at + TOKEN_LIFETIME[TokenKind.RESET_PASSWORD] else None
    if then is None or message.message_type in _ABOUT_MONEY:
        return None
    return _session_reason(message.message_type, then, now, at)


def _session_reason(
    message_type: MessageType, then: BookedSession, now: BookedSession | None, at: datetime
) -> str | None:
    if now is None:
        return "it was deleted"
    is_cancellation = message_type is MessageType.BOOKING_CANCELLED
    shows_time = not is_cancellation and message_type not in ONLY_USER_CONTENT
    reasons = {
        "it is over": now.ends_at <= at,
        "it has ended": not now.is_live and not is_cancellation,
        "its time has changed": shows_time and (now.starts_at, now.ends_at) != (then.starts_at, then.ends_at),
        "its payment has changed": message_type in _REQUESTS_PAYMENT and now.is_unpaid != then.is_unpaid,
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


_PEOPLE = ("user", "client", "coach", "facilitator", "person", "invitation")
_TITLE_HIDDEN, _NAME_HIDDEN = "an event", "(name hidden)"


def without_user_content(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload of a mail to an address that is not verified: without the links and the longer texts of users. Their
    titles, places and names stay, unless a mail program could show a part of them as a link."""
    changed = dict(payload)
    if "series" in payload:
        changed["series"] = [{name: _shown(name, value) for name, value in each.items()} for each in payload["series"]]
    for part in ("event", "before", "booking", "coaching", *_PEOPLE):
        if isinstance(payload.get(part), dict):
            address = payload[part].get("email")
            changed[part] = {
                field: value if value == address else _shown(field, value) for field, value in payload[part].items()
            }
    return changed


def _shown(field: str, value: Any) -> Any:
    match field:
        case "virtual_link" | "meeting_link" | "notes":
            return None
        case "description":
            return ""
        case "title" | "name" | "location" if value is not None and mentions_link(value):
            return {"title": _TITLE_HIDDEN, "name": _NAME_HIDDEN, "location": None}[field]
    return value


def recipient_address(payload: Mapping[str, Any]) -> str | None:
    """The address that a mail with this payload goes to; None if it has none."""
    recipient = payload.get("recipient") or next(
        (part for part in ("person", "invitation", "user") if part in payload), ""
    )
    person = payload.get(recipient)
    return person["email"] if person else None
