"""Sender for the CRM: `POST {CRM_SERVICE_URL}/notify`, one request for each message."""

from typing import Any

from infrastructure.delivery.crm_payload import to_payload
from infrastructure.delivery.http import MessageSender


class CrmSender(MessageSender):
    """`options` are those of `MessageSender`."""

    def __init__(self, url: str, token: str, **options: Any) -> None:
        super().__init__(f"{url.rstrip('/')}/notify", token, to_payload, **options)
