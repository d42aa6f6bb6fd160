"""Contract A on the booking API, walked in the document's order."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests.contracts.documents import uncalled
from tests.support.people import PASSWORD, People, Person
from tests.support.shapes import NUMBER, Instant, Uuid, misfits

USER = {"id": int, "uuid": Uuid, "name": str, "email": str}
EVENT = {
    "id": int,
    "title": str,
    "description": str,
    "event_type": str,
    "date_time": Instant,
    "duration": int,
    "max_participants": int,
    "price": NUMBER,
    "facilitator": str,
    "available_spots": int,
}
BOOKING = {
    "id": int,
    "event": {"id": int, "title": str, "date_time": Instant, "event_type": str},
    "booking_date": Instant,
    "status": str,
    "is_upcoming": bool,
}
ALWAYS = {"code": str, "request_id": str}
UNAUTHENTICATED = ALWAYS | {"error": "Unauthorized", "message": "Invalid or missing token", "code": "invalid_token"}
NOT_FOUND = ALWAYS | {"error": "Not Found", "message": "The requested resource was not found"}
NO_IDS = ["0", "-1", "+1", "1_000", "01", "abc", "9223372036854775807", "9223372036854775808"]


def bad_request(message: Any, **more: Any) -> dict[str, Any]:
    return ALWAYS | {"error": "Bad Request", "message": message} | more


def an_account(**changes: Any) -> dict[str, Any]:
    return {"name": "John Doe", "email": f"{uuid4().hex}@example.com", "password": PASSWORD} | changes


# Register User


async def test_register_returns_200_with_a_valid_token(shared_api: httpx.AsyncClient) -> None:
    account = an_account()
    answer = await shared_api.post("/api/register", json=account)
    assert answer.status_code == 200
    user = USER | {"name": "John Doe", "email": account["email"]}
    assert not misfits({"access_token": str, "user": user}, answer.json())
    assert PASSWORD not in answer.text
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await shared_api.get("/api/my-bookings", headers=headers)).json() == []


@pytest.mark.parametrize("field", ["name", "email", "password"])
async def test_register_names_the_missing_field(shared_api: httpx.AsyncClient, field: str) -> None:
    account = an_account()
    del account[field]
    answer = await shared_api.post("/api/register", json=account)
    assert answer.status_code == 400
    refused = bad_request(f"Missing required field: {field}", details={field: str}, code="validation_error")
    assert not misfits(refused, answer.json())


@pytest.mark.parametrize(
    ("field", "value"), [("email", "nobody"), ("password", "short"), ("name", ""), ("role", "admin"), ("name", 1)]
)
async def test_register_names_the_invalid_field(shared_api: httpx.AsyncClient, field: str, value: object) -> None:
    answer = await shared_api.post("/api/register", json=an_account(**{field: value}))
    assert answer.status_code == 400
    assert not misfits(bad_request(str, details={field: str}), answer.json())
    assert answer.json()["message"].startswith(f"{field}: ")


async def test_register_rejects_a_registered_email(shared_api: httpx.AsyncClient) -> None:
    account = an_account()
    await shared_api.post("/api/register", json=account)
    answer = await shared_api.post("/api/register", json=account)
    assert answer.status_code == 400
    assert not misfits(bad_request("Email already exists", code="email_taken"), answer.json())


# Login User


async def test_login_returns_200_with_a_valid_token(shared_api: httpx.AsyncClient, ada: Person) -> None:
    answer = await shared_api.post("/api/login", json={"email": ada.email, "password": PASSWORD})
    assert answer.status_code == 200
    user = USER | {"id": ada.id, "name": ada.name, "email": ada.email}
    assert not misfits({"access_token": str, "user": user}, answer.json())
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await shared_api.get("/api/events", headers=headers)).status_code == 200


@pytest.mark.parametrize("email", [None, "nobody@example.com", "not an address"])
async def test_wrong_credentials_return_401(shared_api: httpx.AsyncClient, ada: Person, email: str | None) -> None:
    answer = await shared_api.post("/api/login", json={"email": email or ada.email, "password": "wrong-password"})
    assert answer.status_code == 401
    refused = ALWAYS | {"error": "Unauthorized", "message": "Invalid credentials", "code": "invalid_credentials"}
    assert not misfits(refused, answer.json())


@pytest.mark.parametrize("field", ["email", "password"])
async def test_login_names_the_missing_field(shared_api: httpx.AsyncClient, field: str) -> None:
    body = {"email": "ada@example.com", "password": PASSWORD}
    del body[field]
    answer = await shared_api.post("/api/login", json=body)
    assert (answer.status_code, answer.json()["message"]) == (400, f"Missing required field: {field}")


# Get All Events


async def test_events_are_an_array_ordered_by_start(people: People, database: asyncpg.Connection) -> None:
    john, ada = await people.facilitator("Dr. Sarah Johnson"), await people.user()
    later, sooner, cancelled, over = [await john.creates_event(in_days=day) for day in (3, 2, 4, 5)]
    await john.post(f"/facilitator/events/{cancelled['id']}/cancel")
    await database.execute(
        "UPDATE events SET starts_at = now() - '2 days'::interval, ends_at = now() - '1 day'::interval WHERE id = $1",
        over["id"],
    )
    answer = await ada.get("/api/events")
    assert answer.status_code == 200
    assert not misfits([EVENT], answer.json())
    assert [event["id"] for event in answer.json()] == [sooner["id"], later["id"]]


async def test_event_has_every_documented_field(john: Person, ada: Person) -> None:
    starts = (datetime.now(UTC) + timedelta(days=30)).replace(microsecond=0)
    event = await john.creates_event(
        title="Morning Meditation Session",
        description="Start your day with mindfulness",
        start_datetime=starts.isoformat(),
        end_datetime=(starts + timedelta(minutes=90)).isoformat(),
        max_participants=15,
        price=25.5,
    )
    for _ in range(3):
        await (await People(ada.api).user()).books(event["id"])
    expected = EVENT | {
        "id": event["id"],
        "title": "Morning Meditation Session",
        "description": "Start your day with mindfulness",
        "event_type": "session",
        "date_time": starts.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "duration": 90,
        "max_participants": 15,
        "price": 25.5,
        "facilitator": john.name,
        "available_spots": 12,
    }
    answer = await ada.get(f"/api/events/{event['id']}")
    assert answer.status_code == 200
    assert not misfits(expected, answer.json())
    (listed,) = [each for each in (await ada.get("/api/events")).json() if each["id"] == event["id"]]
    assert listed == answer.json()


# Get Event by ID


@pytest.mark.parametrize("event_id", NO_IDS)
async def test_unknown_event_returns_404(ada: Person, event_id: str) -> None:
    answer = await ada.get(f"/api/events/{event_id}")
    assert answer.status_code == 404
    assert not misfits(NOT_FOUND | {"code": "event_not_found"}, answer.json())


# Create Booking


async def test_booking_returns_200_with_its_id(john: Person, ada: Person) -> None:
    event = await john.creates_event(price=0)
    answer = await ada.post("/api/bookings", json={"event_id": event["id"]})
    assert answer.status_code == 200
    assert not misfits({"booking_id": int, "message": "Booking confirmed successfully"}, answer.json())
    booking = (await ada.get(f"/bookings/{answer.json()['booking_id']}")).json()
    assert (booking["event"]["id"], booking["status"]) == (event["id"], "confirmed")


async def test_each_reason_against_a_booking_returns_its_message(
    john: Person, ada: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    full, twice, cancelled, begun = [await john.creates_event(max_participants=1) for _ in range(4)]
    await (await shared_people.user()).books(full["id"])
    await ada.books(twice["id"])
    await john.post(f"/facilitator/events/{cancelled['id']}/cancel")
    await shared_database.execute("UPDATE events SET starts_at = now() WHERE id = $1", begun["id"])
    for event, message, code in [
        (full, "Event is full", "event_full"),
        (twice, "You have already booked this event", "already_booked"),
        (cancelled, "Event is cancelled", "event_cancelled"),
        (begun, "Event has already started", "event_started"),
    ]:
        answer = await ada.post("/api/bookings", json={"event_id": event["id"]})
        assert answer.status_code == 400
        assert not misfits(bad_request(message, code=code), answer.json())
    answer = await ada.post("/api/bookings", json={"event_id": 2**63 - 1})
    assert answer.status_code == 404
    assert not misfits(NOT_FOUND, answer.json())


@pytest.mark.parametrize("body", [{}, {"notes": "please"}, {"event_id": None}])
async def test_booking_without_an_event_id_names_the_missing_field(ada: Person, body: dict[str, Any]) -> None:
    answer = await ada.post("/api/bookings", json=body)
    assert answer.status_code == 400
    refused = bad_request("Missing required field: event_id", code="validation_error", details={"event_id": str})
    assert not misfits(refused, answer.json())


@pytest.mark.parametrize("event_id", [0, -1, 1.5, True, "one", 2**63, [1], {}])
async def test_event_id_must_be_a_positive_integer(ada: Person, event_id: object) -> None:
    answer = await ada.post("/api/bookings", json={"event_id": event_id})
    assert answer.status_code == 400
    assert not misfits(bad_request(str, details={"event_id": str}), answer.json())


# Get User Bookings


async def test_my_bookings_are_an_array_with_the_newest_first(
    john: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    eve = await shared_people.user("Eve")
    ahead, begun, cancelled = [await john.creates_event(price=0) for _ in range(3)]
    for event in (ahead, begun, cancelled):
        await eve.books(event["id"])
    await john.post(f"/facilitator/events/{cancelled['id']}/cancel")
    await shared_database.execute("UPDATE events SET starts_at = now() WHERE id = $1", begun["id"])
    answer = await eve.get("/api/my-bookings")
    assert answer.status_code == 200
    assert not misfits([BOOKING], answer.json())
    first = answer.json()[2]["event"]
    assert first == {
        "id": ahead["id"],
        "title": ahead["title"],
        "date_time": ahead["start_datetime"],
        "event_type": "session",
    }
    listed = [(each["event"]["id"], each["status"], each["is_upcoming"]) for each in answer.json()]
    assert listed == [
        (cancelled["id"], "cancelled", True),
        (begun["id"], "confirmed", False),
        (ahead["id"], "confirmed", True),
    ]


# Cancel Booking


async def test_cancelling_a_booking_releases_its_seat(john: Person, ada: Person) -> None:
    event = await john.creates_event()
    booking = await ada.books(event["id"])
    answer = await ada.delete(f"/api/bookings/{booking['id']}")
    assert answer.status_code == 200
    assert not misfits({"message": "Booking cancelled successfully"}, answer.json())
    assert (await ada.get(f"/api/events/{event['id']}")).json()["available_spots"] == event["max_participants"]
    again = await ada.delete(f"/api/bookings/{booking['id']}")
    assert again.status_code == 400
    refused = bad_request("Booking is already cancelled", code="booking_already_cancelled")
    assert not misfits(refused, again.json())


async def test_booking_of_another_user_cannot_be_cancelled(john: Person, ada: Person) -> None:
    event = await john.creates_event()
    booking = await ada.books(event["id"])
    answer = await john.delete(f"/api/bookings/{booking['id']}")
    assert answer.status_code == 403
    refused = ALWAYS | {"error": "Forbidden", "message": str, "code": "not_your_booking"}
    assert not misfits(refused, answer.json())
    assert (await ada.get(f"/bookings/{booking['id']}")).json()["status"] == "confirmed"


async def test_booking_of_a_started_event_cannot_be_cancelled(
    john: Person, ada: Person, shared_database: asyncpg.Connection
) -> None:
    event = await john.creates_event()
    booking = await ada.books(event["id"])
    await shared_database.execute("UPDATE events SET starts_at = now() WHERE id = $1", event["id"])
    answer = await ada.delete(f"/api/bookings/{booking['id']}")
    assert answer.status_code == 400
    assert not misfits(bad_request("The event has already started", code="booking_over"), answer.json())


@pytest.mark.parametrize("booking_id", NO_IDS)
async def test_unknown_booking_returns_404(ada: Person, booking_id: str) -> None:
    answer = await ada.delete(f"/api/bookings/{booking_id}")
    assert answer.status_code == 404
    assert not misfits(NOT_FOUND | {"code": "booking_not_found"}, answer.json())


# Error Responses


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/events"),
        ("GET", "/api/events/1"),
        ("POST", "/api/bookings"),
        ("GET", "/api/my-bookings"),
        ("DELETE", "/api/bookings/1"),
    ],
)
@pytest.mark.parametrize("authorization", [None, "Bearer nonsense", "Bearer", "Basic YWRhOnBhc3N3b3Jk"])
async def test_missing_or_invalid_token_returns_401(
    shared_api: httpx.AsyncClient, method: str, path: str, authorization: str | None
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    answer = await shared_api.request(method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert not misfits(UNAUTHENTICATED, answer.json())


async def test_framework_errors_have_the_contract_shape(ada: Person) -> None:
    api, headers = ada.api, ada.headers
    answers = [
        (await api.post("/api/login", content="{", headers=headers | {"Content-Type": "application/json"}), 400),
        (await api.post("/api/login", content="a=b", headers=headers | {"Content-Type": "text/plain"}), 415),
        (await api.post("/api/login", json={"email": "x" * 70_000, "password": "y"}), 413),
        (await api.put("/api/login", json={}), 405),
        (await api.get("/api/no-such-thing"), 404),
        (await api.get("/api/events/%00", headers=headers), 404),
        (await api.get("/api/events?limit=%ff", headers=headers), 400),
        (await api.get("/api/events?limit=none", headers=headers), 400),
        (await api.get("/api/events?cursor=none", headers=headers), 400),
    ]
    for answer, status in answers:
        assert answer.status_code == status
        phrases = {400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}
        assert not misfits(ALWAYS | {"error": phrases.get(status, str), "message": str}, answer.json())
    assert not misfits(NOT_FOUND, answers[4][0].json())


async def test_internal_error_is_a_500_in_the_contract_shape(
    people: People, api: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    ada = await people.user()
    await database.execute("ALTER TABLE events RENAME COLUMN capacity TO room")
    answer = await ada.get("/api/events")
    assert answer.status_code == 500
    refused = ALWAYS | {"error": "Internal Server Error", "message": "An unexpected error occurred"}
    assert not misfits(refused, answer.json())


# Paging


@pytest.mark.parametrize("path", ["/api/events", "/api/my-bookings"])
async def test_list_is_paginated_with_a_link_header(people: People, path: str) -> None:
    john, ada = await people.facilitator(), await people.user()
    for _ in range(5):
        await ada.books((await john.creates_event(price=0))["id"])
    whole = await ada.get(path)
    assert (len(whole.json()), "link" in whole.headers) == (5, False)
    seen: list[Any] = []
    following: str | None = f"{path}?limit=2"
    sizes = []
    while following:
        page = await ada.get(following)
        assert page.status_code == 200
        seen += page.json()
        sizes.append(len(page.json()))
        following = page.links.get("next", {}).get("url")
    assert (sizes, seen) == ([2, 2, 1], whole.json())


def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
