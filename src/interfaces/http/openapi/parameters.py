"""Parameters by name. Handlers accept text and raise the contract's errors; these schemas describe the valid text."""

from collections.abc import Mapping
from typing import Any

from application.ports import DEFAULT_PAGE, MAX_PAGE
from domain.appointments import AppointmentStatus
from domain.bookings import BookingStatus
from domain.calendars import Provider
from domain.outbox import Destination, MessageStatus
from domain.payments import PaymentStatus
from domain.reviews import BEST_RATING
from interfaces.http.idempotency import HEADER
from interfaces.http.openapi.operations import is_of_appointments
from interfaces.http.schemas import LONGEST_SEARCH

_ID = {"type": "integer", "format": "int64", "minimum": 1}

PARAMETERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "event_id": ("The event's id.", _ID),
    "session_id": ("The session's id.", _ID),
    "booking_id": ("The booking's id.", _ID),
    "facilitator_id": ("Only events of this facilitator: their user id.", _ID),
    "type": (
        "Only events of this type (`session`, `workshop`, `retreat`) or category, ignoring case.",
        {"type": "string"},
    ),
    "active": (
        "`true`: only events that take place; `false`: only cancelled ones. Past events are included either way.",
        {"type": "boolean"},
    ),
    "q": (
        "Only events with all of these words, or words that begin so, in the title, the description, the category or"
        " the facilitator's name, ignoring case.",
        {"type": "string", "maxLength": LONGEST_SEARCH},
    ),
    "rating": (
        "Only events whose facilitator is rated at least this well.",
        {"type": "number", "minimum": 0, "maximum": BEST_RATING},
    ),
    "invitation_id": ("The invitation's id.", {"type": "string", "format": "uuid"}),
    "message_id": ("The message's id.", {"type": "string", "format": "uuid"}),
    "destination": ("Only messages to this destination.", {"type": "string", "enum": [*Destination]}),
    "since": (
        "Only messages since this time; a time without an offset is UTC.",
        {"type": "string", "format": "date-time"},
    ),
    "status": ("Only bookings with this status.", {"type": "string", "enum": [*BookingStatus]}),
    "payment_status": (
        "Only bookings with this payment status. `unpaid` means `pending`, `paid` means `completed`.",
        {"type": "string", "enum": [*PaymentStatus, "unpaid", "paid"]},
    ),
    "limit": (
        f"The maximum number of items; more than {MAX_PAGE} counts as {MAX_PAGE}.",
        {"type": "integer", "minimum": 1, "default": MAX_PAGE},
    ),
    "cursor": ("The start of the page: the cursor of the page before it.", {"type": "string"}),
    "feed": ("The last part of the feed's secret address, `….ics`.", {"type": "string"}),
    "Last-Event-ID": (
        "The id of the last received entry: the entries after it are sent first.",
        {"type": "integer", "format": "int64", "minimum": 0},
    ),
    "state": ("The state that was sent to Google with the browser.", {"type": "string"}),
    "code": ("Google's authorization code.", {"type": "string"}),
    "error": ("Google's error code.", {"type": "string"}),
}


_ONCE = "For 72 hours the same key with the same request gets the same answer; see *Idempotency*."
_MADE_ONCE = "The same key with the same request is carried out once; tokens are not stored. See *Idempotency*."
_NOT_ONCE = "No effect here: answers with tokens are not stored. See *Idempotency*."


def idempotency_key(*, answers_once: bool, issues_tokens: bool) -> dict[str, Any]:
    """The header of every POST."""
    same = _MADE_ONCE if issues_tokens else _ONCE
    return {
        "name": HEADER,
        "in": "header",
        "required": False,
        "description": same if answers_once else _NOT_ONCE,
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    }


_UUID = {"type": "string", "format": "uuid"}
_DATE = {"type": "string", "examples": ["2026-01-18", "2026-01-18T14:00:00Z"]}

PARAMETERS_OF_COACHING: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "redirect_uri": (
        "The address that the browser returns to. Must equal one of `OAUTH_REDIRECT_ALLOWLIST`.",
        {"type": "string"},
    ),
    "provider": ("The calendar's provider.", {"type": "string", "enum": [*Provider]}),
    "booking_id": ("The booking's id.", _UUID),
    "client_id": ("The client: their `uuid`.", _UUID),
    "coach_id": ("The coach: their `uuid`.", _UUID),
    "skip": ("The number of bookings to skip.", {"type": "integer", "minimum": 0, "default": 0}),
    "limit": ("The maximum number of items.", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
    "status": ("Only bookings with this status.", {"type": "string", "enum": [*AppointmentStatus]}),
    "attachment_id": ("The attachment's id.", _UUID),
    "start_date": ("The start of the range: a date (its first instant in UTC) or a date and time.", _DATE),
    "end_date": (
        "The end of the range, after `start_date`: a date (its first instant) or a date and time. 23:59, with or "
        "without seconds, is the end of its day.",
        _DATE,
    ),
    "duration_minutes": (
        "The length of the session in minutes.",
        {"type": "integer", "minimum": 15, "maximum": 480, "default": 60},
    ),
}
"""Parameters of contract E whose meaning differs from `PARAMETERS`."""

PAGES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "limit": (
        f"The maximum number of items; more than {MAX_PAGE} counts as {MAX_PAGE}.",
        {"type": "integer", "minimum": 1, "default": DEFAULT_PAGE},
    ),
    "cursor": PARAMETERS["cursor"],
}
"""Paging of lists that no contract documents."""

_SHORT_LISTS = ("/reviews", "/reminders", "/invitations", "/history", "/admin/outbox")
"""The ends of their paths."""

PARAMETERS_OF_ADMINS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "status": ("Only messages with this status.", {"type": "string", "enum": [*MessageStatus]}),
}
"""Parameters of operations for admins."""


def described(path: str, parameter: dict[str, Any], example: Any) -> dict[str, Any]:
    """An OpenAPI parameter with its description. Raises `LookupError` for one that is missing in the table."""
    own = PARAMETERS_OF_ADMINS if path.startswith("/admin/") else {}
    table = {**PARAMETERS, **(PARAMETERS_OF_COACHING if is_of_appointments(path) else own)}
    if path.endswith(_SHORT_LISTS):
        table |= PAGES
    if parameter["name"] not in table:
        raise LookupError(f"{parameter['name']} has no description: add it to {__name__}")
    description, schema = table[parameter["name"]]
    shown = {} if example is None else {"example": example}
    return {**parameter, "description": description, "schema": dict(schema), **shown}
