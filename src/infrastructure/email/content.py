"""The content of mails. Modules for each topic build `EmailContent`; the composer renders it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from email.headerregistry import Address
from typing import Protocol

from domain.booking_urls import BookingUrls
from domain.outbox import MessageType
from infrastructure.icalendar.components import Entry, Method
from servicekit.links import is_web_address
from servicekit.text import isolated

WITHOUT_INVITATION = frozenset(
    {
        MessageType.PAYMENT_FAILED,
        MessageType.BOOKING_REFUNDED,
        MessageType.DISPUTE_OPENED,
        MessageType.DISPUTE_WON,
        MessageType.DISPUTE_LOST,
        MessageType.BOOKING_REMINDER,
        MessageType.PARTICIPANT_MESSAGE,
    }
)
"""Message types whose mails have no calendar invitation."""
_LONGEST_TITLE_IN_A_SUBJECT = 120


class Unmailable(Exception):
    """The message has no valid recipient or no mail is defined for it."""


class Addressee(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def email(self) -> str: ...


@dataclass(frozen=True, slots=True)
class SenderIdentity:
    """The sender of mails. `host` is part of the UID of calendar entries whose message has none. `booking_urls`: the
    page of a booking in the front end, None if not configured."""

    sender: Address
    host: str
    booking_urls: BookingUrls | None = None

    def booking_link(self, reference: str, *, is_live: bool) -> "Button | None":
        """The link to a client's booking; a booking that is cancelled or completed can only be viewed."""
        if self.booking_urls is None:
            return None
        label = "View or cancel your booking" if is_live else "View your booking"
        return Button(label, self.booking_urls.of(reference))


@dataclass(frozen=True, slots=True)
class EmailCopy:
    """Subject, headline and sentence with placeholders in braces."""

    subject: str
    headline: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Button:
    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Invitation:
    """The change of the recipient's calendar."""

    entries: Sequence[Entry]
    method: Method


@dataclass(frozen=True, slots=True)
class SessionOfSeries:
    """A line of a mail about a series: the time and what the recipient can do."""

    when: str
    buttons: Sequence[Button] = ()


@dataclass(frozen=True, slots=True)
class EmailContent:
    recipient: Addressee
    subject: str
    headline: str
    sentence: str
    text: str | None = None
    """Text written by a user, shown below the sentence."""
    reply_to: Addressee | None = None
    details: dict[str, str] = field(default_factory=dict)
    sessions: Sequence[SessionOfSeries] = ()
    """Those of a series."""
    button: Button | None = None
    booking_link: Button | None = None
    invitation: Invitation | None = None
    confirmation: Button | None = None
    """The link that verifies the recipient's address, if it is not verified."""

    def __post_init__(self) -> None:
        if self.button is not None and not is_web_address(self.button.url):
            object.__setattr__(self, "button", None)

    @property
    def cancels_entry(self) -> bool:
        return self.invitation is not None and self.invitation.method == "CANCEL"


def shortened(title: str, before: str = "") -> str:
    """A title shortened for a subject line, after the prefix `before`."""
    title, at_most = " ".join(title.split()), _LONGEST_TITLE_IN_A_SUBJECT - len(before)
    return before + isolated(title if len(title) <= at_most else f"{title[: at_most - 1]}…")


def without_empty(details: dict[str, str | None]) -> dict[str, str]:
    """Without empty values."""
    return {label: value for label, value in details.items() if value}
