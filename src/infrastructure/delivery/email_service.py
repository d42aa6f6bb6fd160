"""Sender for an HTTP e-mail service: one request for each mail to EMAIL_SERVICE_URL, with the path `/send` if the URL
has none."""

import base64
from typing import Any

from domain.outbox import Failed, Message, Outcome
from infrastructure.delivery.http import MessageSender, endpoint
from infrastructure.email.composer import MailComposer
from infrastructure.email.content import Unmailable
from servicekit.mail_message import Calendar, Mail


class EmailServiceSender(MessageSender):
    """`options` are those of `MessageSender`."""

    def __init__(self, composer: MailComposer, url: str, token: str, **options: Any) -> None:
        def to_body(message: Message) -> dict[str, Any]:
            return _to_request(composer.compose(message))

        super().__init__(endpoint(url, "/send"), token, to_body, **options)

    async def deliver(self, message: Message) -> Outcome:
        try:
            return await super().deliver(message)
        except Unmailable as error:
            return Failed(str(error), permanent=True)


def _to_request(mail: Mail) -> dict[str, Any]:
    """The request body for a mail. The calendar invitation is an attachment."""
    return {
        "from": str(mail.sender),
        "to": mail.recipients[0].addr_spec,
        "reply_to": mail.reply_to.addr_spec if mail.reply_to else None,
        "subject": mail.subject,
        "text": _lines(mail.text),
        "html": _lines(mail.html),
        "message_id": mail.message_id,
        "attachments": [_attachment(mail.calendar)] if mail.calendar else [],
    }


def _lines(text: str | None) -> str:
    """The text with the same line end after each line, as it is in a mail."""
    return "".join(f"{line.decode()}\n" for line in (text or "").encode().splitlines())


def _attachment(calendar: Calendar) -> dict[str, Any]:
    return {
        "filename": calendar.file_name,
        "content_type": "application/ics",
        "content_base64": base64.b64encode(calendar.text.encode()).decode(),
    }
