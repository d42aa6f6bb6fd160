"""The mail to a person whom a facilitator has added to an event by hand."""

from application.bookings.ports import InvitationTokens
from domain.invitations import InvitationId
from domain.outbox import Message
from infrastructure.delivery.payloads import read_payload
from infrastructure.email.content import Button, EmailContent, Unmailable, shortened, without_empty
from infrastructure.email.copy.event_changes import location_of
from servicekit.local_times import instant, reading_zone, when
from servicekit.text import isolated


class InvitationLinks:
    """`public_url` is the address of the API, which shows the page of an invitation."""

    def __init__(self, public_url: str, tokens: InvitationTokens) -> None:
        self._public_url = public_url.rstrip("/")
        self._tokens = tokens

    def link(self, invitation_id: InvitationId) -> str:
        return f"{self._public_url}/invitations/{self._tokens.token(invitation_id)}"


def invitation_email(message: Message, links: InvitationLinks | None) -> EmailContent:
    """The content of the mail. Times are in UTC, for people with and without an account. Raises `Unmailable`."""
    payload = read_payload(message)
    invitation, event = payload.invitation, payload.event
    if invitation is None or links is None:
        raise Unmailable("this message is about no invitation")
    facilitator = isolated(payload.facilitator.name)
    return EmailContent(
        recipient=invitation,
        reply_to=payload.facilitator,
        subject=f"Please confirm: {shortened(event.title)}",
        headline="Please confirm your seat",
        sentence=(
            f"{facilitator} has added you to {isolated(event.title)}. A seat is held for you until the time below. "
            "Please confirm or decline by the link. Without an answer the seat is released. If you do not know what "
            "this is about, you can ignore this mail."
        ),
        details=without_empty(
            {
                "What": event.title,
                "When": when(event.starts_at, event.ends_at, reading_zone(None)),
                "Where": location_of(event),
                "With": payload.facilitator.name,
                "Answer by": instant(min(invitation.expires_at, event.starts_at), reading_zone(None)),
            }
        ),
        button=Button("Confirm or decline", links.link(InvitationId(invitation.id))),
    )
