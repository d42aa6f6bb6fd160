"""Contract B 17 to 19 and contract D: events and bookings of a facilitator."""

from datetime import datetime
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from application.accounts.sessions import Actor
from application.bookings.ports import BookingView
from application.events.management import CancelEvent, CancelledEvent
from application.events.ports import EventQueries
from application.events.queries import EventBookings
from application.ports import MAX_PAGE, PageRequest
from domain.api_keys import Scope
from domain.bookings import BookingStatus
from domain.disputes import DisputeStatus
from domain.payments import PaymentStatus
from interfaces.http.authentication import facilitators
from interfaces.http.booking_api.events import EventList, event_body
from interfaces.http.injection import Inject
from interfaces.http.parameters import Cursor, EventIdInPath, PageSize
from interfaces.http.schemas import number, object_page, whole_seconds

TAGS = ["Contract B: facilitators"]
TAGS_OF_D = ["Contract D: facilitators"]


class EventCount(Struct):
    id: int
    title: str
    max_participants: int
    current_participants: int


class Attendee(Struct):
    id: int
    name: str
    email: str
    phone: str | None


class AttendeeBooking(Struct):
    id: int
    booking_reference: str
    status: BookingStatus
    payment_status: PaymentStatus
    dispute: DisputeStatus | None
    price: float
    currency: str
    facilitator_id: int
    notes: str | None
    user: Attendee
    created_at: datetime


class BookingsOfEvent(Struct):
    event: EventCount
    bookings: list[AttendeeBooking]
    next_cursor: str | None


class Registrations(Struct):
    event_id: int
    title: str
    registrations: list[AttendeeBooking]
    next_cursor: str | None


class EventCancelled(Struct):
    message: str
    refunds_processed: int
    total_refund_amount: float


@get(
    "/facilitator/events",
    operation_id="listFacilitatorEvents",
    tags=TAGS,
    guards=[facilitators.with_scope(Scope.EVENTS_READ)],
)
async def list_own_events(
    request: Request[Any, Any, Any],
    actor: Inject[Actor],
    event_queries: Inject[EventQueries],
    limit: FromQuery[PageSize] = MAX_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[EventList]:
    """All events of the calling facilitator, including cancelled and past ones, latest start first."""
    page = await event_queries.list_of_facilitator(actor.user.id, PageRequest(limit, cursor))
    return object_page(request, EventList([event_body(event, actor.user) for event in page.items], page.next))


@get(
    "/facilitator/events/{event_id:str}/bookings",
    operation_id="listEventBookings",
    tags=TAGS,
    guards=[facilitators.with_scope(Scope.BOOKINGS_READ)],
)
async def list_event_bookings(
    request: Request[Any, Any, Any],
    event_id: FromPath[EventIdInPath],
    actor: Inject[Actor],
    event_bookings: Inject[EventBookings],
    limit: FromQuery[PageSize] = MAX_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[BookingsOfEvent]:
    event, page = await event_bookings(actor.user, event_id, PageRequest(limit, cursor))
    return object_page(
        request,
        BookingsOfEvent(
            EventCount(event.id, event.title, event.capacity, event.booked),
            [_booking(booking) for booking in page.items],
            page.next,
        ),
    )


@post(
    "/facilitator/events/{event_id:str}/cancel",
    operation_id="cancelEvent",
    tags=TAGS,
    status_code=200,
    guards=[facilitators.with_scope(Scope.EVENTS_WRITE)],
)
async def cancel_own_event(
    event_id: FromPath[EventIdInPath], actor: Inject[Actor], cancel_event: Inject[CancelEvent]
) -> EventCancelled:
    return _cancelled(await cancel_event(actor.user, event_id))


@get(
    "/facilitator/registrations/{event_id:str}",
    operation_id="listRegistrations",
    tags=TAGS_OF_D,
    guards=[facilitators.with_scope(Scope.BOOKINGS_READ)],
)
async def list_registrations(
    request: Request[Any, Any, Any],
    event_id: FromPath[EventIdInPath],
    actor: Inject[Actor],
    event_bookings: Inject[EventBookings],
    limit: FromQuery[PageSize] = MAX_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[Registrations]:
    """Contract D's path for the bookings of an event of the calling facilitator."""
    event, page = await event_bookings(actor.user, event_id, PageRequest(limit, cursor))
    return object_page(
        request, Registrations(event.id, event.title, [_booking(booking) for booking in page.items], page.next)
    )


@post(
    "/facilitator/cancel/{event_id:str}",
    operation_id="cancelEventOfD",
    tags=TAGS_OF_D,
    status_code=200,
    guards=[facilitators.with_scope(Scope.EVENTS_WRITE)],
)
async def cancel_event_of_d(
    event_id: FromPath[EventIdInPath], actor: Inject[Actor], cancel_event: Inject[CancelEvent]
) -> EventCancelled:
    """Contract D's path for cancelling an event of the calling facilitator."""
    return _cancelled(await cancel_event(actor.user, event_id))


ROUTES = [list_own_events, list_event_bookings, cancel_own_event, list_registrations, cancel_event_of_d]


def _cancelled(cancelled: CancelledEvent) -> EventCancelled:
    total = cancelled.total
    return EventCancelled("Event cancelled successfully", cancelled.refunds, number(total.amount, total.currency))


def _booking(booking: BookingView) -> AttendeeBooking:
    return AttendeeBooking(
        id=booking.id,
        booking_reference=booking.reference,
        status=booking.status,
        payment_status=booking.payment_status,
        dispute=booking.dispute,
        price=number(booking.price.amount, booking.price.currency),
        currency=booking.price.currency,
        facilitator_id=booking.event.facilitator_id,
        notes=booking.notes,
        user=Attendee(booking.user_id, booking.user_name, booking.user_email, booking.user_phone),
        created_at=whole_seconds(booking.created_at),
    )
