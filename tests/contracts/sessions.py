"""Contract C's shapes and errors, and what its facilitators and users do."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from tests.support.people import PASSWORD, Person
from tests.support.shapes import NUMBER, Instant, Nullable, Uuid

USER = {"id": int, "uuid": Uuid, "email": str, "name": str, "role": str}
SESSION = {
    "id": int,
    "title": str,
    "description": str,
    "facilitator": str,
    "session_type": str,
    "start_time": Instant,
    "end_time": Instant,
    "capacity": int,
    "price": NUMBER,
    "available_spots": int,
}
OWN_SESSION = {name: kind for name, kind in SESSION.items() if name != "facilitator"} | {
    "status": str,
    "bookings_count": int,
    "created_at": Instant,
}
MY_BOOKING = {
    "id": int,
    "session": {"id": int, "title": str, "start_time": Instant, "end_time": Instant, "facilitator": str},
    "booking_status": str,
    "booking_date": Instant,
    "notes": Nullable(str),
}
PERSON = {"id": int, "name": str, "email": str}
SESSION_BOOKING = {
    "id": int,
    "user": PERSON,
    "booking_status": str,
    "booking_date": Instant,
    "notes": Nullable(str),
}
FACILITATOR_BOOKING = SESSION_BOOKING | {"session": {"id": int, "title": str, "start_time": Instant}}
DASHBOARD = {
    "metrics": {
        "total_sessions": int,
        "active_sessions": int,
        "total_bookings": int,
        "total_revenue": NUMBER,
        "upcoming_sessions": int,
    },
    "recent_bookings": [
        {
            "id": int,
            "user": {"name": str, "email": str},
            "session": {"title": str, "start_time": Instant},
            "booking_date": Instant,
            "status": str,
        }
    ],
}
NO_IDS = ["0", "-1", "+1", "1_000", "01", "abc", "9223372036854775807", "9223372036854775808"]


def refused(sentence: Any, code: Any = str, **more: Any) -> dict[str, Any]:
    return {"error": sentence, "code": code, "request_id": str} | more


UNAUTHENTICATED = refused("Invalid or expired token", "invalid_token")
NOT_ALLOWED = refused("Insufficient permissions", "forbidden")
NOT_YOURS = refused("Unauthorized", "not_your_event")
NO_SESSION = refused("Session not found", "event_not_found")
NO_PROFILE = refused("Facilitator profile not found", "profile_not_found")


def invalid(*fields: str) -> dict[str, Any]:
    return refused("Validation error", "validation_error", details=dict.fromkeys(fields, str))


def an_account(**changes: Any) -> dict[str, Any]:
    return {"email": f"{uuid4().hex}@example.com", "password": PASSWORD, "name": "John Doe"} | changes


def a_session(*, in_days: float = 7, **changes: Any) -> dict[str, Any]:
    starts = (datetime.now(UTC) + timedelta(days=in_days)).replace(microsecond=0)
    return {
        "title": "Evening Yoga",
        "description": "Relaxing yoga session",
        "session_type": "session",
        "start_time": starts.strftime("%Y-%m-%dT%H:%M:%S"),
        "end_time": (starts + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S"),
        "capacity": 15,
        "price": 30.0,
    } | changes


async def creates(facilitator: Person, **changes: Any) -> int:
    answer = await facilitator.post("/api/sessions", json=a_session(**changes))
    assert answer.status_code == 201, answer.text
    session_id: int = answer.json()["session_id"]
    return session_id


async def books(person: Person, session_id: int, **more: Any) -> int:
    answer = await person.post("/api/bookings", json={"session_id": session_id} | more)
    assert answer.status_code == 201, answer.text
    booking_id: int = answer.json()["booking_id"]
    return booking_id


async def own_session(facilitator: Person, session_id: int) -> dict[str, Any]:
    own = (await facilitator.get("/api/facilitator/sessions")).json()
    found: dict[str, Any] = next(each for each in own if each["id"] == session_id)
    return found
