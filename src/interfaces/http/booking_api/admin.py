"""Messages of the outbox, for admins. Payloads contain personal data, so answers are never stored."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType

from application.outbox.dead_letters import ReplayMessage, ReplayMessages
from application.outbox.ports import DeadLetters, MessageFilter, StoredMessage
from application.ports import DEFAULT_PAGE, PageRequest
from domain.api_keys import Scope
from domain.errors import Invalid
from domain.outbox import Destination, MessageNotFound, MessageStatus, MessageType
from domain.time import entered_instant
from interfaces.http.authentication import admins
from interfaces.http.injection import Inject
from interfaces.http.parameters import UUID_SCHEMA, Converter, Cursor, PageSize, member_of
from interfaces.http.schemas import object_page, one_of

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


class KeptOutboxMessages(Struct):
    destination: Annotated[str, one_of(Destination)]
    status: MessageStatus
    oldest: datetime
    newest: datetime


class Replayed(Struct, omit_defaults=True):
    """`kept`: which messages there are, if none matched."""

    replayed: int
    kept: list[KeptOutboxMessages] | UnsetType = UNSET


_DESTINATION = member_of(Destination, "Only messages to this destination.", "Must be {}")


def _since(name: str, text: str) -> datetime:
    try:
        return entered_instant(datetime.fromisoformat(text), name)
    except ValueError:
        raise Invalid({name: "Must be a time such as 2026-11-20T10:00:00Z"}) from None


def _message_id(_name: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise MessageNotFound from None


MessageIdInPath = Annotated[UUID, Converter("The message's id.", UUID_SCHEMA, _message_id, raises=MessageNotFound)]
MessageStatusFilter = Annotated[
    MessageStatus | None, member_of(MessageStatus, "Only messages with this status.", "Must be {}")
]
DestinationFilter = Annotated[Destination | None, _DESTINATION]
Since = Annotated[
    datetime | None,
    Converter(
        "Only messages since this time; a time without an offset is UTC.",
        {"type": "string", "format": "date-time"},
        _since,
    ),
]


@get("/admin/outbox", operation_id="listOutbox", tags=TAGS, guards=[admins.with_scope(Scope.ADMIN_READ)])
async def list_outbox(
    request: Request[Any, Any, Any],
    dead_letters: Inject[DeadLetters],
    status: FromQuery[MessageStatusFilter] = None,
    destination: FromQuery[DestinationFilter] = None,
    since: FromQuery[Since] = None,
    limit: FromQuery[PageSize] = DEFAULT_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[OutboxList]:
    """Messages of the outbox, newest first. Messages that could not be delivered have the status `dead`."""
    wanted = MessageFilter(status, destination, since)
    page = await dead_letters.list(wanted, PageRequest(limit, cursor))
    return object_page(request, OutboxList([OutboxMessage(**_fields(message)) for message in page.items], page.next))


@get(
    "/admin/outbox/{message_id:str}",
    operation_id="getOutboxMessage",
    tags=TAGS,
    guards=[admins.with_scope(Scope.ADMIN_READ)],
)
async def show_outbox_message(
    message_id: FromPath[MessageIdInPath], dead_letters: Inject[DeadLetters]
) -> OpenedMessage:
    """One message with each delivery attempt and its payload (`snapshot`), as of the time of the change."""
    opened = await dead_letters.show(message_id)
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
    guards=[admins.with_scope(Scope.ADMIN_WRITE)],
)
async def replay_outbox_message(
    message_id: FromPath[MessageIdInPath], replay_message: Inject[ReplayMessage]
) -> Replayed:
    await replay_message(message_id)
    return Replayed(1)


@post(
    "/admin/outbox/replay",
    operation_id="replayOutbox",
    tags=TAGS,
    status_code=200,
    guards=[admins.with_scope(Scope.ADMIN_WRITE)],
)
async def replay_outbox(data: JSONBody[ReplayOrder], replay_messages: Inject[ReplayMessages]) -> Replayed:
    """Sends messages again that could not be delivered. With the destination `crm` and a time (`since`) it also sends
    those again that were delivered since then, with the same ids, in order, 100 a second and at most 20,000. If no
    message matches, `kept` shows which destinations and statuses have messages, by the times when they happened."""
    destination = None if data.destination is None else _DESTINATION.convert("destination", data.destination)
    since = None if data.since is None else _since("since", data.since)
    replay = await replay_messages(destination=destination, since=since)
    if replay.messages:
        return Replayed(replay.messages)
    kept = [KeptOutboxMessages(each.destination, each.status, each.oldest, each.newest) for each in replay.kept]
    return Replayed(0, kept)


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
