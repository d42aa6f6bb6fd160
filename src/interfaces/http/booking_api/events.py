"""Contract B 6 to 10: events."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import UNSET, Struct, UnsetType

from application.accounts.sessions import Actor
from application.events.management import CreateEvent, DeleteEvent, UpdateEvent
from application.events.ports import EventFilter, EventQueries, EventView
from application.events.queries import ShowEvent
from application.ports import MAX_PAGE, Clock, PageRequest
from domain.accounts import User, UserId
from domain.api_keys import Scope
from domain.errors import Invalid
from domain.events import EventDetails, EventStatus, EventType
from domain.money import Money
from domain.refunds import RefundPolicy
from domain.reviews import BEST_RATING
from domain.time import Interval
from interfaces.http.authentication import Viewer, event_creators, facilitators, public_with
from interfaces.http.injection import Inject
from interfaces.http.parameters import ID_SCHEMA, Converter, Cursor, EventIdInPath, PageSize, SearchText, flag, positive
from interfaces.http.schemas import (
    DefaultCurrency,
    Done,
    EnteredEventType,
    event_type,
    kept,
    number,
    object_page,
    whole_seconds,
)

TAGS = ["Contract B: events"]

_RATING = re.compile(r"[0-9](?:\.[0-9]{1,4})?", re.ASCII)


class FacilitatorBody(Struct):
    """`email` is `null` where the operator keeps it private (`FACILITATOR_EMAIL_PUBLIC=false`)."""

    id: int
    uuid: UUID
    name: str
    email: str | None


class EventBody(Struct):
    """`virtual_link` is for the facilitator, admins and people whose booking is paid or free; `null` for all others."""

    id: int
    title: str
    description: str
    event_type: EventType
    category: str | None
    start_datetime: datetime
    end_datetime: datetime
    location: str | None
    virtual_link: str | None
    max_participants: int
    current_participants: int
    price: float
    currency: str
    is_active: bool
    rating: float | None
    facilitator: FacilitatorBody
    created_at: datetime


class EventList(Struct):
    events: list[EventBody]
    next_cursor: str | None


class RefundTierBody(Struct):
    """A cancellation at least `hours_before` hours before the start refunds `percent` of the amount paid."""

    hours_before: int
    percent: int


class NewEvent(Struct):
    title: str
    start_datetime: datetime
    end_datetime: datetime
    max_participants: int
    description: str = ""
    event_type: EnteredEventType = "session"
    category: str | None = None
    location: str | None = None
    virtual_link: str | None = None
    price: Decimal = Decimal(0)
    currency: str | None = None
    refund_policy: list[RefundTierBody] | None = None


class EventChange(Struct):
    """Omitted fields keep their values; `null` removes the value of an optional field."""

    title: str | UnsetType = UNSET
    start_datetime: datetime | UnsetType = UNSET
    end_datetime: datetime | UnsetType = UNSET
    max_participants: int | UnsetType = UNSET
    description: str | UnsetType = UNSET
    event_type: EnteredEventType | UnsetType = UNSET
    category: str | None | UnsetType = UNSET
    location: str | None | UnsetType = UNSET
    virtual_link: str | None | UnsetType = UNSET
    price: Decimal | UnsetType = UNSET
    currency: str | UnsetType = UNSET
    refund_policy: list[RefundTierBody] | UnsetType = UNSET


class EventAnswer(Struct):
    message: str
    event: EventBody


def _rating(name: str, text: str) -> Decimal:
    if not _RATING.fullmatch(text) or Decimal(text) > BEST_RATING:
        raise Invalid({name: f"Must be a number from 0 to {BEST_RATING}"})
    return Decimal(text)


EventKind = Annotated[
    str | None,
    QueryParameter(name="type"),
    Converter(
        "Only events of this type (`session`, `workshop`, `retreat`) or category, ignoring case.", {"type": "string"}
    ),
]
FacilitatorFilter = Annotated[
    UserId | None, Converter("Only events of this facilitator: their user id.", ID_SCHEMA, positive)
]
ActiveFilter = Annotated[
    bool | None,
    Converter(
        "`true`: only events that take place; `false`: only cancelled ones. Past events are included either way.",
        {"type": "boolean"},
        flag,
    ),
]
LeastRating = Annotated[
    Decimal | None,
    Converter(
        "Only events whose facilitator is rated at least this well.",
        {"type": "number", "minimum": 0, "maximum": BEST_RATING},
        _rating,
    ),
]


@get("/events", operation_id="listEvents", tags=TAGS, opt=public_with(Scope.EVENTS_READ))
async def list_events(
    request: Request[Any, Any, Any],
    event_queries: Inject[EventQueries],
    clock: Inject[Clock],
    viewer: Inject[Viewer],
    type_: EventKind = None,
    facilitator_id: FromQuery[FacilitatorFilter] = None,
    active: FromQuery[ActiveFilter] = None,
    q: FromQuery[SearchText] = None,
    limit: FromQuery[PageSize] = MAX_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[EventList]:
    """Events by start time: those that can be booked; with `active`, those that are (not) cancelled."""
    filters = EventFilter(kind=type_, facilitator_id=facilitator_id, active=active, text=q)
    page = await event_queries.list(filters, PageRequest(limit, cursor), clock.now(), viewer=viewer.id)
    return object_page(request, EventList([event_body(event, viewer.user) for event in page.items], page.next))


@get("/events/filter", operation_id="filterEvents", tags=["Contract D: events"], opt=public_with(Scope.EVENTS_READ))
async def filter_events(
    request: Request[Any, Any, Any],
    event_queries: Inject[EventQueries],
    clock: Inject[Clock],
    viewer: Inject[Viewer],
    type_: EventKind = None,
    rating: FromQuery[LeastRating] = None,
    q: FromQuery[SearchText] = None,
    limit: FromQuery[PageSize] = MAX_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[EventList]:
    """Events that can be booked, by type or category and by the facilitator's minimum rating. A facilitator without
    reviews has no rating, so a filter by rating excludes their events."""
    filters = EventFilter(kind=type_, least_rating=rating, text=q)
    page = await event_queries.list(filters, PageRequest(limit, cursor), clock.now(), viewer=viewer.id)
    return object_page(request, EventList([event_body(event, viewer.user) for event in page.items], page.next))


@get("/events/{event_id:str}", operation_id="getEvent", tags=TAGS, opt=public_with(Scope.EVENTS_READ))
async def show_one_event(
    event_id: FromPath[EventIdInPath], show_event: Inject[ShowEvent], viewer: Inject[Viewer]
) -> EventBody:
    """One event."""
    return event_body(await show_event(event_id, viewer.user), viewer.user)


@post("/events", operation_id="createEvent", tags=TAGS, guards=[event_creators.with_scope(Scope.EVENTS_WRITE)])
async def add_event(
    data: JSONBody[NewEvent],
    actor: Inject[Actor],
    create_event: Inject[CreateEvent],
    default_currency: Inject[DefaultCurrency],
) -> EventAnswer:
    details = EventDetails(
        title=data.title,
        interval=Interval(data.start_datetime, data.end_datetime),
        capacity=data.max_participants,
        price=Money(data.price, data.currency or default_currency),
        event_type=event_type("event_type", data.event_type),
        description=data.description,
        category=data.category,
        location=data.location,
        virtual_link=data.virtual_link,
        refund_policy=RefundPolicy() if data.refund_policy is None else _policy(data.refund_policy),
    )
    return EventAnswer("Event created successfully", event_body(await create_event(actor.user, details), actor.user))


@put(
    "/events/{event_id:str}",
    operation_id="updateEvent",
    tags=TAGS,
    guards=[facilitators.with_scope(Scope.EVENTS_WRITE)],
)
async def change_event(
    event_id: FromPath[EventIdInPath],
    data: JSONBody[EventChange],
    actor: Inject[Actor],
    update_event: Inject[UpdateEvent],
) -> EventAnswer:
    event = await update_event(actor.user, event_id, lambda details: _changed(details, data))
    return EventAnswer("Event updated successfully", event_body(event, actor.user))


@delete(
    "/events/{event_id:str}",
    operation_id="deleteEvent",
    tags=TAGS,
    status_code=200,
    guards=[facilitators.with_scope(Scope.EVENTS_WRITE)],
)
async def remove_event(
    event_id: FromPath[EventIdInPath], actor: Inject[Actor], delete_event: Inject[DeleteEvent]
) -> Done:
    await delete_event(actor.user, event_id)
    return Done("Event deleted successfully")


ROUTES = [list_events, filter_events, show_one_event, add_event, change_event, remove_event]


def event_body(event: EventView, viewer: User | None) -> EventBody:
    return EventBody(
        id=event.id,
        title=event.title,
        description=event.description,
        event_type=event.event_type,
        category=event.category,
        start_datetime=whole_seconds(event.starts_at),
        end_datetime=whole_seconds(event.ends_at),
        location=event.location,
        virtual_link=event.join_link(viewer),
        max_participants=event.capacity,
        current_participants=event.booked,
        price=number(event.price, event.currency),
        currency=event.currency,
        is_active=event.status is EventStatus.ACTIVE,
        rating=round(event.rating, 2) if event.rating is not None else None,
        facilitator=FacilitatorBody(
            event.facilitator_id, event.facilitator_uuid, event.facilitator_name, event.facilitator_email
        ),
        created_at=whole_seconds(event.created_at),
    )


def _policy(tiers: list[RefundTierBody]) -> RefundPolicy:
    return RefundPolicy.of((tier.hours_before, tier.percent) for tier in tiers)


def _changed(details: EventDetails, change: EventChange) -> EventDetails:
    price = kept(change.price, details.price.amount)
    return EventDetails(
        title=kept(change.title, details.title),
        interval=Interval(
            kept(change.start_datetime, details.interval.starts_at), kept(change.end_datetime, details.interval.ends_at)
        ),
        capacity=kept(change.max_participants, details.capacity),
        price=Money(price, kept(change.currency, details.price.currency)),
        event_type=details.event_type if change.event_type is UNSET else event_type("event_type", change.event_type),
        description=kept(change.description, details.description),
        category=kept(change.category, details.category),
        location=kept(change.location, details.location),
        virtual_link=kept(change.virtual_link, details.virtual_link),
        refund_policy=details.refund_policy if change.refund_policy is UNSET else _policy(change.refund_policy),
    )
