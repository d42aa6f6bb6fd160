"""Contract C on the booking API: sessions, walked in the document's order."""

from typing import Any

import asyncpg
import httpx
import pytest

from tests.contracts.documents import uncalled
from tests.contracts.sessions import (
    NO_IDS,
    NO_PROFILE,
    NO_SESSION,
    NOT_ALLOWED,
    NOT_YOURS,
    SESSION,
    UNAUTHENTICATED,
    a_session,
    books,
    creates,
    invalid,
    own_session,
    refused,
)
from tests.support.people import People, Person
from tests.support.shapes import misfits


@pytest.fixture(scope="module")
async def admin(shared_api: httpx.AsyncClient, shared_people: People, shared_database: asyncpg.Connection) -> Person:
    """A facilitator by role, without a facilitator profile."""
    person = await shared_people.user("Root")
    await shared_database.execute("UPDATE users SET role = 'admin' WHERE id = $1", person.id)
    return person


# Get All Sessions


async def test_sessions_are_an_array_of_the_active_ones(people: People, database: asyncpg.Connection) -> None:
    john, ada = await people.facilitator(), await people.user()
    later, sooner, cancelled, over = [await creates(john, in_days=day) for day in (3, 2, 4, 5)]
    await john.post(f"/api/sessions/{cancelled}/cancel")
    await database.execute(
        "UPDATE events SET starts_at = now() - '2 days'::interval, ends_at = now() - '1 day'::interval WHERE id = $1",
        over,
    )
    answer = await ada.get("/api/sessions")
    assert answer.status_code == 200
    assert not misfits([SESSION], answer.json())
    assert [session["id"] for session in answer.json()] == [sooner, later]


async def test_session_has_every_documented_field(john: Person, ada: Person, shared_people: People) -> None:
    body = a_session(session_type="retreat", capacity=10, price=25.5)
    session_id = (await john.post("/api/sessions", json=body)).json()["session_id"]
    bob = await shared_people.user()
    await books(ada, session_id)
    await bob.delete(f"/api/bookings/{await books(bob, session_id)}")
    (session,) = [each for each in (await ada.get("/api/sessions")).json() if each["id"] == session_id]
    expected = SESSION | {
        "title": "Evening Yoga",
        "description": "Relaxing yoga session",
        "facilitator": john.name,
        "session_type": "retreat",
        "start_time": body["start_time"] + "Z",
        "end_time": body["end_time"] + "Z",
        "capacity": 10,
        "price": 25.5,
        "available_spots": 9,
    }
    assert not misfits(expected, session)


# Create New Session


async def test_creating_a_session_returns_201_with_its_id(john: Person) -> None:
    answer = await john.post("/api/sessions", json=a_session())
    assert answer.status_code == 201
    assert not misfits({"message": "Session created successfully", "session_id": int}, answer.json())


async def test_session_requires_only_title_and_times(john: Person) -> None:
    body = a_session()
    least = {name: body[name] for name in ("title", "start_time", "end_time")}
    answer = await john.post("/api/sessions", json=least | {"description": None})
    assert answer.status_code == 201
    own = (await john.get("/api/facilitator/sessions")).json()
    (session,) = [each for each in own if each["id"] == answer.json()["session_id"]]
    defaults = ("description", "session_type", "capacity", "price")
    assert [session[name] for name in defaults] == ["", "session", 1, 0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", " "),
        ("session_type", "party"),
        ("capacity", 0),
        ("price", -1),
        ("price", 0.001),
        ("start_time", "2024-01-15T18:00:00"),
        ("end_time", "2024-01-15T18:00:00"),
        ("start_time", "tomorrow"),
        ("capacity", "many"),
    ],
)
async def test_invalid_session_fields_are_named_as_in_contract_c(john: Person, field: str, value: Any) -> None:
    answer = await john.post("/api/sessions", json=a_session(**{field: value}))
    assert answer.status_code == 400
    assert not misfits(invalid(field), answer.json())


