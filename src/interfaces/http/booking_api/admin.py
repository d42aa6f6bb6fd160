"""Dead letters, for admins. Payloads contain personal data, so answers are never stored."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Meta, Struct

from application.outbox.dead_letters import ReplayMessage, ReplayMessages
from application.outbox.ports import DeadLetters, MessageFilter, StoredMessage
from application.ports import DEFAULT_PAGE
from domain.errors import Invalid
from domain.outbox import Destination, MessageNotFound, MessageStatus, MessageType
from domain.time import entered_instant
from interfaces.http.authentication import admins
from interfaces.http.injection import Inject
from interfaces.http.schemas import object_page, one_of, page_request

TAGS = ["Admins"]


class OutboxMessage(Struct):
    id: str
    destination: Annotated[str, one_of(Destination)]
    fact: Annotated[str, one_of(MessageType)]
    lane: str
    status: MessageStatus
    attempts: int
    occurred_at: datetime
    due_at: datetime
    last_error: str | None


class OutboxList(Struct):
    messages: list[OutboxMessage]
    next_cursor: str | None


class DeliveryResult(StrEnum):
    DELIVERED = "delivered"
    FAILED = "failed"


class DeliveryAttempt(Struct):
    attempt: int
    started_at: datetime
    took_ms: int
    result: Annotated[str, one_of(DeliveryResult)]
    status_code: int | None
    detail: str
    probe: bool


class OpenedMessage(OutboxMessage):
    settled_at: datetime | None
    request_id: str | None
    in_flight: bool
    attempts_made: list[DeliveryAttempt]
    snapshot: dict[str, Any]


class ReplayOrder(Struct):
    destination: Annotated[str, one_of(Destination)] | None = None
    since: Annotated[str | None, Meta(extra_json_schema={"format": "date-time"})] = None


class Replayed(Struct):
    replayed: int


@get("/admin/outbox", operation_id="listOutbox", tags=TAGS, guards=[admins])
async def list_outbox(
    request: Request[Any, Any, Any],
    dead_letters: Inject[DeadLetters],
    status: FromQuery[str | None] = None,
    destination: FromQuery[str | None] = None,
    since: FromQuery[str | None] = None,
    limit: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
) -> Response[OutboxList]:
    """Messages of the outbox, newest first. Messages that could not be delivered have the status `dead`."""
    wanted = MessageFilter(_status(status), _destination(destination), _since(since))
    page = await dead_letters.list(wanted, page_request(limit, cursor, default=DEFAULT_PAGE))
    return object_page(request, OutboxList([OutboxMessage(**_fields(message)) for message in page.items], page.next))


@get("/admin/outbox/{message_id:str}", operation_id="getOutboxMessage", tags=TAGS, guards=[admins])
async def show_outbox_message(message_id: FromPath[str], dead_letters: Inject[DeadLetters]) -> OpenedMessage:
    """One message with each delivery attempt and its payload (`snapshot`), as of the time of the change."""
    opened = await dead_letters.show(_id(message_id))
    return OpenedMessage(
        **_fields(opened.message),
        settled_at=opened.settled_at,
        request_id=opened.request_id,
        in_flight=opened.in_flight,
        attempts_made=[
            DeliveryAttempt(
                attempt=made.attempt,
                started_at=made.started_at,
                took_ms=made.took_ms,
                result=made.result,
                status_code=made.status_code,
                detail=made.detail,
                probe=made.probe,
            )
            for made in opened.attempts_made
        ],
        snapshot=opened.payload,
    )


@post(
    "/admin/outbox/{message_id:str}/replay",
    operation_id="replayOutboxMessage",
    tags=TAGS,
    status_code=200,
    guards=[admins],
)
async def replay_outbox_message(message_id: FromPath[str], replay_message: Inject[ReplayMessage]) -> Replayed:
    await replay_message(_id(message_id))
    return Replayed(1)


@post("/admin/outbox/replay", operation_id="replayOutbox", tags=TAGS, status_code=200, guards=[admins])
async def replay_outbox(data: JSONBody[ReplayOrder], replay_messages: Inject[ReplayMessages]) -> Replayed:
    destination, since = _destination(data.destination), _since(data.since)
    return Replayed(await replay_messages(destination=destination, since=since))


ROUTES = [list_outbox, show_outbox_message, replay_outbox_message, replay_outbox]


def _fields(message: StoredMessage) -> dict[str, Any]:
    return {
        "id": str(message.id),
        "destination": message.destination,
        "fact": message.message_type,
        "lane": message.ordering_key,
        "status": message.status,
        "attempts": message.attempts,
        "occurred_at": message.occurred_at,
        "due_at": message.due_at,
        "last_error": message.last_error,
    }


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise MessageNotFound from None


def _status(text: str | None) -> MessageStatus | None:
    if text is not None and text not in set(MessageStatus):
        raise Invalid({"status": f"Must be {', '.join(MessageStatus)}"})
    return None if text is None else MessageStatus(text)


def _destination(text: str | None) -> Destination | None:
    if text is not None and text not in set(Destination):
        raise Invalid({"destination": f"Must be {', '.join(Destination)}"})
    return None if text is None else Destination(text)


def _since(text: str | None) -> datetime | None:
    try:
        return None if text is None else entered_instant(datetime.fromisoformat(text), "since")
    except ValueError:
        raise Invalid({"since": "Must be a time such as 2026-11-20T10:00:00Z"}) from None
