"""Every endpoint of the documents, in their order, and which module walks it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.support.endpoint_coverage import Call, answered

LAST_TEST = "test_every_endpoint_of_this_part_was_called"
"""The last test of a module that walks a part: `assert not unwalked(__name__)`."""


@dataclass(frozen=True, slots=True)
class Part:
    """A run of a document's endpoints. `walk` is the module that walks it; None while the endpoints do not exist."""

    document: Literal["A", "B", "C", "D", "E"]
    service: Literal["booking", "crm"]
    walk: str | None
    endpoints: tuple[str, ...]


def _part(document: Literal["A", "B", "C", "D", "E"], walk: str | None, listing: str, *, crm: bool = False) -> Part:
    endpoints = tuple(line.strip() for line in listing.strip().splitlines())
    return Part(document, "crm" if crm else "booking", walk, endpoints)


PARTS = [
    _part(
        "A",
        "test_a_endpoints",
        """
        POST /api/register
        POST /api/login
        GET /api/events
        GET /api/events/<event_id>
        POST /api/bookings
        GET /api/my-bookings
        DELETE /api/bookings/<booking_id>
        """,
    ),
    _part("A", "test_google_login", "GET /auth/google"),
    _part(
        "A",
        "test_crm_a",
        """
        POST /notify
        GET /notifications
        POST /notifications/<notification_id>/process
        GET /api/facilitator/events/<facilitator_id>
        """,
        crm=True,
    ),
    _part(
        "B",
        "test_b_accounts",
        """
        POST /auth/register
        POST /auth/login
        POST /auth/refresh
        GET /profile
        PUT /profile
        GET /
        """,
    ),
    _part("B", "test_google_login", "GET /auth/google\nGET /auth/google/callback"),
    _part(
        "B",
        "test_b_events",
        """
        GET /events
        GET /events/<event_id>
        POST /events
        PUT /events/<event_id>
        DELETE /events/<event_id>
        """,
    ),
    _part(
        "B",
        "test_b_bookings",
        """
        POST /bookings
        GET /bookings
        GET /bookings/<booking_id>
        POST /bookings/<booking_id>/cancel
        """,
    ),
    _part("B", "test_b_payments", "POST /payment/success\nPOST /payment/failure"),
    _part(
        "B",
        "test_b_facilitators",
        """
        GET /facilitator/events
        GET /facilitator/events/<event_id>/bookings
        POST /facilitator/events/<event_id>/cancel
        """,
    ),
    _part(
        "B",
        "test_crm_b",
        """
        POST /notify
        GET /notifications
        DELETE /notifications/<notification_id>
        DELETE /notifications/clear
        POST /test-email
        GET /test-gmail-auth
        """,
        crm=True,
    ),
    _part("C", "test_c_accounts", "POST /api/auth/register\nPOST /api/auth/login"),
    _part("C", "test_google_login", "POST /api/auth/google"),
    _part(
        "C",
        "test_c_sessions",
        """
        GET /api/sessions
        POST /api/sessions
        PUT /api/sessions/<session_id>
        POST /api/sessions/<session_id>/cancel
        DELETE /api/facilitator/sessions/<session_id>
        """,
    ),
    _part(
        "C",
        "test_c_bookings",
        """
        POST /api/bookings
        GET /api/bookings/my
        GET /api/facilitator/bookings
        GET /api/facilitator/dashboard
        GET /api/facilitator/sessions
        GET /api/facilitator/sessions/<session_id>/bookings
        """,
    ),
    _part("C", "test_c_accounts", "GET /health"),
    _part(
        "D",
        "test_d_endpoints",
        """
        POST /auth/login
        GET /events
        GET /events/filter
        POST /events/
        PUT /events/<event_id>
        DELETE /events/<event_id>
        GET /bookings/
        POST /bookings/
        GET /facilitator/registrations/<event_id>
        POST /facilitator/cancel/<event_id>
        """,
    ),
    _part("D", "test_google_login", "GET /auth/google/login\nGET /auth/google/callback"),
    _part("D", "test_crm_d", "POST /webhook", crm=True),
    _part(
        "E",
        "test_e_bookings",
        """
        POST /booking
        GET /booking/<booking_id>
        GET /booking/client/<client_id>
        GET /booking/coach/<coach_id>
        PATCH /booking/<booking_id>/status
        DELETE /booking/<booking_id>
        """,
    ),
    _part("E", "test_e_availability", "GET /booking/coach/<coach_id>/availability"),
    _part(
        "E",
        "test_e_calendars",
        """
        GET /calendar/google/auth-url
        GET /calendar/outlook/auth-url
        POST /calendar/google/exchange-token
        POST /calendar/outlook/exchange-token
        POST /calendar/sync-booking
        """,
    ),
]

_PARAMETER = re.compile(r"<\w+>")


def uncalled(module: str) -> list[str]:
    """The endpoints that the module ought to have walked and that did not serve it once."""
    name = module.rpartition(".")[2]
    ought = [endpoint for part in PARTS if part.walk == name for endpoint in part.endpoints]
    assert ought, f"no part of a document names {name}"
    return [endpoint for endpoint in ought if not any(_is_of(endpoint, call) for call in answered())]


def path_pattern(endpoint: str) -> re.Pattern[str]:
    """Matches the paths of an endpoint such as `GET /events/<event_id>`."""
    literals = _PARAMETER.split(endpoint.partition(" ")[2])
    return re.compile("[^/]+".join(re.escape(literal) for literal in literals))


def walks() -> set[Path]:
    """The files that ought to walk a part."""
    here = Path(__file__).parent
    return {here / f"{part.walk}.py" for part in PARTS if part.walk}


def _is_of(endpoint: str, call: Call) -> bool:
    """`/events/filter` is a path of its own, though `/events/<event_id>` would match it."""
    literal = f"{call.method} {call.path}"
    if any(literal in part.endpoints for part in PARTS):
        return literal == endpoint
    return endpoint.startswith(f"{call.method} ") and bool(path_pattern(endpoint).fullmatch(call.path))
