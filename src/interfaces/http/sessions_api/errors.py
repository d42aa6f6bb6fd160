"""Contract C's errors: `{"error": "<message>"}`. Messages call an event a session."""

from domain.accounts import EmailTaken
from domain.bookings import BookingOver
from domain.events import (
    AlreadyBooked,
    EventCancelled,
    EventForbidden,
    EventFull,
    EventNotFound,
    EventStarted,
)
from interfaces.http.errors import MISSING_FIELD, Body, ErrorResponse

MESSAGES = {
    EmailTaken.code: "Email already registered",
    EventNotFound.code: "Session not found",
    EventForbidden.code: "Unauthorized",
    EventFull.code: "Session is fully booked",
    AlreadyBooked.code: "You have already booked this session",
    EventCancelled.code: "Session is cancelled",
    EventStarted.code: "Session has already started",
    BookingOver.code: "The session has already started",
}
BOOKING_MESSAGES = {EventCancelled.code: "Session not available", EventStarted.code: "Session not available"}
MISSING_FIELDS = "Missing required fields"

FIELDS = {
    "event_type": "session_type",
    "start_datetime": "start_time",
    "end_datetime": "end_time",
    "max_participants": "capacity",
}
"""Contract C's names of fields, by the domain's names, where they differ."""


def contract_c_format(response: ErrorResponse) -> Body:
    body: Body = {"error": MESSAGES.get(response.code, response.message)}
    if response.details:
        if set(response.details.values()) == {MISSING_FIELD}:
            body["error"] = MISSING_FIELDS
        body["details"] = {FIELDS.get(field, field): why for field, why in response.details.items()}
    return body


def booking_error_format(response: ErrorResponse) -> Body:
    """For `POST /api/bookings`: with contract A's field `message` as well."""
    body = contract_c_format(response)
    message = BOOKING_MESSAGES.get(response.code, body["error"])
    return body | {"error": message, "message": message}
