"""Mail to the person who booked: plain text, HTML and an entry for their calendar."""

from datetime import UTC
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from domain.messages import Fact, Failed, Message, Outcome
from infrastructure.deliveries import calendar_invites
from infrastructure.deliveries.mail_words import button, facts, words
from infrastructure.deliveries.snapshots import BookingThen, Person, Snapshot, read_snapshot

INVITE_NAME = "invite.ics"
_LONGEST_TITLE_IN_A_SUBJECT = 120
_WITHOUT_INVITE = frozenset({Fact.PAYMENT_FAILED, Fact.BOOKING_REFUNDED})
"""These leave the calendar as it is."""


class Post(Protocol):
    """Takes a mail away. Never raises for what the other side did: that is a `Failed`."""

    async def send(self, mail: EmailMessage) -> Outcome: ...


class MailCourier:
    def __init__(self, composer: "MailComposer", post: Post) -> None:
        self._composer = composer
        self._post = post

    async def deliver(self, message: Message) -> Outcome:
        try:
            mail = self._composer.compose(message)
        except Unmailable as error:
            return Failed(str(error), permanent=True)
        return await self._post.send(mail)


class Unmailable(Exception):
    """There is nobody to write to, or nothing to write."""


class MailComposer:
    """Writes the mail for a message. The same message gives the same Message-ID and the same invitation, so that a
    mail that had to be sent twice is recognised as one.

    `public_url` is the address of the house; its host names calendar entries.
    """

    def __init__(self, *, mail_from: str, public_url: str) -> None:
        name, address = parseaddr(mail_from)
        self._sender = Address(name, addr_spec=address)
        self._host = urlsplit(public_url).hostname or "localhost"
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def compose(self, message: Message) -> EmailMessage:
        """Raises `Unmailable`."""
        then = read_snapshot(message)
        wording = words(message.fact, then, then.booking) if then.booking else None
        if wording is None or then.booking is None or then.user is None:
            raise Unmailable(f"no mail is written about {message.fact}")
        # 7 bit, so that a relay without 8BITMIME need not rewrite it.
        mail = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
        mail["From"] = self._sender
        mail["To"] = _address(then.user)
        mail["Reply-To"] = _address(then.facilitator)
        mail["Subject"] = wording.subject.format(title=_shortened(then.event.title))
        mail["Date"] = format_datetime(message.occurred_at.astimezone(UTC))
        mail["Message-ID"] = f"<{message.id}@{self._sender.domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        told = {
            "headline": wording.headline,
            "sentence": wording.sentence.format(
                title=then.event.title, money=then.money, facilitator=then.facilitator.name
            ),
            "name": then.user.name,
            "facts": facts(message.fact, then, then.booking, occurred_at=message.occurred_at),
            "button": button(message.fact, then),
            "cancelled": message.fact is Fact.BOOKING_CANCELLED,
            "calendar": message.fact not in _WITHOUT_INVITE,
            "facilitator": then.facilitator.name,
        }
        mail.set_content(self._templates.get_template("booking.txt").render(told))
        mail.add_alternative(self._templates.get_template("booking.html").render(told), subtype="html")
        if message.fact not in _WITHOUT_INVITE:
            self._add_invite(mail, message, then, then.booking, then.user)
        return mail

    def _add_invite(
        self, mail: EmailMessage, message: Message, then: Snapshot, booking: BookingThen, attendee: Person
    ) -> None:
        """As an alternative for mail programs that answer invitations, attached for those that do not."""
        ics = calendar_invites.invite(
            message.fact,
            then,
            booking,
            attendee,
            occurred_at=message.occurred_at,
            sender=self._sender.addr_spec,
            host=self._host,
        )
        method = calendar_invites.method(message.fact)
        mail.add_alternative(ics, subtype="calendar", params={"method": method})
        mail.add_attachment(ics.encode(), maintype="application", subtype="ics", filename=INVITE_NAME)


def _address(person: Person) -> Address:
    local, _, domain = person.email.rpartition("@")
    if not local or not domain or " " in domain:
        raise Unmailable(f"{person.email} is no e-mail address")
    try:
        return Address(person.name, local, domain.encode("idna").decode())
    except (ValueError, IndexError) as error:
        raise Unmailable(f"{person.email} cannot be written to: {error}") from None


def _shortened(title: str) -> str:
    return title if len(title) <= _LONGEST_TITLE_IN_A_SUBJECT else f"{title[: _LONGEST_TITLE_IN_A_SUBJECT - 1]}…"
