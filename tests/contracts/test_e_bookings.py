"""Contract E, "Booking Management": a coach's time, in the document's order."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from tests.contracts.documents import uncalled
from tests.support.appointments import at, books, free_hour, in_status, promoted, uuid_of, wanted
from tests.support.people import People, Person
from tests.support.shapes import NUMBER, Instant, Nullable, Uuid, misfits

BOOKING = {
    "id": Uuid,
    "client_id": Uuid,
    "coach_id": Uuid,
    "session_datetime": Instant,
    "duration_minutes": int,
    "status": str,
    "payment_id": Nullable(Uuid),
    "meeting_link": Nullable(str),
    "notes": Nullable(str),
    "created_at": Instant,
    "updated_at": Instant,
}
DETAILS = BOOKING | {"client_name": str, "client_email": str, "coach_name": str, "coach_email": str}
MORE = {
    "end_datetime": Instant,
    "payment_status": str,
    "price": NUMBER,
    "currency": str,
    "series_id": Nullable(Uuid),
    "sequence": int,
    "hold_until": Nullable(Instant),
}
NOTES = "Looking forward to discussing career transition strategies"
UNKNOWN_UUID = "323e4567-e89b-12d3-a456-426614174000"
NO_UUIDS = [
    "1",
    "abc",
    "323e4567e89b12d3a456426614174000",
    f"{{{UNKNOWN_UUID}}}",
    UNKNOWN_UUID[:-1],
    f"{UNKNOWN_UUID}0",
    "%D9%A1",
    "%FF",
]


def refused(sentence: object, code: str) -> dict[str, object]:
    return {"detail": sentence, "code": code, "request_id": str}


def invalid(detail: object) -> dict[str, object]:
    return refused(detail, "validation_error")


NO_BOOKING = refused("Booking not found", "coaching_not_found")
UNAUTHENTICATED = refused("Not authenticated", "invalid_token")


@pytest.fixture(scope="module")
async def coach(john: Person) -> str:
    """John's uuid."""
    return await uuid_of(john)


@pytest.fixture(scope="module")
async def client(ada: Person) -> str:
    """Ada's uuid."""
    return await uuid_of(ada)


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [booking["id"] for booking in answer.json()["bookings"]]


# Create Booking