async def test_creating_requires_a_facilitator_with_a_profile(
    shared_api: httpx.AsyncClient, ada: Person, admin: Person
) -> None:
    for person, status, body in [(ada, 403, NOT_ALLOWED), (admin, 404, NO_PROFILE)]:
        answer = await person.post("/api/sessions", json=a_session())
        assert (answer.status_code, misfits(body, answer.json())) == (status, [])


# Update Session


async def test_update_changes_only_the_given_fields(john: Person) -> None:
    session_id = await creates(john)
    before = await own_session(john, session_id)
    change = {
        "title": "Updated Session Title",
        "description": "Updated description",
        "capacity": 20,
        "start_time": a_session(in_days=8)["start_time"],
        "end_time": a_session(in_days=8)["end_time"],
    }
    answer = await john.put(f"/api/sessions/{session_id}", json=change)
    assert answer.status_code == 200
    assert not misfits({"message": "Session updated successfully"}, answer.json())
    now = {"start_time": change["start_time"] + "Z", "end_time": change["end_time"] + "Z", "available_spots": 20}
    assert await own_session(john, session_id) == before | change | now

    await john.put(f"/api/sessions/{session_id}", json={"price": 12.5, "session_type": "retreat"})
    now |= {"price": 12.5, "session_type": "retreat"}
    assert await own_session(john, session_id) == before | change | now
    assert (await john.put(f"/api/sessions/{session_id}", json={})).status_code == 200


@pytest.mark.parametrize(
    ("field", "value"), [("title", ""), ("capacity", 0), ("start_time", "2024-01-15T18:00:00"), ("session_type", "x")]
)
async def test_invalid_update_fields_are_named_as_in_contract_c(john: Person, field: str, value: object) -> None:
    session_id = await creates(john)
    before = await own_session(john, session_id)
    answer = await john.put(f"/api/sessions/{session_id}", json={field: value})
    assert answer.status_code == 400
    assert not misfits(invalid(field), answer.json())
    assert await own_session(john, session_id) == before


async def test_capacity_cannot_fall_below_the_bookings(john: Person, ada: Person, shared_people: People) -> None:
    session_id = await creates(john)
    for person in (ada, await shared_people.user()):
        await books(person, session_id)
    answer = await john.put(f"/api/sessions/{session_id}", json={"capacity": 1})
    assert answer.status_code == 400
    assert not misfits(refused(str, "capacity_below_bookings"), answer.json())


# Cancel Session, Delete Session


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/sessions/{}/cancel"), ("DELETE", "/api/facilitator/sessions/{}")]
)
async def test_cancelling_or_deleting_cancels_the_session_and_its_bookings(
    shared_api: httpx.AsyncClient, john: Person, ada: Person, method: str, path: str
) -> None:
    session_id = await creates(john)
    booking_id = await books(ada, session_id)
    answer = await shared_api.request(method, path.format(session_id), headers=john.headers)
    assert answer.status_code == 200
    assert not misfits({"message": "Session cancelled successfully"}, answer.json())
    assert (await own_session(john, session_id))["status"] == "cancelled"
    (booking,) = [each for each in (await ada.get("/api/bookings/my")).json() if each["id"] == booking_id]
    assert booking["booking_status"] == "cancelled"
    again = await shared_api.request(method, path.format(session_id), headers=john.headers)
    assert again.status_code == 400
    assert not misfits(refused("Session is cancelled", "event_cancelled"), again.json())


# Who may call

SIGNED_IN = [("GET", "/api/sessions"), ("GET", "/api/bookings/my")]
FOR_FACILITATORS = [
    ("POST", "/api/sessions"),
    ("GET", "/api/facilitator/bookings"),
    ("GET", "/api/facilitator/dashboard"),
    ("GET", "/api/facilitator/sessions"),
]
FOR_OWNERS = [
    ("PUT", "/api/sessions/{id}"),
    ("POST", "/api/sessions/{id}/cancel"),
    ("DELETE", "/api/facilitator/sessions/{id}"),
    ("GET", "/api/facilitator/sessions/{id}/bookings"),
]


