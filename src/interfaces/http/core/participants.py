"""What facilitators do for the participants of their events: beside contract B, with its errors."""

from litestar import post
from litestar.params import FromPath

from application.accounts import Actor
from application.bookings import CancelParticipant
from domain.bookings import BookingId, BookingNotFound
from interfaces.http.actor import facilitators
from interfaces.http.core.bookings import BookingCancelled, refund_body
from interfaces.http.core.facilitator import TAGS
from interfaces.http.injection import Given
from interfaces.http.schemas import path_id


@post(
    "/facilitator/bookings/{booking_id:str}/cancel",
    operation_id="cancelParticipant",
    tags=TAGS,
    status_code=200,
    guards=[facilitators],
)
async def cancel_booking_of_participant(
    booking_id: FromPath[str], actor: Given[Actor], cancel_participant: Given[CancelParticipant]
) -> BookingCancelled:
    refund = await cancel_participant(actor.user, BookingId(path_id(booking_id, BookingNotFound)))
    return BookingCancelled("Booking cancelled successfully", refund_body(refund) if refund else None)


ROUTES = [cancel_booking_of_participant]
