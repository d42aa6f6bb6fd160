"""Contract C: sessions. The other contracts call them events."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from litestar import Request, Response, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET, Struct, UnsetType

from application.accounts.sessions import Actor
from application.events.management import CancelEvent, CreateEvent, UpdateEvent
from application.events.ports import EventFilter, EventQueries, EventView
from application.ports import MAX_PAGE, Clock, PageRequest
from domain.api_keys import Scope
from domain.events import EventDetails, EventType
from domain.money import Money
from domain.time import Interval
from interfaces.http.authentication import facilitators, profiled_facilitators, signed_in
from interfaces.http.injection import Inject
from interfaces.http.parameters import Cursor, PageSize, SearchText, SessionIdInPath
from interfaces.http.schemas import (
    DefaultCurrency,
    Done,
    EnteredEventType,
    array_page,
    event_type,
    kept,
    number,
    whole_seconds,
)

TAGS = ["Contract C: events"]


class SessionBody(Struct):
    id: int
    title: str
    description: str
    facilitator: str
    facilitator_id: int
    session_type: EventType
    start_time: datetime
    end_time: datetime
    capacity: int
    price: float
    currency: str
    available_spots: int


class NewSession(Struct):
    title: str
    start_time: datetime
    end_time: datetime
    description: str | None = None
    session_type: EnteredEventType = "session"
    capacity: int = 1
    price: Decimal = Decimal(0)
    currency: str | None = None


class SessionChange(Struct):
    """Omitted fields keep their values."""

    title: str | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    session_type: EnteredEventType | UnsetType = UNSET
    start_time: datetime | UnsetType = UNSET
    end_time: datetime | UnsetType = UNSET
    capacity: int | UnsetType = UNSET
    price: Decimal | UnsetType = UNSET
    currency: str | UnsetType = UNSET


class SessionCreated(Struct):
    message: str
    session_id: int


@get("/api/sessions", operation_id="listSessions", tags=TAGS, guards=[signed_in.with_scope(Scope.EVENTS_READ)])
async def list_sessions(
    request: Request[Any, Any, Any],
    event_queries: Inject[EventQueries],
    clock: Inject[Clock],
    q: FromQuery[SearchText] = None,
    limit: FromQuery[PageSize] = MAX_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[list[SessionBody]]:
    """Active sessions that have not ended, by start time."""
    page = await event_queries.list(EventFilter(text=q), PageRequest(limit, cursor), clock.now())
    return array_page(request, page, _session)


@post(
    "/api/sessions",
    operation_id="createSession",
    tags=TAGS,
    guards=[profiled_facilitators.with_scope(Scope.EVENTS_WRITE)],
)
async def add_session(
    data: JSONBody[NewSession],
    actor: Inject[Actor],
    create_event: Inject[CreateEvent],
    default_currency: Inject[DefaultCurrency],
) -> SessionCreated:
    details = EventDetails(
        title=data.title,
        description=data.description or "",
        event_type=event_type("session_type", data.session_type),
        interval=Interval(data.start_time, data.end_time),
        capacity=data.capacity,
        price=Money(data.price, data.currency or default_currency),
    )
    return SessionCreated("Session created successfully", (await create_event(actor.user, details)).id)


@put(
    "/api/sessions/{session_id:str}",
    operation_id="updateSession",
    tags=TAGS,
    guards=[facilitators.with_scope(Scope.EVENTS_WRITE)],
)
async def change_session(
    session_id: FromPath[SessionIdInPath],
    data: JSONBody[SessionChange],
    actor: Inject[Actor],
    update_event: Inject[UpdateEvent],
) -> Done:
    await update_event(actor.user, session_id, lambda details: _changed(details, data))
    return Done("Session updated successfully")


@post(
    "/api/sessions/{session_id:str}/cancel",
    operation_id="cancelSession",
    tags=TAGS,
    status_code=200,
    guards=[facilitators.with_scope(Scope.EVENTS_WRITE)],
)
async def cancel_session(
    session_id: FromPath[SessionIdInPath], actor: Inject[Actor], cancel_event: Inject[CancelEvent]
) -> Done:
    await cancel_event(actor.user, session_id)
    return Done("Session cancelled successfully")


ROUTES = [list_sessions, add_session, change_session, cancel_session]


def _session(event: EventView) -> SessionBody:
    return SessionBody(
        id=event.id,
        title=event.title,
        description=event.description,
        facilitator=event.facilitator_name,
        facilitator_id=event.facilitator_id,
        session_type=event.event_type,
        start_time=whole_seconds(event.starts_at),
        end_time=whole_seconds(event.ends_at),
        capacity=event.capacity,
        price=number(event.price, event.currency),
        currency=event.currency,
        available_spots=event.available,
    )


def _changed(details: EventDetails, change: SessionChange) -> EventDetails:
    return replace(
        details,
        title=kept(change.title, details.title),
        description=kept(change.description, details.description) or "",
        event_type=event_type("session_type", kept(change.session_type, details.event_type)),
        interval=Interval(
            kept(change.start_time, details.interval.starts_at), kept(change.end_time, details.interval.ends_at)
        ),
        capacity=kept(change.capacity, details.capacity),
        price=Money(kept(change.price, details.price.amount), kept(change.currency, details.price.currency)),
    )
