"""Which destinations get which messages, and what is posted to other services: method, path, headers and fields."""

import json
from typing import Any
from uuid import UUID

from crm.delivery.http import WebhookSender
from crm.settings import load_settings as load_crm_settings
from crm.webhook_store import WebhookDelivery
from crm.webhooks import read_webhook
from domain.outbox import ALWAYS_SERVED, ROUTES, Destination, MessageStatus, MessageType
from infrastructure.delivery.crm import CrmSender
from infrastructure.delivery.email_service import EmailServiceSender
from infrastructure.delivery.http import MessageSender
from infrastructure.delivery.notification_service import NotificationServiceSender
from tests.support.golden.cases import messages
from tests.support.golden.json_types import flat, types_of
from tests.support.golden.mails import MOMENT, composer
from tests.support.receivers import Receiver, Request, receiving

_SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
_CONSTANT = {"content-type", "accept", "accept-encoding", "user-agent"}
_WEBHOOK = {"booking_id": 15, "user": {"id": 3}, "event": {"id": 7, "facilitator_id": 9}, "payment_status": "paid"}


def destinations() -> dict[str, Any]:
    return {
        "destinations": {each.value: "always" if each in ALWAYS_SERVED else "where set up" for each in Destination},
        "states": [state.value for state in MessageStatus],
        "messages": {
            message_type.value: [destination.value for destination in ROUTES[message_type]]
            for message_type in MessageType
        },
    }


async def booking_api() -> dict[str, Any]:
    """By destination: the request, and the fields of its body for each message."""
    async with receiving() as receiver:
        senders: dict[Destination, MessageSender] = {
            Destination.CRM: CrmSender(receiver.url, "token", signing_secrets=[_SECRET]),
            Destination.NOTIFICATION: NotificationServiceSender(receiver.url, "token", signing_secrets=[_SECRET]),
            Destination.EMAIL: EmailServiceSender(composer(), receiver.url, "token", signing_secrets=[_SECRET]),
        }
        try:
            return {each.value: await _received(receiver, sender, each) for each, sender in senders.items()}
        finally:
            for sender in senders.values():
                await sender.close()


async def crm() -> dict[str, Any]:
    """What the CRM posts: a webhook that it forwards as it came, a payment that it reports."""
    settings = load_crm_settings(
        {"CRM_DATABASE_URL": "postgresql://u@db/crm", "CRM_BEARER_TOKEN": "c" * 32, "BACKEND_SERVICE_TOKEN": "b" * 32}
    )
    assert settings.payments
    path = settings.payments.url.removeprefix("http://127.0.0.1:5000")
    payment = read_webhook(_WEBHOOK).payment
    async with receiving() as receiver:
        sender = WebhookSender("Payment", receiver.url + path, "token")
        await sender.deliver(WebhookDelivery(1, UUID(int=1), json.dumps(payment), MOMENT, 1))
        await sender.close()
        [request] = receiver.requests
    return {"payment": {**_request(request), "fields": types_of(request.json)}}


async def _received(receiver: Receiver, sender: MessageSender, destination: Destination) -> dict[str, Any]:
    requests: dict[str, Any] = {}
    bodies: dict[str, dict[str, Any]] = {}
    for name, message in messages(destination):
        receiver.requests.clear()
        await sender.deliver(message)
        for request in receiver.requests:
            assert request.headers["idempotency-key"] == request.headers["webhook-id"] == str(message.id)
            assert request.headers["x-request-id"] == message.request_id
            requests.setdefault(repr(_request(request)), _request(request))
            bodies.setdefault(name.split(", ")[1], {})[name] = dict(flat(types_of(request.json)))
    return {"requests": list(requests.values()), "bodies": {about: _together(each) for about, each in bodies.items()}}


def _together(bodies: dict[str, dict[str, str]]) -> dict[str, Any]:
    """The types of each field, and for each message what it has in place of a value."""
    names = list(dict.fromkeys(name for fields in bodies.values() for name in fields))
    found = {name: {fields[name] for fields in bodies.values() if name in fields} - {"null", "empty"} for name in names}
    without = {
        message: {name: fields.get(name, "absent") for name in names if fields.get(name) in {None, "null", "empty"}}
        for message, fields in bodies.items()
    }
    return {"fields": {name: " or ".join(sorted(types)) for name, types in found.items()}, "messages": without}


def _request(request: Request) -> dict[str, Any]:
    """Headers by name; values where they are always the same, and how those of the others begin."""
    headers = {name: request.headers[name] if name in _CONSTANT else "" for name in sorted(request.headers)}
    headers["authorization"] = request.headers["authorization"].partition(" ")[0]
    if "webhook-signature" in headers:
        headers["webhook-signature"] = request.headers["webhook-signature"].partition(",")[0]
    return {"method": request.method, "path": request.path, "headers": headers}
