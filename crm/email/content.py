"""The mail to a facilitator about a notification: subject, plain text and HTML.

Composing the same claim twice gives the same Message-ID and Date, so a mail that had to be sent again can be
recognised as the same one. Times are shown in the facilitator's time zone, which the mail names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from email.headerregistry import Address
from functools import cached_property
from pathlib import Path
from uuid import uuid4
from zoneinfo import ZoneInfo

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

from crm.notification_store import MailClaim
from crm.notifications import Event, Notification
from servicekit.date_range import in_zone
from servicekit.links import usable_link
from servicekit.local_times import instant, when
from servicekit.mail_message import Mail
from servicekit.mailboxes import UnusableAddress, mailbox, sender_mailbox
from servicekit.numbers import amount_of
from servicekit.text import clean_line, isolated

TITLE_LENGTH = 80
NOTE_LENGTH = 2000
"""Characters of a line of the notes."""
NOTES_LENGTH = 10_000


AMOUNTS: Mapping[str, str] = {
    "payment_completed": "Received",
    "payment_failed": "Asked for",
    "booking_refunded": "Given back",
    "dispute_opened": "Disputed",
    "dispute_won": "Disputed",
    "dispute_lost": "Returned",
}
"""The label of a message's amount."""
BY_ORGANISER = "by_organiser"
"""The reasons of cancellations that the booking's owner has not made."""
HOLD_ENDED = "payment_expired"
"""Reason of a cancellation: the hold of an unpaid seat expired."""


class EmailCopy(msgspec.Struct, frozen=True):
    """Copy for a message type or a reason, with the placeholders `{who}` and `{title}`."""

    subject: str
    headline: str


COPY: Mapping[str, EmailCopy] = {
    "booking_created": EmailCopy("New booking: {who} for {title}", "{who} booked a place in {title}."),
    "booking_cancelled": EmailCopy("Booking cancelled: {who}, {title}", "{who} cancelled their place in {title}."),
    HOLD_ENDED: EmailCopy(
        "Booking ended: {who}, {title}", "{who} did not pay in time for {title}: the place is free again."
    ),
    BY_ORGANISER: EmailCopy(
        "Booking cancelled: {who}, {title}", "The booking of {who} for {title} was cancelled by the organiser."
    ),
    "payment_completed": EmailCopy("Paid: {who} for {title}", "{who} paid for their place in {title}."),
    "payment_failed": EmailCopy("Not paid yet: {who} for {title}", "{who} tried to pay for {title}, and it failed."),
    "booking_refunded": EmailCopy("Refunded: {who}, {title}", "{who} gets money back for {title}."),
    "payment_refunded": EmailCopy("Refunded: {who}, {title}", "{who} got their money back for {title}."),
    "dispute_opened": EmailCopy(
        "Payment disputed: {who}, {title}",
        "The bank of {who} disputes the payment for {title}. It cannot be refunded until the bank has decided.",
    ),
    "dispute_won": EmailCopy(
        "Dispute won: {who}, {title}", "The bank has decided the dispute of {who} about {title} for you."
    ),
    "dispute_lost": EmailCopy(
        "Dispute lost: {who}, {title}", "The bank has returned the payment for {title} to {who}."
    ),
    "event_cancelled": EmailCopy("Cancelled: {title}", "{title} is cancelled."),
}


class NotificationEmailWriter:
    """Composes mails from `mail_from`, a name and an address. `smtputf8`: the transport takes addresses with letters
    beyond ASCII before the @."""

    def __init__(self, mail_from: str, *, smtputf8: bool = False) -> None:
        self._sender = sender_mailbox(mail_from)
        self._smtputf8 = smtputf8

    @cached_property
    def _templates(self) -> tuple[Template, Template]:
        """Those of the plain text and of the HTML, compiled with the first mail."""
        templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        templates.filters["isolated"] = isolated
        templates.globals.clear()  # none is used, and they are copied for each mail
        return templates.get_template("notification.txt"), templates.get_template("notification.html")

    def compose(self, claim: MailClaim) -> Mail:
        """The mail for a claim; raises UnusableAddress for an invalid address."""
        notification = claim.notification
        context = _template_context(claim)
        text, html = self._templates
        return Mail(
            sender=self._sender,
            recipients=[self._mailbox(claim.recipient_name, claim.recipient_email)],
            reply_to=self._reply_to(notification),
            subject=subject(notification),
            date=claim.received_at,
            message_id=f"<{claim.mail_id}@{self._sender.domain}>",
            text=text.render(context),
            html=html.render(context),
        )

    def test(self, to_email: str, subject_line: str, html: str, now: datetime) -> Mail:
        """A test mail with `html` unchanged."""
        return Mail(
            sender=self._sender,
            recipients=[self._mailbox(None, to_email)],
            subject=subject_line,
            date=now,
            message_id=f"<{uuid4()}@{self._sender.domain}>",
            is_automatic=False,
            html=html,
        )

    def _reply_to(self, notification: Notification) -> Address | None:
        with contextlib.suppress(UnusableAddress):
            if (user := notification.user) and user.email and not notification.about_event:
                return self._mailbox(user.name, user.email)
        return None

    def _mailbox(self, name: str | None, email: str) -> Address:
        return mailbox(_line(name), email, smtputf8=self._smtputf8)