async def test_booking_is_created_as_in_the_document(ada: Person, john: Person, client: str, coach: str) -> None:
    begins = free_hour()
    before = datetime.now(UTC).replace(microsecond=0)
    answer = await ada.post("/booking", json=wanted(coach, begins, notes=NOTES))
    assert answer.status_code == 201
    booking = answer.json()
    assert not misfits(DETAILS | MORE | {"payment_url": None}, booking)
    shown = {
        "client_id": client,
        "client_name": ada.name,
        "client_email": ada.email,
        "coach_id": coach,
        "coach_name": john.name,
        "coach_email": john.email,
        "session_datetime": begins.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "end_datetime": (begins + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "duration_minutes": 60,
        "status": "pending",
        "payment_status": "not_required",
        "payment_id": None,
        "meeting_link": None,
        "notes": NOTES,
        "price": 0,
        "currency": "INR",
        "series_id": None,
        "sequence": 0,
        "hold_until": None,
        "updated_at": booking["created_at"],
    }
    assert {name: booking[name] for name in shown} == shown
    assert before <= datetime.fromisoformat(booking["created_at"]) <= datetime.now(UTC)
    assert UUID(booking["id"]).version == 7


async def test_notes_are_optional(ada: Person, coach: str) -> None:
    assert (await books(ada, coach, free_hour()))["notes"] is None


@pytest.mark.parametrize("field", ["coach_id", "session_datetime", "duration_minutes"])
async def test_missing_required_field_is_named(ada: Person, coach: str, field: str) -> None:
    body = wanted(coach, free_hour())
    del body[field]
    answer = await ada.post("/booking", json=body)
    assert answer.status_code == 400
    assert not misfits(invalid(f"Missing required field: {field}"), answer.json())


@pytest.mark.parametrize("minutes", [15, 480])
async def test_session_lasts_15_to_480_minutes(ada: Person, coach: str, minutes: int) -> None:
    begins = at(9, in_days=300 + minutes)
    assert (await books(ada, coach, begins, minutes=minutes))["duration_minutes"] == minutes


@pytest.mark.parametrize("minutes", [14, 481, 0, -60, 2**63, 10**300])
async def test_shorter_or_longer_session_is_rejected(ada: Person, coach: str, minutes: int) -> None:
    answer = await ada.post("/booking", json=wanted(coach, free_hour(), minutes=minutes))
    assert answer.status_code == 400
    assert not misfits(invalid(str), answer.json())
    assert answer.json()["detail"].startswith("duration_minutes: ")


@pytest.mark.parametrize("minutes", ["x", None, [], True, 60.5])
async def test_duration_must_be_an_integer(ada: Person, coach: str, minutes: Any) -> None:
    answer = await ada.post("/booking", json=wanted(coach, free_hour()) | {"duration_minutes": minutes})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("duration_minutes: ")


async def test_session_must_be_in_the_future(ada: Person, coach: str) -> None:
    for past in (datetime.now(UTC), datetime.now(UTC) - timedelta(days=400)):
        answer = await ada.post("/booking", json=wanted(coach, past))
        assert answer.status_code == 400
        assert not misfits(invalid("Session must be scheduled in the future"), answer.json())


async def test_overlapping_time_is_not_available(ada: Person, shared_people: People, coach: str) -> None:
    begins = free_hour()
    await books(ada, coach, begins)
    other = await shared_people.user()
    for start, minutes in [(begins, 60), (begins + timedelta(minutes=59), 15), (begins - timedelta(minutes=14), 15)]:
        answer = await other.post("/booking", json=wanted(coach, start, minutes=minutes))
        assert answer.status_code == 400
        assert not misfits(refused("Time slot is not available", "slot_unavailable"), answer.json())


async def test_time_outside_the_hours_of_the_coach_is_not_available(ada: Person, coach: str) -> None:
    for begins in (at(8, 59, in_days=250), at(16, 1, in_days=250), at(23, in_days=250)):
        answer = await ada.post("/booking", json=wanted(coach, begins))
        assert answer.status_code == 400
        assert answer.json()["detail"] == "Time slot is not available"


async def test_inactive_coach_cannot_be_booked(
    ada: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    gone = await shared_people.facilitator()
    coach = await uuid_of(gone)
    await shared_database.execute("UPDATE users SET is_active = false WHERE id = $1", gone.id)
    answer = await ada.post("/booking", json=wanted(coach, free_hour()))
    assert answer.status_code == 400
    assert not misfits(refused("Coach is not active", "coach_inactive"), answer.json())


async def test_unknown_coach_returns_404(ada: Person, client: str) -> None:
    for unknown in (UNKNOWN_UUID, client):
        answer = await ada.post("/booking", json=wanted(unknown, free_hour()))
        assert answer.status_code == 404
        assert not misfits(refused("Coach not found", "coach_not_found"), answer.json())


@pytest.mark.parametrize("coach_id", ["1", "abc", "", None, 5, [], UNKNOWN_UUID[:-1]])
async def test_coach_id_must_be_a_uuid(ada: Person, coach_id: Any) -> None:
    answer = await ada.post("/booking", json=wanted("", free_hour()) | {"coach_id": coach_id})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("coach_id: ")


async def test_only_clients_can_book(john: Person, coach: str) -> None:
    answer = await john.post("/booking", json=wanted(coach, free_hour()))
    assert answer.status_code == 403
    assert not misfits(refused("Only clients can create bookings", "client_required"), answer.json())


@pytest.mark.parametrize("notes", ["n" * 2001, "\x07", 5])
async def test_invalid_notes_are_rejected(ada: Person, coach: str, notes: Any) -> None:
    answer = await ada.post("/booking", json=wanted(coach, free_hour(), notes=notes))
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("notes: ")


async def test_read_only_fields_are_ignored(ada: Person, client: str, coach: str) -> None:
    forged = {"client_id": coach, "status": "confirmed", "payment_id": UNKNOWN_UUID, "price": -1, "meeting_link": "x"}
    booking = await books(ada, coach, free_hour(), **forged)
    kept = ("client_id", "status", "payment_id", "price", "meeting_link")
    assert [booking[name] for name in kept] == [client, "pending", None, 0, None]


# Get Booking Details


async def test_only_client_coach_and_admin_see_a_booking(
    ada: Person, john: Person, coach: str, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    made = await books(ada, coach, free_hour(), notes=NOTES)
    del made["payment_url"]
    admin = await promoted(await shared_people.user(), shared_database)
    for person in (ada, john, admin):
        answer = await person.get(f"/booking/{made['id']}")
        assert answer.status_code == 200
        assert answer.json() == made
        assert (await person.get(f"/booking/{made['id'].upper()}")).json() == made
    stranger = await shared_people.user()
    answer = await stranger.get(f"/booking/{made['id']}")
    assert answer.status_code == 403
    assert not misfits(refused("Unauthorized to view this booking", "coaching_not_visible"), answer.json())


@pytest.mark.parametrize("path", ["", "/history"])
@pytest.mark.parametrize("booking_id", [UNKNOWN_UUID, *NO_UUIDS])
async def test_unknown_booking_returns_404(ada: Person, booking_id: str, path: str) -> None:
    answer = await ada.get(f"/booking/{booking_id}{path}")
    assert answer.status_code == 404
    assert answer.json()["detail"] in {"Booking not found", "Resource not found"}
    assert ("%" in booking_id) or not misfits(NO_BOOKING, answer.json())


# Get Client Bookings and Get Coach Bookings


@pytest.mark.parametrize("of_client", [True, False], ids=["client", "coach"])
async def test_lists_are_paginated_from_the_latest_session(shared_people: People, of_client: bool) -> None:
    guest, host = await shared_people.user(), await shared_people.facilitator()
    coach = await uuid_of(host)
    made = [(await books(guest, coach, at(hour)))["id"] for hour in (11, 9, 15, 13, 10)]
    await host.patch(f"/booking/{made[1]}/status", {"status": "confirmed"})
    await guest.delete(f"/booking/{made[2]}")
    latest_first = [made[number] for number in (2, 3, 0, 4, 1)]
    person, path = (
        (guest, f"/booking/client/{await uuid_of(guest)}") if of_client else (host, f"/booking/coach/{coach}")
    )
    answer = await person.get(path)
    assert not misfits({"bookings": [DETAILS | MORE], "total": 5, "skip": 0, "limit": 20}, answer.json())
    assert ids(answer) == latest_first
    page = await person.get(path, params={"skip": 1, "limit": 2})
    assert ids(page) == latest_first[1:3]
    assert (page.json()["total"], page.json()["skip"], page.json()["limit"]) == (5, 1, 2)
    beyond = await person.get(path, params={"skip": 5})
    assert (ids(beyond), beyond.json()["total"]) == ([], 5)
    for status, expected in {
        "pending": [made[3], made[0], made[4]],
        "confirmed": [made[1]],
        "completed": [],
        "cancelled": [made[2]],
    }.items():
        only = await person.get(path, params={"status": status})
        assert (ids(only), only.json()["total"]) == (expected, len(expected))


async def test_page_holds_at_most_100(ada: Person, client: str) -> None:
    assert (await ada.get(f"/booking/client/{client}", params={"limit": 100})).json()["limit"] == 100
    answer = await ada.get(f"/booking/client/{client}", params={"limit": 101})
    assert answer.status_code == 400
    assert not misfits(invalid("limit: Must be between 1 and 100"), answer.json())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("limit", value) for value in ("0", "-1", "x", "", "1.0", "+1", str(2**63), "\u0661")],
        *[("skip", value) for value in ("-1", "x", "", "1.0", "00", str(2**63))],
        *[("status", value) for value in ("x", "", "PENDING", "pending,confirmed")],
    ],
)
async def test_invalid_query_returns_400_with_the_field(
    ada: Person, john: Person, client: str, coach: str, field: str, value: str
) -> None:
    for person, path in ((ada, f"client/{client}"), (john, f"coach/{coach}")):
        answer = await person.get(f"/booking/{path}", params={field: value})
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(f"{field}: ")


