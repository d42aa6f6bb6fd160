"""Sender of webhooks to one server, the payment reports included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus

import msgspec
import structlog

from crm.delivery.failures import Deferred, DestinationUnavailable, Refused
from crm.webhook_store import WebhookDelivery
from servicekit.clock import machine_time
from servicekit.http_sender import HttpSender, NoAnswer

SHOWN_OF_AN_ANSWER = 500
PAYMENT_REPORT = "Payment report"
"""The kind of deliveries to the booking API; `crm.webhook_store.MISMATCH` reads it in responses."""

log = structlog.stdlib.get_logger("crm.webhooks")


class WebhookSender:
    """Posts each delivery with its crm_booking id as Idempotency-Key. `seconds` bounds a whole exchange."""

    def __init__(
        self, kind: str, url: str, token: str, *, seconds: float = 15, now: Callable[[], datetime] = machine_time
    ) -> None:
        self.kind = kind
        self._sender = HttpSender(url, token, user_agent="Convene-CRM", seconds=seconds, now=now)

    async def deliver(self, claim: WebhookDelivery) -> str:
        try:
            answer = await self._sender.post(claim.body.encode(), str(claim.crm_booking_id))
        except NoAnswer as error:
            raise DestinationUnavailable(str(error)) from error
        shown = str(replace(answer, body=" ".join(answer.body.split())[:SHOWN_OF_AN_ANSWER]))
        if answer.accepted:
            return f"{self.kind} taken: {shown}"
        if answer.permanent:
            if self.kind == PAYMENT_REPORT and answer.status == HTTPStatus.NOT_FOUND:
                log.warning("webhook_mismatch", webhook_id=str(claim.crm_booking_id), **msgspec.json.decode(claim.body))
            raise Refused(shown)
        raise Deferred(shown, answer.retry_after or timedelta())

    async def close(self) -> None:
        await self._sender.close()
