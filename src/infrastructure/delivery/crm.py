"""Sender for the CRM: `POST {CRM_SERVICE_URL}/notify`, one request for each message."""

from dataclasses import replace
from http import HTTPStatus
from typing import Any

from domain.outbox import Failed, Message, MessageType, Outcome
from infrastructure.delivery.crm_payload import to_payload
from infrastructure.delivery.http import MessageSender


class CrmSender(MessageSender):
    """`options` are those of `MessageSender`."""

    def __init__(self, url: str, token: str, **options: Any) -> None:
        super().__init__(f"{url.rstrip('/')}/notify", token, to_payload, **options)

    async def deliver(self, message: Message) -> Outcome:
        """The CRM answers 503 while it still has mails about a person to send that it has to erase: this delays the
        message, not the others."""
        outcome = await super().deliver(message)
        is_busy = isinstance(outcome, Failed) and outcome.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        if message.message_type is MessageType.USER_ERASED and isinstance(outcome, Failed) and is_busy:
            return replace(outcome, destination_fault=False)
        return outcome
