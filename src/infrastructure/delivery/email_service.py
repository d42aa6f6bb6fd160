"""Sender for an HTTP e-mail service: one request for each mail to EMAIL_SERVICE_URL, with the path `/send` if the URL
has none."""

import base64
from email.message import EmailMessage
from typing import Any

from domain.outbox import Failed, Message, Outcome
from infrastructure.delivery.http import MessageSender, endpoint
from infrastructure.email.composer import MailComposer
from infrastructure.email.content import Unmailable


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


def _to_request(mail: EmailMessage) -> dict[str, Any]:
    """The request body for a mail. The calendar invitation is an attachment."""
    return {
        "from": str(mail["From"]),
        "to": mail["To"].addresses[0].addr_spec,
        "reply_to": mail["Reply-To"].addresses[0].addr_spec if mail["Reply-To"] else None,
        "subject": str(mail["Subject"]),
        "text": _text(mail, "plain"),
        "html": _text(mail, "html"),
        "message_id": str(mail["Message-ID"]),
        "attachments": [_attachment(part) for part in mail.iter_attachments()],
    }


def _text(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    return part.get_content() if part is not None else ""


def _attachment(part: Any) -> dict[str, Any]:
    return {
        "filename": part.get_filename(),
        "content_type": part.get_content_type(),
        "content_base64": base64.b64encode(part.get_payload(decode=True)).decode(),
    }
