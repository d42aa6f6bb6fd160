"""Receiving and listing notifications (contract A, and contract B's endpoints 22 and 23)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec
import structlog
from litestar import Request, Response, get, post
from litestar.di import NamedDependency

from crm.api.bodies import LARGEST_INTEGER, read_json_object
from crm.api.errors import invalid
from crm.api.security import verify_signature
from crm.mailroom import Mailroom
from crm.notifications import read_notification
from crm.settings import CrmSettings
from crm.store import Item, NotificationStore

DEFAULT_LIMIT, LARGEST_LIMIT = 100, 500
FILTERS = ("limit", "cursor", "message_id", "booking_id")
SANE_KEY = re.compile(r"[\x21-\x7e]{1,255}")

log = structlog.stdlib.get_logger("crm.notifications")


class Notified(msgspec.Struct):
    """What a sender is told: contract A's answer and contract B's in one."""

    status: Literal["success"]
    message: str
    notification_id: int
    email_sent: bool


class Envelope(msgspec.Struct):
    notifications: Sequence[Item]
    next_cursor: str | None


@post("/notify", operation_id="notify", status_code=200)
async def notify(
    request: Request[Any, Any, Any],
    store: NamedDependency[NotificationStore],
    mailroom: NamedDependency[Mailroom],
    settings: NamedDependency[CrmSettings],
) -> Notified:
    """Store a notification and e-mail its facilitator.

    The notification is committed before the answer. The same Idempotency-Key with the same body has one effect and
    one notification_id, with another body it is refused (422). `email_sent` says whether the mail is out already;
    where it is not, it follows as soon as the mail server takes it.
    """
    body, text = await read_json_object(request)
    verify_signature(request, await request.body(), settings.signing_secrets)
    notification = read_notification(body)
    recorded = await store.record(notification, text, _message_id(request), claim=mailroom.claims_new_mail)
    email_sent = await mailroom.settle(recorded)
    log.info("notification", notification_id=recorded.id, action=notification.action, email_sent=email_sent)
    return Notified(
        status="success",
        message="Notification sent successfully"
        if notification.action
        else "Booking notification received and processed",
        notification_id=recorded.id,
        email_sent=email_sent,
    )


@get("/notifications", operation_id="listNotifications")
async def list_notifications(
    request: Request[Any, Any, Any],
    store: NamedDependency[NotificationStore],
    settings: NamedDependency[CrmSettings],
) -> Response[Envelope | Sequence[Item]]:
    """Notifications, newest first; a `Link` header names the next page, and the envelope its cursor."""
    query = _query(request)
    limit = _number(query, "limit", LARGEST_LIMIT) or DEFAULT_LIMIT
    booking_id = _number(query, "booking_id", LARGEST_INTEGER)
    before = _number(query, "cursor", LARGEST_INTEGER)
    found = await store.items(limit=limit + 1, before=before, message_id=query.get("message_id"), booking_id=booking_id)
    page = found[:limit]
    next_cursor = str(page[-1].id) if len(found) > limit else None
    headers = {}
    if next_cursor:
        headers["link"] = f'</notifications?{urlencode({**query, "cursor": next_cursor})}>; rel="next"'
    if settings.notifications_shape == "envelope":
        return Response(Envelope(notifications=page, next_cursor=next_cursor), headers=headers)
    return Response(page, headers=headers)


def _message_id(request: Request[Any, Any, Any]) -> str | None:
    """The sender's id of this message: Idempotency-Key, else webhook-id (Standard Webhooks gives it that meaning)."""
    for header in ("idempotency-key", "webhook-id"):
        key = request.headers.get(header)
        if key is None:
            continue
        if not SANE_KEY.fullmatch(key):
            raise invalid({header: "Expected 1 to 255 visible ASCII characters"})
        return key
    return None


def _query(request: Request[Any, Any, Any]) -> dict[str, str]:
    given = request.query_params.dict()
    for name in FILTERS:
        values = given.get(name, [])
        if len(values) > 1:
            raise invalid({name: "Given more than once"})
        if any("\0" in value for value in values):
            raise invalid({name: "NUL is not allowed"})
    return {name: given[name][0] for name in FILTERS if name in given}


def _number(query: Mapping[str, str], name: str, largest: int) -> int | None:
    if name not in query:
        return None
    text = query[name]
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or not 1 <= int(text) <= largest:
        raise invalid({name: f"Expected a whole number from 1 to {largest}"})
    return int(text)
