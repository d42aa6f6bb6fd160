"""Composition of mails about bookings: plain text, HTML and a calendar invitation."""

import contextlib
from dataclasses import replace
from email.headerregistry import Address
from functools import cached_property
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

from domain.account_urls import AccountUrls
from domain.booking_urls import BookingUrls
from domain.outbox import Delivered, Failed, Message, MessageType, Outcome
from infrastructure.delivery.appointment_payloads import is_about_appointment
from infrastructure.email.account_mail import ACCOUNT_EMAILS
from infrastructure.email.appointment_mail import appointment_email
from infrastructure.email.booking_mail import booking_email
from infrastructure.email.calendar_mail import revoked_email
from infrastructure.email.content import Addressee, Button, EmailContent, Invitation, SenderIdentity, Unmailable
from infrastructure.email.invitation_mail import InvitationLinks, invitation_email
from infrastructure.icalendar import components
from servicekit.mail_headers import UnsafeHeader
from servicekit.mail_message import Calendar, Mail
from servicekit.mail_transport import MailNotSent, MailTransport
from servicekit.mailboxes import UnusableAddress, mailbox, sender_mailbox
from servicekit.text import isolated


class EmailSender:
    def __init__(self, composer: "MailComposer", transport: MailTransport) -> None:
        self._composer = composer
        self._transport = transport

    async def deliver(self, message: Message) -> Outcome:
        try:
            mail = self._composer.compose(message)
        except Unmailable as error:
            return Failed(str(error), permanent=True)
        try:
            return Delivered(await self._transport.send(mail))
        except MailNotSent as error:
            return Failed(
                str(error),
                permanent=error.permanent,
                status_code=error.status_code,
                destination_fault=error.destination_fault,
            )

    async def close(self) -> None:
        await self._transport.close()


class MailComposer:
    """Composes the mail for a message. The same message results in the same Message-ID and the same calendar
    invitation, so that receivers recognise a mail that was sent twice.

    `public_url` is the address of the deployment; its host is part of the UIDs of calendar entries whose message has
    none. `smtputf8`: whether the transport accepts addresses with letters beyond ASCII before the @. Without
    `invitation_links` there are no mails about invitations. `account_urls`: by default the pages at `public_url`.
    `booking_url_template`: see `BookingUrls`.
    """

    def __init__(
        self,
        *,
        mail_from: str,
        public_url: str,
        smtputf8: bool = False,
        invitation_links: InvitationLinks | None = None,
        booking_url_template: str | None = None,
        account_urls: AccountUrls | None = None,
    ) -> None:
        self._account_urls = account_urls or AccountUrls(public_url)
        self._invitation_links = invitation_links
        booking_urls = BookingUrls(booking_url_template) if booking_url_template else None
        self._identity = SenderIdentity(sender_mailbox(mail_from), components.uid_host(public_url), booking_urls)
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
        return templates.get_template("message.txt"), templates.get_template("message.html")

    def compose(self, message: Message) -> Mail:
        """Raises `Unmailable`."""
        try:
            return self._compose(message)
        except (UnusableAddress, UnsafeHeader) as error:
            raise Unmailable(str(error)) from None

    def _compose(self, message: Message) -> Mail:
        content = self._content(message)
        if (token := message.payload.get("verification")) is not None:
            content = replace(content, confirmation=Button("Confirm the address", self._account_urls.verify(token)))
        sender = self._identity.sender
        text, html = self._templates
        return Mail(
            sender=sender,
            recipients=[self._mailbox(content.recipient)],
            reply_to=self._reply_to(content.reply_to),
            subject=content.subject,
            date=message.occurred_at,
            message_id=f"<{message.id}@{sender.domain}>",
            text=text.render(content=content),
            html=html.render(content=content),
            calendar=_calendar(content.invitation) if content.invitation is not None else None,
        )

    def _reply_to(self, person: Addressee | None) -> Address | None:
        """None for an address of an account that is older than the rules for addresses, to which no mail can be
        sent."""
        with contextlib.suppress(UnusableAddress):
            return self._mailbox(person) if person is not None else None
        return None

    def _mailbox(self, person: Addressee) -> Address:
        return mailbox(person.name, person.email, smtputf8=self._smtputf8)

    def _content(self, message: Message) -> EmailContent:
        if is_about_appointment(message):
            return appointment_email(message, self._identity)
        if message.message_type is MessageType.CALENDAR_REVOKED:
            return revoked_email(message)
        if (about_account := ACCOUNT_EMAILS.get(message.message_type)) is not None:
            return about_account(message, self._account_urls)
        if message.message_type is MessageType.BOOKING_INVITATION:
            return invitation_email(message, self._invitation_links)
        return booking_email(message, self._identity)


def _calendar(invitation: Invitation) -> Calendar:
    return Calendar(components.invitation(invitation.entries, invitation.method), invitation.method)
