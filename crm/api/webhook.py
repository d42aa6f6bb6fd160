"""Contract D's webhook, and the list of webhooks for operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

import msgspec
import structlog
from litestar import Request, Response, get, post
from litestar.params import FromPath

from crm.api.bodies import read_json_object
from crm.api.errors import invalid, not_found
from crm.api.parts import parts_of
from crm.api.requests import UUID_TEXT, list_query, message_id, next_page, query_limit, who
from crm.refused_webhooks import FILTERS, WebhookItem, WebhookNotFound
from crm.webhook_store import Destination
from crm.webhooks import read_webhook
from servicekit.json_responses import JsonResponse

log = structlog.stdlib.get_logger("crm.webhooks")


class WebhookReceived(msgspec.Struct):
    """`forwarding` and `reporting_payment`: the deliveries that were enqueued, not their result."""

    status: Literal["success"]
    message: str
    webhook_id: UUID
    forwarding: bool
    reporting_payment: bool


@post("/webhook", operation_id="receiveWebhook", status_code=200)
async def webhook(request: Request[Any, Any, Any]) -> WebhookReceived:
    """Stores a booking, forwards it and reports its payment.

    It is committed before the response; deliveries follow, also after a long outage of a receiver. The same
    Idempotency-Key (or webhook-id) with the same body has one effect; with another body it is rejected (422). If
    `FORWARD_FLASK_URL` is set, the body is forwarded unchanged. A body with `"payment_status": "paid"` that names
    booking, user and event is reported to the booking API as an offline payment.
    """
    body, text = await read_json_object(request)
    booking = read_webhook(body)
    parts = parts_of(request)
    stored = await parts.webhooks.record(booking, text, message_id(request))
    for destination in stored.destinations:
        if sender := parts.senders.get(destination):
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


class WebhookPage(msgspec.Struct):
    webhooks: Sequence[WebhookItem]
    next_cursor: UUID | None


class WebhookProcessed(msgspec.Struct):
    status: Literal["success"] = "success"
    message: str = "Webhook marked as processed"


@get("/webhooks", operation_id="listWebhooks")
async def list_webhooks(request: Request[Any, Any, Any]) -> Response[WebhookPage]:
    """Received webhooks with their deliveries, newest first.

    `deliveries=failed` lists those with a refused delivery, `deliveries=mismatch` those that name another user, event
    or booking than the booking API has, until they are marked as processed. A `Link` header has the address of the next
    page.
    """
    given = list_query(request, "limit", "cursor", "deliveries")
    chosen = given.get("deliveries")
    if chosen is not None and chosen not in FILTERS:
        raise invalid({"deliveries": f"Expected {' or '.join(FILTERS)}"})
    cursor = given.get("cursor")
    if cursor is not None and not UUID_TEXT.fullmatch(cursor):
        raise invalid({"cursor": "Expected the id of a webhook"})
    limit = query_limit(given)
    webhooks = parts_of(request).refused_webhooks
    found = await webhooks.items(limit=limit + 1, before=UUID(cursor) if cursor else None, chosen=chosen)
    page = found[:limit]
    following = page[-1].id if len(found) > limit else None
    headers = next_page("/webhooks", given, following) if following else {}
    return JsonResponse(WebhookPage(page, following), headers=headers)


@post("/webhooks/{webhook_id:str}/process", operation_id="processWebhook", status_code=200)
async def process_webhook(request: Request[Any, Any, Any], webhook_id: FromPath[str]) -> WebhookProcessed:
    """Marks the refused deliveries of a webhook as processed. The first caller and the time are stored, and the webhook
    does not count in the metrics any more."""
    if not UUID_TEXT.fullmatch(webhook_id):
        raise not_found()
    try:
        await parts_of(request).refused_webhooks.mark_processed(UUID(webhook_id), who(request))
    except WebhookNotFound:
        raise not_found() from None
    return WebhookProcessed()
