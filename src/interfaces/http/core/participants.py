"""What facilitators do for the participants of their events: beside contract B, with its errors."""

from litestar import post
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from application.accounts import Actor
from application.bookings import CancelParticipant
from application.participants import WriteToParticipants
from domain.bookings import BookingId, BookingNotFound
from domain.events import EventId, EventNotFound
from interfaces.http.actor import facilitators
from interfaces.http.core.bookings import BookingCancelled, refund_body
from interfaces.http.core.facilitator import TAGS
from interfaces.http.injection import Given
from interfaces.http.schemas import path_id


class MessageToParticipants(Struct):
    """`subject`: one line of at most 200 characters. `text`: at most 5,000 characters, with line breaks."""

    subject: str
    text: str


class MessageAccepted(Struct):
    """`recipients`: how many people receive a mail."""

    message: str
    recipients: int


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


@post(
    "/facilitator/events/{event_id:str}/messages",
    operation_id="writeToParticipants",
    tags=TAGS,
    status_code=202,
    guards=[facilitators],
)
async def write_to_participants_of_event(
    event_id: FromPath[str],
    data: JSONBody[MessageToParticipants],
    actor: Given[Actor],
    write_to_participants: Given[WriteToParticipants],
) -> MessageAccepted:
    wanted = EventId(path_id(event_id, EventNotFound))
    recipients = await write_to_participants(actor.user, wanted, subject=data.subject, text=data.text)
    return MessageAccepted("Message accepted for delivery", recipients)


ROUTES = [cancel_booking_of_participant, write_to_participants_of_event]