@pytest.mark.parametrize(("method", "path"), [*SIGNED_IN, *FOR_FACILITATORS, *FOR_OWNERS])
@pytest.mark.parametrize("authorization", [None, "Bearer nonsense", "Bearer", "Basic YWRhOnBhc3N3b3Jk"])
async def test_missing_or_invalid_token_returns_401(
    shared_api: httpx.AsyncClient, method: str, path: str, authorization: str | None
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    answer = await shared_api.request(method, path.format(id=1), headers=headers)
    assert answer.status_code == 401
    assert not misfits(UNAUTHENTICATED, answer.json())


@pytest.mark.parametrize(("method", "path"), [*FOR_FACILITATORS, *FOR_OWNERS])
async def test_users_cannot_call_facilitator_endpoints(
    shared_api: httpx.AsyncClient, john: Person, ada: Person, method: str, path: str
) -> None:
    here = path.format(id=await creates(john))
    answer = await shared_api.request(method, here, headers=ada.headers, json=a_session())
    assert (answer.status_code, misfits(NOT_ALLOWED, answer.json())) == (403, [])


@pytest.mark.parametrize(("method", "path"), FOR_FACILITATORS)
async def test_missing_facilitator_profile_returns_404(
    shared_api: httpx.AsyncClient, admin: Person, method: str, path: str
) -> None:
    answer = await shared_api.request(method, path, headers=admin.headers, json=a_session())
    assert (answer.status_code, misfits(NO_PROFILE, answer.json())) == (404, [])


@pytest.mark.parametrize(("method", "path"), FOR_OWNERS)
async def test_session_of_another_facilitator_returns_403(
    shared_api: httpx.AsyncClient, john: Person, shared_people: People, method: str, path: str
) -> None:
    session_id = await creates(john)
    before = await own_session(john, session_id)
    other = await shared_people.facilitator("Somebody Else")
    answer = await shared_api.request(method, path.format(id=session_id), headers=other.headers, json={"title": "Mine"})
    assert (answer.status_code, misfits(NOT_YOURS, answer.json())) == (403, [])
    assert await own_session(john, session_id) == before


@pytest.mark.parametrize(("method", "path"), FOR_OWNERS)
@pytest.mark.parametrize("session_id", NO_IDS)
async def test_unknown_session_returns_404(
    shared_api: httpx.AsyncClient, john: Person, method: str, path: str, session_id: str
) -> None:
    answer = await shared_api.request(method, path.format(id=session_id), headers=john.headers, json={})
    assert (answer.status_code, misfits(NO_SESSION, answer.json())) == (404, [])


async def test_framework_errors_have_the_contract_shape(john: Person) -> None:
    api, headers = john.api, john.headers
    answers = [
        (await api.post("/api/sessions", content="{", headers=headers | {"Content-Type": "application/json"}), 400),
        (await api.post("/api/auth/login", content="a=b", headers={"Content-Type": "text/plain"}), 415),
        (await api.post("/api/auth/login", json={"email": "x" * 70_000, "password": "y"}), 413),
        (await api.delete("/api/sessions"), 405),
        (await api.get("/api/facilitator/no-such-thing"), 404),
        (await api.get("/api/sessions?limit=%ff", headers=headers), 400),
        (await api.get("/api/sessions?limit=none", headers=headers), 400),
        (await api.get("/api/facilitator/bookings?cursor=none", headers=headers), 400),
    ]
    for answer, status in answers:
        assert answer.status_code == status
        assert not misfits(refused(str), answer.json())
        assert "message" not in answer.json()


async def test_internal_error_is_a_500_in_the_contract_shape(
    people: People, api: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    ada = await people.user()
    await database.execute("ALTER TABLE events RENAME COLUMN capacity TO room")
    answer = await ada.get("/api/sessions")
    assert answer.status_code == 500
    assert not misfits(refused("Internal server error", "internal_error"), answer.json())


def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