async def test_lists_are_visible_to_their_owner_and_admins(
    ada: Person, john: Person, client: str, coach: str, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    admin = await promoted(await shared_people.user(), shared_database)
    hidden = refused("Unauthorized to view these bookings", "coachings_not_visible")
    for path, owner, other in ((f"client/{client}", ada, john), (f"coach/{coach}", john, ada)):
        assert (await owner.get(f"/booking/{path}")).status_code == 200
        assert (await admin.get(f"/booking/{path}")).json()["total"] > 0
        answer = await other.get(f"/booking/{path}")
        assert answer.status_code == 403
        assert not misfits(hidden, answer.json())
        # Whether there is such a person is nobody's business either.
        assert (await owner.get(f"/booking/{path.partition('/')[0]}/{UNKNOWN_UUID}")).status_code == 403
    for path, sentence in (("client", "User not found"), ("coach", "Coach not found")):
        answer = await admin.get(f"/booking/{path}/abc")
        assert (answer.status_code, answer.json()["detail"]) == (404, sentence)


# Update Booking Status


async def test_booking_is_confirmed_and_then_completed(ada: Person, john: Person, coach: str) -> None:
    booking = await books(ada, coach, free_hour(), notes=NOTES)
    del booking["payment_url"]
    for status, sequence in (("confirmed", 1), ("completed", 1)):
        answer = await john.patch(f"/booking/{booking['id']}/status", {"status": status})
        assert answer.status_code == 200
        assert not misfits(DETAILS | MORE, answer.json())
        booking |= {"status": status, "sequence": sequence, "updated_at": answer.json()["updated_at"]}
        assert answer.json() == booking
        assert (await ada.get(f"/booking/{booking['id']}")).json() == booking


@pytest.mark.parametrize("body", [{}, {"status": None}, {"status": 1}, {"status": "x"}, {"status": "CONFIRMED"}, []])
async def test_invalid_status_is_rejected(ada: Person, john: Person, coach: str, body: Any) -> None:
    booking = await in_status("pending", ada, john, coach)
    answer = await john.patch(f"/booking/{booking}/status", body)
    assert answer.status_code == 400
    assert not misfits(invalid(str), answer.json())
    assert (await john.get(f"/booking/{booking}")).json()["status"] == "pending"


@pytest.mark.parametrize("booking_id", [UNKNOWN_UUID, "abc"])
async def test_unknown_booking_cannot_be_changed(ada: Person, booking_id: str) -> None:
    path = f"/booking/{booking_id}"
    answers = [
        await ada.patch(f"{path}/status", {"status": "cancelled"}),
        await ada.delete(path),
        await ada.patch(path, {"notes": NOTES}),
        await ada.post(f"{path}/reschedule", json={"session_datetime": "2099-01-01T10:00:00Z"}),
        await ada.post(f"{path}/pay"),
        await ada.post(f"{path}/payment"),
    ]
    for answer in answers:
        assert answer.status_code == 404
        assert not misfits(NO_BOOKING, answer.json())


# Cancel Booking


async def test_cancelling_returns_204_without_a_body_and_frees_the_time(
    ada: Person, shared_people: People, coach: str
) -> None:
    begins = free_hour()
    booking = (await books(ada, coach, begins))["id"]
    answer = await ada.delete(f"/booking/{booking}")
    assert (answer.status_code, answer.content) == (204, b"")
    cancelled = (await ada.get(f"/booking/{booking}")).json()
    assert (cancelled["status"], cancelled["sequence"]) == ("cancelled", 1)
    await books(await shared_people.user(), coach, begins)
    again = await ada.delete(f"/booking/{booking}")
    assert again.status_code == 400
    sentence = "Only bookings with status pending or confirmed can be cancelled"
    assert not misfits(refused(sentence, "coaching_not_cancellable"), again.json())


# Error Responses


async def test_missing_token_returns_401_in_the_shape_of_the_document(
    shared_api: httpx.AsyncClient, client: str, coach: str
) -> None:
    calls = [
        ("POST", ""),
        ("GET", f"/{UNKNOWN_UUID}"),
        ("PATCH", f"/{UNKNOWN_UUID}"),
        ("DELETE", f"/{UNKNOWN_UUID}"),
        ("GET", f"/client/{client}"),
        ("GET", f"/coach/{coach}"),
        ("PATCH", f"/{UNKNOWN_UUID}/status"),
        ("POST", f"/{UNKNOWN_UUID}/reschedule"),
        ("GET", f"/{UNKNOWN_UUID}/history"),
        ("POST", f"/{UNKNOWN_UUID}/pay"),
        ("POST", f"/{UNKNOWN_UUID}/payment"),
    ]
    for method, path in calls:
        for headers in ({}, {"Authorization": "Bearer nonsense"}):
            answer = await shared_api.request(method, f"/booking{path}", headers=headers)
            assert answer.status_code == 401
            assert not misfits(UNAUTHENTICATED, answer.json())
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_trailing_slash_is_accepted(ada: Person, client: str, coach: str) -> None:
    answer = await ada.post("/booking/", json=wanted(coach, free_hour()))
    assert answer.status_code == 201
    assert (await ada.get(f"/booking/{answer.json()['id']}/")).status_code == 200
    assert (await ada.get(f"/booking/client/{client}/")).status_code == 200


async def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