def subject(notification: Notification) -> str:
    """One line: the change, the person, the event and its time."""
    copy = _copy(notification)
    line = copy.subject.format(who=_who(notification), title=_title(notification.event))
    if notification.event.starts_at is None:
        return line
    starts_at, zone = in_zone(notification.event.starts_at, notification.timezone), notification.timezone.key
    return f"{line} ({starts_at.day} {starts_at:%b %Y, %H:%M} {zone})"


def _template_context(claim: MailClaim) -> dict[str, object]:
    notification, event = claim.notification, claim.notification.event
    user = notification.user if not notification.about_event else None
    details = {
        "When": _when(event, notification.timezone),
        "Where": _line(event.location),
        "Online": usable_link((event.virtual_link or "").strip()),
        "Booked by": _person(user.name, user.email) if user else None,
        "Reference": _line(notification.booking_reference)
        or (str(notification.booking_id) if notification.booking_id else None),
        "Payment": _payment(notification),
        AMOUNTS.get(notification.action or "", "Amount"): _price(notification.amount, notification.currency),
        "Places taken": _places(event),
    }
    return {
        "greeting": _line(claim.recipient_name),
        "headline": _copy(notification).headline.format(who=_who(notification), title=_title(notification.event)),
        "details": {label: detail for label, detail in details.items() if detail},
        "notes": _notes(notification.notes or ""),
        "can_reply": bool(user and user.email),
        "number": claim.id,
    }


def _copy(notification: Notification) -> EmailCopy:
    action = notification.action
    if action is None:
        return COPY["booking_created"]
    if action == "booking_cancelled" and notification.reason in (HOLD_ENDED, BY_ORGANISER):
        return COPY[notification.reason]
    label = _line(action.replace("_", " ")).capitalize()
    label = label.replace("{", "").replace("}", "")
    return COPY.get(action) or EmailCopy(f"{label}: {{who}}, {{title}}", f"{label}: {{who}}, {{title}}.")


def _who(notification: Notification) -> str:
    user = notification.user
    return isolated(_line((user.name or user.email) if user else None, TITLE_LENGTH)) or "A client"


def _title(event: Event) -> str:
    return isolated(_line(event.title, TITLE_LENGTH)) or "your event"


def _when(event: Event, zone: ZoneInfo) -> str | None:
    if event.starts_at is None:
        return None
    if event.ends_at is None:
        return instant(event.starts_at, zone)
    return when(event.starts_at, event.ends_at, zone)


def _places(event: Event) -> str | None:
    if event.current_participants is None:
        return None
    if event.max_participants is None:
        return str(event.current_participants)
    full = ": full" if event.current_participants >= event.max_participants > 0 else ""
    return f"{event.current_participants} of {event.max_participants}{full}"


def _payment(notification: Notification) -> str | None:
    if notification.about_event or not notification.payment_status:
        return None
    status = _line(notification.payment_status.replace("_", " "))
    price = _price(notification.event.price, notification.event.currency)
    if notification.price is not None:
        price = _price(notification.price, notification.currency or notification.event.currency)
    return f"{status} ({price})" if price else status


def _price(price: float | str | None, currency: str | None) -> str | None:
    """The amount with its currency: whole amounts without decimals, others with at least two. None for an invalid
    amount."""
    amount = amount_of(price)
    if amount is None:
        return None
    shown = f"{amount:,.0f}" if amount == amount.to_integral_value() else _decimals(amount)
    return f"{_line(currency, 8)} {shown}".strip()


def _decimals(amount: Decimal) -> str:
    places = amount.normalize().as_tuple().exponent
    return f"{amount:,.{max(2, -places if isinstance(places, int) else 2)}f}"


def _person(name: str | None, email: str | None) -> str | None:
    name, email = isolated(_line(name)), _line(email)
    return f"{name} <{email}>" if name and email else name or email


def _notes(text: str) -> list[str]:
    text = text.strip()
    lines = [_line(line, NOTE_LENGTH) for line in text[:NOTES_LENGTH].splitlines()]
    return [*lines, "…"] if len(text) > NOTES_LENGTH else lines


def _line(text: str | None, length: int = 300) -> str:
    """Received text on one line, without control or invisible formatting characters, of at most `length` characters."""
    return clean_line(text or "", at_most=length)
