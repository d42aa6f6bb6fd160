"""Content of mails about accounts."""

from collections.abc import Callable, Mapping

import msgspec

from domain.account_urls import AccountUrls
from domain.outbox import Message, MessageType
from infrastructure.delivery.payloads import make_readable
from infrastructure.email.content import Button, EmailContent, Unmailable


class Owner(msgspec.Struct, frozen=True):
    name: str
    email: str

    def __post_init__(self) -> None:
        make_readable(self, ["name"])


class AccountPayload(msgspec.Struct, frozen=True):
    person: Owner


def _approved(message: Message, _urls: AccountUrls) -> EmailContent:
    payload = msgspec.convert(message.payload, AccountPayload)
    return EmailContent(
        recipient=payload.person,
        subject="You are a facilitator now",
        headline="Your registration as a facilitator is approved",
        sentence="You can create events and offer appointments. Please log in again first.",
    )


class TokenPayload(AccountPayload, frozen=True):
    """`token` is added at send time."""

    token: str | None = None


def _verification(message: Message, urls: AccountUrls) -> EmailContent:
    person, token = _with_token(message)
    return EmailContent(
        recipient=person,
        subject="Please confirm your e-mail address",
        headline="Please confirm your e-mail address",
        sentence=(
            "An account was registered with this address. If that was you, please confirm the address by the link "
            "within 24 hours. If it was not you, you can ignore this mail; please do not use the link."
        ),
        button=Button("Confirm the address", urls.verify(token)),
    )


def _reset(message: Message, urls: AccountUrls) -> EmailContent:
    person, token = _with_token(message)
    return EmailContent(
        recipient=person,
        subject="Set a new password",
        headline="Set a new password",
        sentence=(
            "A new password was requested for the account with this address. The link sets one within an hour. If you "
            "did not request it, you can ignore this mail: your password has not changed."
        ),
        button=Button("Set a new password", urls.reset(token)),
    )


def _password_changed(message: Message, _urls: AccountUrls) -> EmailContent:
    payload = msgspec.convert(message.payload, AccountPayload)
    return EmailContent(
        recipient=payload.person,
        subject="Your password was changed",
        headline="Your password was changed",
        sentence=(
            "Your account has a new password, and every login has ended. If that was not you, please request a new "
            "password for this address now."
        ),
    )


def _with_token(message: Message) -> tuple[Owner, str]:
    try:
        payload = msgspec.convert(message.payload, TokenPayload)
    except msgspec.ValidationError:
        raise Unmailable("this message has no recipient") from None
    if payload.token is None:
        raise Unmailable("this message has no token")
    return payload.person, payload.token


ACCOUNT_EMAILS: Mapping[MessageType, Callable[[Message, AccountUrls], EmailContent]] = {
    MessageType.FACILITATOR_APPROVED: _approved,
    MessageType.EMAIL_VERIFICATION: _verification,
    MessageType.PASSWORD_RESET_REQUESTED: _reset,
    MessageType.PASSWORD_CHANGED: _password_changed,
}
"""Each raises `Unmailable`."""
