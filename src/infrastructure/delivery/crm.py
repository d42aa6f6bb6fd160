"""Sender for the CRM: `POST {CRM_SERVICE_URL}/notify`, one request for each message."""

from collections.abc import Sequence

from infrastructure.delivery.crm_payload import to_payload
from infrastructure.delivery.http import MessageSender


class CrmSender(MessageSender):
    def __init__(self, url: str, token: str, *, signing_secrets: Sequence[str] = (), seconds: float = 15) -> None:
        address = f"{url.rstrip('/')}/notify"
        super().__init__(address, token, to_payload, signing_secrets=signing_secrets, seconds=seconds)
