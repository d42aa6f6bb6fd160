"""Receiving, listing, processing and deleting notifications (contract A, and contract B's endpoints 22 to 25)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import structlog
from litestar import Request, Response, delete, get, post
from litestar.params import FromPath

from crm.api.bodies import read_json_object
from crm.api.parts import parts_of
from crm.api.requests import (
    list_query,
    message_id,
    next_page,
    path_id,
    query,
    query_booking,
    query_id,
    query_limit,
    who,
    with_events,
)
from crm.api.security import verify_signature
from crm.notification_store import Item
from crm.notifications import is_erasure, read_erasure, read_notification
from servicekit.json_responses import JsonResponse

log = structlog.stdlib.get_logger("crm.notifications")


class Notified(msgspec.Struct, tag_field="status", tag="success"):
    """The response to a sender: the fields of contracts A and B in one."""

    message: str
    notification_id: int
    email_sent: bool


class Erased(msgspec.Struct, tag_field="status", tag="erased"):
    """The personal data of the user is erased."""

    message: str
    user_id: int


class Envelope(msgspec.Struct):
    notifications: Sequence[Item]
    next_cursor: str | None


class Processed(msgspec.Struct):
    status: Literal["success"] = "success"
    message: str = "Notification marked as processed"


class Deleted(msgspec.Struct):
    message: str = "Notification deleted successfully"


class Cleared(msgspec.Struct):
    deleted_count: int
    message: str = "All notifications cleared"


@post("/notify", operation_id="notify", status_code=200)
async def notify(request: Request[Any, Any, Any]) -> Notified | Erased:
    """Stores a notification and sends an e-mail to its facilitator.

    The notification is committed before the response. The same Idempotency-Key with the same body has one effect and
    one notification_id; with another body it is rejected (422). `email_sent`: whether the mail was sent already; if
    not, it is sent when the mail server accepts it. A message with the state of an event (`event.version`) also updates
    the facilitator's list of events, unless a newer state is stored. Mails show times in `facilitator.timezone` (an
    IANA name), or in UTC. Changes by the facilitator (`event_created`, `event_updated`) are stored and not mailed. The
    same holds for messages whose sender mails the facilitator itself (`email_facilitator` false), as the booking system
    does for appointments, and for facilitators whose address is not verified; the latter have the status `sent`.

    The action `user_erased` names a user only (`user.id`), whose personal data is erased wherever the user is client or
    facilitator. It is confirmed with the status `erased`; 503 with `Retry-After` means that there is more to erase, and
    the next request with the message goes on. Messages about the user that arrive later are stored without names,
    addresses and texts.
    """
    parts = parts_of(request)
    body, text = await read_json_object(request)
    verify_signature(request, await request.body(), parts.settings.signing_secrets, parts.clock.now())
    if is_erasure(body):
        user_id = read_erasure(body).user.id
        await parts.eraser.erase(user_id)
        return Erased("Personal data erased", user_id)
    notification = read_notification(body)
    mails = parts.mail_dispatcher
    recorded = await parts.store.record(notification, text, message_id(request), claim=mails.claims_at_once)
    email_sent = await mails.wait_until_sent(recorded.id, recorded.status, recorded.claim)
    log.info("notification", notification_id=recorded.id, action=notification.action, email_sent=email_sent)
    return Notified(
        message="Notification sent successfully"
        if notification.action
        else "Booking notification received and processed",
        notification_id=recorded.id,
        email_sent=email_sent,
    )


@get("/notifications", operation_id="listNotifications")
async def list_notifications(request: Request[Any, Any, Any]) -> Response[Envelope | Sequence[Item]]:
    """Notifications, newest first. A `Link` header has the address of the next page, the envelope its cursor.

    Notifications about an event itself, without a booking, are only listed with `include=events`.
    """
    given = list_query(request, "limit", "cursor", "message_id", "booking_id", "include")
    limit = query_limit(given)
    parts = parts_of(request)
    found = await parts.store.items(
        limit=limit + 1,
        before=query_id(given, "cursor"),
        message_id=given.get("message_id"),
        booking_id=query_booking(given),
        with_events=with_events(given),
    )
    page = found[:limit]
    cursor = page[-1].id if len(found) > limit else None
    headers = next_page("/notifications", given, cursor) if cursor else {}
    if parts.settings.notifications_shape == "envelope":
        return JsonResponse(Envelope(notifications=page, next_cursor=str(cursor) if cursor else None), headers=headers)
    return JsonResponse(page, headers=headers)


@post("/notifications/{notification_id:str}/process", operation_id="processNotification", status_code=200)
async def process_notification(request: Request[Any, Any, Any], notification_id: FromPath[str]) -> Processed:
    """Marks a notification as processed. The first caller and the time are stored."""
    await parts_of(request).store.mark_processed(path_id(notification_id), who(request))
    return Processed()


@delete("/notifications/{notification_id:str}", operation_id="deleteNotification", status_code=200)
async def delete_notification(request: Request[Any, Any, Any], notification_id: FromPath[str]) -> Deleted:
    """Removes a notification from the list. Its pending mail is still sent, and its Idempotency-Key stays used."""
    await parts_of(request).store.delete(path_id(notification_id), who(request))
    return Deleted()


@delete("/notifications/clear", operation_id="clearNotifications", status_code=200)
async def clear_notifications(request: Request[Any, Any, Any]) -> Cleared:
    """Removes all notifications from the list, as deleting each of them does. `include=events`: including those about
    events."""
    with_those_about_events = with_events(query(request, "include"))
    return Cleared(await parts_of(request).store.clear(who(request), with_events=with_those_about_events))
