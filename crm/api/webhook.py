"""Contract D's webhook."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

import msgspec
import structlog
from litestar import Request, post
from litestar.di import NamedDependency

from crm.api.bodies import read_json_object
from crm.api.requests import message_id
from crm.delivery.dispatcher import Dispatcher
from crm.webhook_store import Destination, WebhookDelivery, WebhookStore
from crm.webhooks import read_webhook

log = structlog.stdlib.get_logger("crm.webhooks")


class WebhookReceived(msgspec.Struct):
    """`forwarding` and `reporting_payment`: the deliveries that were enqueued, not their result."""

    status: Literal["success"]
    message: str
    webhook_id: UUID
    forwarding: bool
    reporting_payment: bool


@post("/webhook", operation_id="receiveWebhook", status_code=200)
async def webhook(
    request: Request[Any, Any, Any],
    webhooks: NamedDependency[WebhookStore],
    senders: NamedDependency[dict[Destination, Dispatcher[WebhookDelivery]]],
) -> WebhookReceived:
    """Stores a booking, forwards it and reports its payment.

    It is committed before the response; deliveries follow, also after a long outage of a receiver. The same
    Idempotency-Key (or webhook-id) with the same body has one effect; with another body it is rejected (422). If
    `FORWARD_FLASK_URL` is set, the body is forwarded unchanged. A body with `"payment_status": "paid"` that names
    booking, user and event is reported to the booking API as an offline payment.
    """
    body, text = await read_json_object(request)
    booking = read_webhook(body)
    stored = await webhooks.record(booking, text, message_id(request))
    for destination in stored.destinations:
        if sender := senders.get(destination):
            sender.notify()
        else:
            log.warning("no_receiver", destination=destination, hint="set BACKEND_SERVICE_TOKEN")
    log.info(
        "webhook", webhook_id=str(stored.id), booking_id=booking.booking_id, destinations=list(stored.destinations)
    )
    return WebhookReceived(
        status="success",
        message="Webhook received",
        webhook_id=stored.id,
        forwarding=Destination.TRANSITIONS in stored.destinations,
        reporting_payment=Destination.PAYMENT in stored.destinations,
    )
