"""Content of the mail about a calendar whose access was revoked."""

import msgspec

from domain.outbox import Message
from infrastructure.email.content import EmailContent

_CALENDARS = {"google": "Google calendar", "outlook": "Outlook calendar"}


class Owner(msgspec.Struct, frozen=True):
    name: str
    email: str


class RevokedPayload(msgspec.Struct, frozen=True):
    person: Owner
    provider: str


def revoked_email(message: Message) -> EmailContent:
    payload = msgspec.convert(message.payload, RevokedPayload)
    calendar = _CALENDARS.get(payload.provider, "calendar")
    return EmailContent(
        recipient=payload.person,
        subject=f"Please connect your {calendar} again",
        headline=f"Your {calendar} is not connected any more",
        sentence=(
            f"Your {calendar} does not let us in any more. Until you connect it again, where you connected it first, "
            "your bookings do not change in it, and new appointments in it do not keep your time free here."
        ),
    )
