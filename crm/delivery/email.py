"""Sender of the facilitators' mails: one for each notification with a pending mail.

A mail that is sent again has the same Message-ID.
"""

from __future__ import annotations

from crm.delivery.failures import Deferred, DeliveryError, DestinationUnavailable, Refused, Unsendable
from crm.email.content import NotificationEmailWriter
from crm.notification_store import MailClaim
from servicekit.mail_headers import UnsafeHeader
from servicekit.mail_transport import MailNotSent, MailTransport, UnsendableMail
from servicekit.mailboxes import UnusableAddress


class EmailSender:
    kind = "Email"

    def __init__(self, writer: NotificationEmailWriter, transport: MailTransport) -> None:
        self._writer = writer
        self._transport = transport

    async def deliver(self, claim: MailClaim) -> str:
        try:
            message = self._writer.compose(claim)
        except UnusableAddress as error:
            raise Unsendable(f"no usable address: {error}") from None
        except UnsafeHeader as error:
            raise Unsendable(str(error)) from None
        try:
            await self._transport.send(message)
        except MailNotSent as error:
            raise _failure(error)(str(error)) from error
        return f"Email sent successfully to {claim.recipient_email}"


def _failure(error: MailNotSent) -> type[DeliveryError]:
    if isinstance(error, UnsendableMail):
        return Unsendable
    if error.permanent:
        return Refused
    return DestinationUnavailable if error.destination_fault else Deferred
