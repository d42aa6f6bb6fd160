"""Contract A: events."""

from datetime import datetime, timedelta
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from application.events.ports import EventFilter, EventQueries, EventView
from application.events.queries import ShowEvent
from application.ports import MAX_PAGE, Clock, PageRequest
from domain.api_keys import Scope
from domain.events import EventType
from interfaces.http.authentication import signed_in
from interfaces.http.injection import Inject
from interfaces.http.parameters import Cursor, EventIdInPath, PageSize, SearchText
from interfaces.http.schemas import array_page, number, whole_seconds

TAGS = ["Contract A: events"]


class EventBody(Struct):
    """`duration` is in whole minutes."""

    id: int
    title: str
    description: str
    event_type: EventType
    date_time: datetime
    duration: int
    max_participants: int
    price: float
    currency: str
    facilitator: str
    facilitator_id: int
    available_spots: int


@get("/api/events", operation_id="listEventsOfA", tags=TAGS, guards=[signed_in.with_scope(Scope.EVENTS_READ)])
async def list_events(
    request: Request[Any, Any, Any],
    event_queries: Inject[EventQueries],
    clock: Inject[Clock],
    q: FromQuery[SearchText] = None,
    limit: FromQuery[PageSize] = MAX_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[list[EventBody]]:
    """Events that can be booked, by start time."""
    page = await event_queries.list(EventFilter(text=q), PageRequest(limit, cursor), clock.now())
    return array_page(request, page, _event)


@get(
    "/api/events/{event_id:str}",
    operation_id="getEventOfA",
    tags=TAGS,
    guards=[signed_in.with_scope(Scope.EVENTS_READ)],
)
async def show_one_event(event_id: FromPath[EventIdInPath], show_event: Inject[ShowEvent]) -> EventBody:
    """One event."""
    return _event(await show_event(event_id))


ROUTES = [list_events, show_one_event]


def _event(event: EventView) -> EventBody:
    return EventBody(
        id=event.id,
        title=event.title,
        description=event.description,
        event_type=event.event_type,
        date_time=whole_seconds(event.starts_at),
        duration=(event.ends_at - event.starts_at) // timedelta(minutes=1),
        max_participants=event.capacity,
        price=number(event.price, event.currency),
        currency=event.currency,
        facilitator=event.facilitator_name,
        facilitator_id=event.facilitator_id,
        available_spots=event.available,
    )
