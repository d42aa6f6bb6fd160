"""Sender of the facilitators' mails: one for each notification with a pending mail.

A mail that is sent again has the same Message-ID.
"""

from __future__ import annotations

from crm.delivery.failures import Unsendable
from crm.email.content import NotificationEmailWriter
from crm.email.transport import MailTransport
from crm.notification_store import MailClaim
from servicekit.mail_headers import UnsafeHeader
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
        await self._transport.send(message)
        return f"Email sent successfully to {claim.recipient_email}"
