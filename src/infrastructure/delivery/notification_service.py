"""Sender for the notification service: one request for each message to NOTIFICATION_SERVICE_URL, with the path
`/notify` if the URL has none."""

from typing import Any

from domain.outbox import Message
from infrastructure.delivery.crm_payload import to_payload
from infrastructure.delivery.http import MessageSender, endpoint


class NotificationServiceSender(MessageSender):
    """`options` are those of `MessageSender`."""

    def __init__(self, url: str, token: str, **options: Any) -> None:
        super().__init__(endpoint(url, "/notify"), token, _notification, **options)


def _notification(message: Message) -> dict[str, Any]:
    return {"type": message.message_type, **to_payload(message)}
