"""Content of mails about accounts."""

import msgspec

from domain.outbox import Message
from infrastructure.delivery.payloads import make_readable
from infrastructure.email.content import EmailContent


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
