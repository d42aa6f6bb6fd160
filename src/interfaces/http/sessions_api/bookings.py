"""Contract C: bookings of the current user. `POST /api/bookings` is in `interfaces.http.shared_booking_route`."""

from datetime import datetime
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromQuery
from msgspec import Struct

from application.accounts.sessions import Actor
from application.bookings.ports import BookingFilter, BookingQueries, BookingView
from application.ports import MAX_PAGE, PageRequest
from domain.api_keys import Scope
from domain.bookings import BookingStatus
from interfaces.http.authentication import signed_in
from interfaces.http.injection import Inject
from interfaces.http.parameters import Cursor, PageSize
from interfaces.http.schemas import array_page, whole_seconds

TAGS = ["Contract C: bookings"]


class SessionBrief(Struct):
    id: int
    title: str
    start_time: datetime
    end_time: datetime
    facilitator: str


class BookingBody(Struct):
    id: int
    session: SessionBrief
    booking_status: BookingStatus
    booking_date: datetime
    notes: str | None


@get("/api/bookings/my", operation_id="listBookingsOfC", tags=TAGS, guards=[signed_in.with_scope(Scope.BOOKINGS_READ)])
async def list_own_bookings(
    request: Request[Any, Any, Any],
    actor: Inject[Actor],
    booking_queries: Inject[BookingQueries],
    limit: FromQuery[PageSize] = MAX_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[list[BookingBody]]:
    """The bookings of the calling account, newest first."""
    page = await booking_queries.list_of_user(actor.user.id, BookingFilter(), PageRequest(limit, cursor))
    return array_page(request, page, _booking)


ROUTES = [list_own_bookings]


def _booking(booking: BookingView) -> BookingBody:
    event = booking.event
    return BookingBody(
        id=booking.id,
        session=SessionBrief(
            id=event.id,
            title=event.title,
            start_time=whole_seconds(event.starts_at),
            end_time=whole_seconds(event.ends_at),
            facilitator=event.facilitator_name,
        ),
        booking_status=booking.status,
        booking_date=whole_seconds(booking.created_at),
        notes=booking.notes,
    )
