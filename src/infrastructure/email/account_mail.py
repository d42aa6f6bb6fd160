"""Content of mails about accounts."""

import msgspec

from domain.account_urls import AccountUrls
from domain.outbox import Message
from infrastructure.delivery.payloads import make_readable
from infrastructure.email.content import Button, EmailContent, Unmailable


class Owner(msgspec.Struct, frozen=True):
    name: str
    email: str

    def __post_init__(self) -> None:
        make_readable(self, ["name"])


class AccountPayload(msgspec.Struct, frozen=True):
    person: Owner


def approved_email(message: Message) -> EmailContent:
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


def verification_email(message: Message, urls: AccountUrls) -> EmailContent:
    """Raises `Unmailable`."""
    payload = msgspec.convert(message.payload, TokenPayload)
    if payload.token is None:
        raise Unmailable("this message has no token")
    return EmailContent(
        recipient=payload.person,
        subject="Please confirm your e-mail address",
        headline="Please confirm your e-mail address",
        sentence=(
            "An account was registered with this address. If that was you, please confirm the address by the link "
            "within 24 hours. If it was not you, you can ignore this mail; please do not use the link."
        ),
        button=Button("Confirm the address", urls.verify(payload.token)),
    )
