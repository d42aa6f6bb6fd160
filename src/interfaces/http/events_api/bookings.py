"""Contract A: bookings of the current user. `POST /api/bookings` is in `interfaces.http.shared_booking_route`."""

from datetime import datetime
from typing import Any

from litestar import Request, Response, delete, get
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from application.accounts.sessions import Actor
from application.bookings.cancellation import CancelBooking
from application.bookings.ports import BookingFilter, BookingQueries, BookingView
from application.ports import MAX_PAGE, Clock, PageRequest
from domain.api_keys import Scope
from domain.bookings import BookingStatus
from domain.events import EventType
from interfaces.http.authentication import signed_in
from interfaces.http.injection import Inject
from interfaces.http.parameters import BookingIdInPath, Cursor, PageSize
from interfaces.http.schemas import array_page, whole_seconds

TAGS = ["Contract A: bookings"]


class EventBrief(Struct):
    id: int
    title: str
    date_time: datetime
    event_type: EventType


class BookingBody(Struct):
    """`is_upcoming`: whether the event is still to come, also for a cancelled booking."""

    id: int
    event: EventBrief
    booking_date: datetime
    status: BookingStatus
    is_upcoming: bool


class BookingCancelled(Struct):
    message: str


@get("/api/my-bookings", operation_id="listBookingsOfA", tags=TAGS, guards=[signed_in.with_scope(Scope.BOOKINGS_READ)])
async def list_own_bookings(
    request: Request[Any, Any, Any],
    actor: Inject[Actor],
    booking_queries: Inject[BookingQueries],
    clock: Inject[Clock],
    limit: FromQuery[PageSize] = MAX_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[list[BookingBody]]:
    """The bookings of the calling account, newest first."""
    now = clock.now()
    page = await booking_queries.list_of_user(actor.user.id, BookingFilter(), PageRequest(limit, cursor))
    return array_page(request, page, lambda booking: _booking(booking, now))


@delete(
    "/api/bookings/{booking_id:str}",
    operation_id="cancelBookingOfA",
    tags=TAGS,
    status_code=200,
    guards=[signed_in.with_scope(Scope.BOOKINGS_WRITE)],
)
async def cancel_own_booking(
    booking_id: FromPath[BookingIdInPath], actor: Inject[Actor], cancel_booking: Inject[CancelBooking]
) -> BookingCancelled:
    await cancel_booking(actor.user, booking_id)
    return BookingCancelled("Booking cancelled successfully")


ROUTES = [list_own_bookings, cancel_own_booking]


def _booking(booking: BookingView, now: datetime) -> BookingBody:
    event = booking.event
    return BookingBody(
        id=booking.id,
        event=EventBrief(event.id, event.title, whole_seconds(event.starts_at), event.event_type),
        booking_date=whole_seconds(booking.created_at),
        status=booking.status,
        is_upcoming=event.starts_at > now,
    )
