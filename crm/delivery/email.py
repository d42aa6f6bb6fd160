"""Takes the facilitators' mails out: one mail for each notification that owes one.

A mail that had to be sent again has the Message-ID it had.
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
