"""`POST /api/bookings` of contracts A and C: the body decides between them.

Until the body is read, errors have contract A's format, whose two fields satisfy both.
"""

from typing import Any

from litestar import Request, Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from msgspec import Struct

from application.accounts.sessions import Actor
from application.bookings.reservation import BookSeat
from domain.api_keys import Scope
from domain.errors import Invalid
from domain.events import EventId
from interfaces.http.authentication import signed_in
from interfaces.http.errors import MISSING_FIELD, answer_errors_in
from interfaces.http.injection import Inject
from interfaces.http.schemas import BodyId, require_one_seat
from interfaces.http.sessions_api.errors import booking_error_format
from servicekit.json_responses import JsonResponse


class BookingRequest(Struct):
    """Contract A gives `event_id`, contract C `session_id`; one of the two. `return_url`: where the buyer goes after
    paying, as in `POST /bookings`."""

    event_id: BodyId | None = None
    session_id: BodyId | None = None
    notes: str | None = None
    quantity: int | None = None
    return_url: str | None = None


class Booked(Struct):
    message: str
    booking_id: int


@post(
    "/api/bookings",
    operation_id="createBookingOfAOrC",
    tags=["Contracts A and C: bookings"],
    guards=[signed_in.with_scope(Scope.BOOKINGS_WRITE)],
    responses={200: ResponseSpec(Booked, generate_examples=False)},
    opt={"error_formats": [booking_error_format]},
)
async def book(
    data: JSONBody[BookingRequest], request: Request[Any, Any, Any], actor: Inject[Actor], book_seat: Inject[BookSeat]
) -> Response[Booked]:
    """With `event_id` (contract A) the answer is 200, with `session_id` (contract C) 201; both name an event."""
    match data:
        case BookingRequest(event_id=int() as event_id, session_id=None):
            status, message = 200, "Booking confirmed successfully"
        case BookingRequest(event_id=None, session_id=int() as event_id):
            answer_errors_in(booking_error_format, request)
            status, message = 201, "Booking created successfully"
        case BookingRequest(event_id=None):
            raise Invalid({"event_id": MISSING_FIELD})
        case _:
            raise Invalid({"event_id": "Must not be given together with session_id"})
    require_one_seat(data.quantity)
    new = await book_seat(actor.user, EventId(event_id), data.notes, return_url=data.return_url)
    return JsonResponse(Booked(message, new.reserved.id), status_code=status)


ROUTES = [book]
