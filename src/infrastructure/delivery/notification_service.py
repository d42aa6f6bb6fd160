"""Sender for the notification service: one request for each message to NOTIFICATION_SERVICE_URL, with the path
`/notify` if the URL has none."""

from collections.abc import Sequence
from typing import Any

from domain.outbox import Message
from infrastructure.delivery.crm_payload import to_payload
from infrastructure.delivery.http import MessageSender, endpoint


class NotificationServiceSender(MessageSender):
    def __init__(self, url: str, token: str, *, signing_secrets: Sequence[str] = (), seconds: float = 15) -> None:
        address = endpoint(url, "/notify")
        super().__init__(address, token, _notification, signing_secrets=signing_secrets, seconds=seconds)


def _notification(message: Message) -> dict[str, Any]:
    return {"type": message.message_type, **to_payload(message)}
