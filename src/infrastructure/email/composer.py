"""Composition of mails about bookings: plain text, HTML and a calendar invitation."""

import asyncio
import contextlib
import time
from datetime import UTC
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from domain.booking_urls import BookingUrls
from domain.outbox import Delivered, Failed, Message, MessageType, Outcome
from infrastructure.delivery.appointment_payloads import is_about_appointment
from infrastructure.email.account_mail import approved_email
from infrastructure.email.appointment_mail import appointment_email
from infrastructure.email.booking_mail import booking_email
from infrastructure.email.calendar_mail import revoked_email
from infrastructure.email.content import Addressee, EmailContent, Invitation, SenderIdentity, Unmailable
from infrastructure.email.invitation_mail import InvitationLinks, invitation_email
from infrastructure.icalendar import components
from servicekit.mail_headers import MAIL_POLICY, UnsafeHeader
from servicekit.mail_transport import MailNotSent, MailTransport
from servicekit.mailboxes import UnusableAddress, mailbox, sender_mailbox
from servicekit.text import isolated

INVITE_NAME = "invite.ics"


class EmailSender:
    def __init__(self, composer: "MailComposer", transport: MailTransport) -> None:
        self._composer = composer
        self._transport = transport
        self._composing = asyncio.Lock()

    async def deliver(self, message: Message) -> Outcome:
        try:
            mail = await self._compose(message)
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

    async def _compose(self, message: Message) -> EmailMessage:
        """Composes one mail at a time and then yields the event loop for as long as it took (about 3 ms). Eight
        concurrent compositions delayed deliveries to the CRM by seconds."""
        async with self._composing:
            began = time.perf_counter()
            mail = self._composer.compose(message)
            await asyncio.sleep(time.perf_counter() - began)
        return mail


class MailComposer:
    """Composes the mail for a message. The same message results in the same Message-ID and the same calendar
    invitation, so that receivers recognise a mail that was sent twice.

    `public_url` is the address of the deployment; its host is part of the UIDs of calendar entries whose message has
    none. `smtputf8`: whether the transport accepts addresses with letters beyond ASCII before the @. Without
    `invitation_links` there are no mails about invitations. `booking_url_template`: see `BookingUrls`.
    """

    def __init__(
        self,
        *,
        mail_from: str,
        public_url: str,
        smtputf8: bool = False,
        invitation_links: InvitationLinks | None = None,
        booking_url_template: str | None = None,
    ) -> None:
        self._invitation_links = invitation_links
        booking_urls = BookingUrls(booking_url_template) if booking_url_template else None
        self._identity = SenderIdentity(sender_mailbox(mail_from), components.uid_host(public_url), booking_urls)
        self._smtputf8 = smtputf8
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["isolated"] = isolated

    def compose(self, message: Message) -> EmailMessage:
        """Raises `Unmailable`."""
        try:
            return self._compose(message)
        except (UnusableAddress, UnsafeHeader) as error:
            raise Unmailable(str(error)) from None

    def _compose(self, message: Message) -> EmailMessage:
        content = self._content(message)
        sender = self._identity.sender
        mail = EmailMessage(policy=MAIL_POLICY)
        mail["From"] = sender
        mail["To"] = self._mailbox(content.recipient)
        if content.reply_to is not None:
            # An account that is older than the rules for addresses may have one to which no mail can be sent.
            with contextlib.suppress(UnusableAddress):
                mail["Reply-To"] = self._mailbox(content.reply_to)
        mail["Subject"] = content.subject
        mail["Date"] = format_datetime(message.occurred_at.astimezone(UTC))
        mail["Message-ID"] = f"<{message.id}@{sender.domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        context = {"content": content}
        mail.set_content(self._templates.get_template("message.txt").render(context))
        mail.add_alternative(self._templates.get_template("message.html").render(context), subtype="html")
        if content.invitation is not None:
            _add_invitation(mail, content.invitation)
        return mail

    def _mailbox(self, person: Addressee) -> Address:
        return mailbox(person.name, person.email, smtputf8=self._smtputf8)

    def _content(self, message: Message) -> EmailContent:
        if is_about_appointment(message):
            return appointment_email(message, self._identity)
        if message.message_type is MessageType.CALENDAR_REVOKED:
            return revoked_email(message)
        if message.message_type is MessageType.FACILITATOR_APPROVED:
            return approved_email(message)
        if message.message_type is MessageType.BOOKING_INVITATION:
            return invitation_email(message, self._invitation_links)
        return booking_email(message, self._identity)


def _add_invitation(mail: EmailMessage, invitation: Invitation) -> None:
    """As an alternative part for mail programs with calendar support, and as an attachment for others."""
    text = components.invitation(invitation.entry, invitation.method)
    mail.add_alternative(text, subtype="calendar", params={"method": invitation.method})
    mail.add_attachment(text.encode(), maintype="application", subtype="ics", filename=INVITE_NAME)
