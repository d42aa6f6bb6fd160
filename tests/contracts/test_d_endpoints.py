"""Contract D on the booking API, walked in the document's order."""

from typing import Any

import asyncpg
import httpx
import pytest

from tests.contracts.documents import uncalled
from tests.support.people import PASSWORD, People, Person, event
from tests.support.shapes import NUMBER, Instant, Nullable, misfits

FACILITATOR = {"id": int, "name": str, "email": str}
EVENT = {
    "id": int,
    "title": str,
    "description": str,
    "event_type": str,
    "category": Nullable(str),
    "start_datetime": Instant,
    "end_datetime": Instant,
    "max_participants": int,
    "current_participants": int,
    "price": NUMBER,
    "is_active": bool,
    "rating": Nullable(NUMBER),
    "facilitator": FACILITATOR,
}
EVENTS = {"events": [EVENT], "next_cursor": Nullable(str)}
BOOKING = {
    "id": int,
    "status": str,
    "payment_status": str,
    "price": NUMBER,
    "currency": str,
    "facilitator_id": int,
    "user": {"id": int, "name": str, "email": str},
    "event": {"id": int, "title": str},
    "created_at": Instant,
}
REGISTRATION = {
    "id": int,
    "status": str,
    "payment_status": str,
    "price": NUMBER,
    "currency": str,
    "facilitator_id": int,
    "user": {"id": int, "name": str, "email": str, "phone": Nullable(str)},
    "created_at": Instant,
}


def refused(sentence: str, code: str) -> dict[str, Any]:
    return {"error": sentence, "code": code, "request_id": str}


UNAUTHENTICATED = refused("Invalid or expired token", "invalid_token")
NO_EVENT = refused("Event not found", "event_not_found")
NOT_YOURS = refused("You can only manage your own events", "not_your_event")
NOT_ALLOWED = refused("Insufficient permissions", "forbidden")


def invalid(field: str) -> dict[str, Any]:
    return refused("Validation error", "validation_error") | {"details": {field: str}}


def ids(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    assert not misfits(EVENTS, answer.json())
    return [listed["id"] for listed in answer.json()["events"]]


async def is_rated(database: asyncpg.Connection, people: People, facilitator: Person, *ratings: int) -> None:
    """One past event of theirs, reviewed by a new user for each rating."""
    past = await facilitator.creates_event(in_days=1)
    guests = [await people.user() for _ in ratings]
    for guest in guests:
        await guest.books(past["id"])
    await database.execute(
        "UPDATE events SET starts_at = now() - '2 hours'::interval, ends_at = now() - '1 hour'::interval WHERE id = $1",
        past["id"],
    )
    for guest, rating in zip(guests, ratings, strict=True):
        answer = await guest.post(f"/events/{past['id']}/reviews", {"rating": rating})
        assert answer.status_code == 201, answer.text


# Authentication


async def test_login_returns_a_valid_access_token(shared_api: httpx.AsyncClient, ada: Person) -> None:
    answer = await shared_api.post("/auth/login", json={"email": ada.email, "password": PASSWORD})
    assert answer.status_code == 200
    assert not misfits({"access_token": str}, answer.json())
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await shared_api.get("/bookings/", headers=headers)).status_code == 200


@pytest.mark.parametrize("body", [{"password": "another one"}, {"email": "nobody@example.com"}])
async def test_login_rejects_wrong_password_and_unknown_address_with_the_same_error(
    shared_api: httpx.AsyncClient, ada: Person, body: dict[str, str]
) -> None:
    answer = await shared_api.post("/auth/login", json={"email": ada.email, "password": PASSWORD} | body)
    assert answer.status_code == 401
    assert not misfits(refused("Invalid credentials", "invalid_credentials"), answer.json())


@pytest.mark.parametrize("missing", ["email", "password"])
async def test_login_names_the_missing_field(shared_api: httpx.AsyncClient, ada: Person, missing: str) -> None:
    body = {"email": ada.email, "password": PASSWORD}
    del body[missing]
    answer = await shared_api.post("/auth/login", json=body)
    assert (answer.status_code, misfits(invalid(missing), answer.json())) == (400, [])


# GET /events


async def test_events_are_public_with_the_fields_of_contract_d(shared_api: httpx.AsyncClient, john: Person) -> None:
    created = await john.creates_event(category="Yoga")
    answer = await shared_api.get("/events")
    assert created["id"] in ids(answer)
    [shown] = [each for each in answer.json()["events"] if each["id"] == created["id"]]
    assert shown["facilitator"].pop("uuid")
    assert shown["facilitator"] == {"id": john.id, "name": john.name, "email": john.email}
    assert ids(await shared_api.get("/events/")) == ids(answer)


# GET /events/filter?type=Yoga&rating=4.5


async def test_filter_accepts_type_and_minimum_rating(
    api: httpx.AsyncClient, people: People, database: asyncpg.Connection
) -> None:
    loved, liked, new = [await people.facilitator(name) for name in ("Loved", "Liked", "New")]
    await is_rated(database, people, loved, 5, 4)
    await is_rated(database, people, liked, 5, 4, 4)
    loved_yoga = (await loved.creates_event(in_days=1, category="Yoga"))["id"]
    liked_yoga = (await liked.creates_event(in_days=2, category="yoga"))["id"]
    new_yoga = (await new.creates_event(in_days=3, category="YOGA"))["id"]
    loved_retreat = (await loved.creates_event(in_days=4, event_type="retreat", category="Silence"))["id"]

    async def found(**query: str) -> list[int]:
        return ids(await api.get("/events/filter", params=query))

    assert await found(type="Yoga", rating="4.5") == [loved_yoga]
    assert await found(type="Yoga") == [loved_yoga, liked_yoga, new_yoga]
    assert await found(rating="4.5") == [loved_yoga, loved_retreat]
    assert await found(rating="4.3333") == [loved_yoga, liked_yoga, loved_retreat]
    assert await found(rating="4.3334") == [loved_yoga, loved_retreat]
    assert await found(rating="0") == [loved_yoga, liked_yoga, loved_retreat]
    assert await found(type="retreat") == [loved_retreat]
    assert await found(type="Pilates") == []
    assert await found() == [loved_yoga, liked_yoga, new_yoga, loved_retreat]
    assert ids(await api.get("/events/filter/?type=Yoga&rating=4.5")) == [loved_yoga]

    shown = (await api.get("/events/filter")).json()["events"]
    assert [each["rating"] for each in shown] == [4.5, 4.33, None, 4.5]

    page = (await api.get("/events/filter", params={"limit": "3"})).json()
    rest = await api.get("/events/filter", params={"cursor": page["next_cursor"]})
    assert ids(rest) == [loved_retreat]


async def test_filter_omits_events_that_cannot_be_booked(
    shared_api: httpx.AsyncClient, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    host = await shared_people.facilitator()
    cancelled, past = [await host.creates_event(category="Gone") for _ in range(2)]
    await host.post(f"/facilitator/cancel/{cancelled['id']}")
    await shared_database.execute(
        "UPDATE events SET starts_at = now() - '2 hours'::interval, ends_at = now() - '1 hour'::interval WHERE id = $1",
        past["id"],
    )
    assert ids(await shared_api.get("/events/filter?type=Gone")) == []


@pytest.mark.parametrize("rating", ["", "abc", "-1", "5.1", "4,5", "6", "nan", "1e0", "٤", "4.", "4.55555"])
async def test_invalid_rating_is_rejected(shared_api: httpx.AsyncClient, rating: str) -> None:
    answer = await shared_api.get("/events/filter", params={"rating": rating})
    assert (answer.status_code, misfits(invalid("rating"), answer.json())) == (400, [])


# POST /events/


async def test_facilitator_creates_an_event(john: Person) -> None:
    answer = await john.post("/events/", event(category="Yoga"))
    assert answer.status_code == 201
    assert not misfits({"message": "Event created successfully", "event": EVENT}, answer.json())
    assert answer.json()["event"]["facilitator"]["id"] == john.id


async def test_creating_requires_a_facilitator(shared_api: httpx.AsyncClient, ada: Person) -> None:
    answer = await shared_api.post("/events/", json=event())
    assert (answer.status_code, misfits(UNAUTHENTICATED, answer.json())) == (401, [])
    answer = await ada.post("/events/", event())
    expected = refused("Only facilitators can create events", "facilitator_required")
    assert (answer.status_code, misfits(expected, answer.json())) == (403, [])


@pytest.mark.parametrize("missing", ["title", "start_datetime", "end_datetime", "max_participants"])
async def test_creating_names_the_missing_field(john: Person, missing: str) -> None:
    body = event()
    del body[missing]
    answer = await john.post("/events/", body)
    assert (answer.status_code, misfits(invalid(missing), answer.json())) == (400, [])


# PUT /events/<event_id>, DELETE /events/<event_id>


async def test_facilitator_changes_own_event(shared_api: httpx.AsyncClient, john: Person) -> None:
    created = await john.creates_event(category="Yoga")
    answer = await john.put(f"/events/{created['id']}", {"title": "Evening Yoga"})
    assert answer.status_code == 200
    assert not misfits({"message": "Event updated successfully", "event": EVENT}, answer.json())
    assert (await john.get(f"/events/{created['id']}")).json() == created | {"title": "Evening Yoga"}
    shown = (await shared_api.get(f"/events/{created['id']}")).json()
    assert shown == created | {"title": "Evening Yoga", "virtual_link": None}


async def test_facilitator_deletes_own_event(shared_api: httpx.AsyncClient, john: Person) -> None:
    created = await john.creates_event()
    answer = await john.delete(f"/events/{created['id']}")
    assert answer.status_code == 200
    assert not misfits({"message": "Event deleted successfully"}, answer.json())
    answer = await shared_api.get(f"/events/{created['id']}")
    assert (answer.status_code, misfits(NO_EVENT, answer.json())) == (404, [])


# GET /bookings/, POST /bookings/


async def test_booking_refers_to_user_event_and_facilitator_and_is_unpaid(
    john: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    ada = await shared_people.user()
    offered = await john.creates_event(price=25)
    answer = await ada.post("/bookings/", {"event_id": offered["id"]})
    assert answer.status_code == 201
    assert not misfits({"message": "Booking created successfully", "booking": BOOKING}, answer.json())
    booking = answer.json()["booking"]
    assert (booking["user"]["id"], booking["event"]["id"]) == (ada.id, offered["id"])
    assert booking["payment_status"] == "pending"
    assert booking["facilitator_id"] == john.id
    [listed] = (await ada.get("/bookings/")).json()["bookings"]
    [registered] = (await john.get(f"/facilitator/registrations/{offered['id']}")).json()["registrations"]
    assert (listed["facilitator_id"], registered["facilitator_id"]) == (john.id, john.id)
    payload = await shared_database.fetchval(
        "SELECT snapshot FROM outbox WHERE destination = 'crm' AND lane = 'booking:' || $1::text", str(booking["id"])
    )
    assert f'"facilitator": {{"id": {john.id},' in payload


async def test_user_lists_own_bookings_with_the_filters_of_contract_d(
    john: Person, shared_people: People, shared_api: httpx.AsyncClient
) -> None:
    ada, bob = await shared_people.user("Ada"), await shared_people.user("Bob")
    first, second, free = [await john.creates_event(price=price) for price in (25, 25, 0)]
    unpaid, paid, nothing_to_pay = [await ada.books(each["id"]) for each in (first, second, free)]
    await bob.books(first["id"])
    answer = await shared_api.post(
        "/service/offline-payments",
        json={"booking_id": paid["id"], "user_id": ada.id, "event_id": second["id"]},
        headers={"Authorization": "Bearer a-service-token-of-the-tests"},
    )
    assert answer.status_code == 200

    async def listed(**query: str) -> dict[int, str]:
        answer = await ada.get("/bookings/", params=query)
        assert answer.status_code == 200, answer.text
        assert not misfits({"bookings": [BOOKING], "next_cursor": None}, answer.json())
        return {each["id"]: each["payment_status"] for each in answer.json()["bookings"]}

    assert await listed() == {nothing_to_pay["id"]: "not_required", paid["id"]: "completed", unpaid["id"]: "pending"}
    assert await listed(payment_status="unpaid") == await listed(payment_status="pending") == {unpaid["id"]: "pending"}
    assert await listed(payment_status="paid") == await listed(payment_status="completed") == {paid["id"]: "completed"}


async def test_bookings_require_a_login(shared_api: httpx.AsyncClient, john: Person) -> None:
    offered = await john.creates_event()
    for answer in [
        await shared_api.get("/bookings/"),
        await shared_api.post("/bookings/", json={"event_id": offered["id"]}),
    ]:
        assert (answer.status_code, misfits(UNAUTHENTICATED, answer.json())) == (401, [])


async def test_booking_requires_an_existing_event(ada: Person) -> None:
    answer = await ada.post("/bookings/", {})
    assert (answer.status_code, misfits(invalid("event_id"), answer.json())) == (400, [])
    answer = await ada.post("/bookings/", {"event_id": 2**62})
    assert (answer.status_code, misfits(NO_EVENT, answer.json())) == (404, [])


# GET /facilitator/registrations/<event_id>


async def test_facilitator_lists_the_registrations_of_an_event(john: Person, shared_people: People) -> None:
    offered = await john.creates_event(price=25)
    ada, bob = await shared_people.user("Ada"), await shared_people.user("Bob")
    await ada.put("/profile", {"phone": "+1234567890"})
    first, second = await ada.books(offered["id"]), await bob.books(offered["id"])
    answer = await john.get(f"/facilitator/registrations/{offered['id']}")
    assert answer.status_code == 200
    shape = {"event_id": offered["id"], "title": offered["title"], "registrations": [REGISTRATION], "next_cursor": None}
    assert not misfits(shape, answer.json())
    newer, older = answer.json()["registrations"]
    assert (newer["id"], older["id"], older["payment_status"]) == (second["id"], first["id"], "pending")
    assert older["user"] == {"id": ada.id, "name": "Ada", "email": ada.email, "phone": "+1234567890"}

    page = (await john.get(f"/facilitator/registrations/{offered['id']}/?limit=1")).json()
    rest = await john.get(f"/facilitator/registrations/{offered['id']}", params={"cursor": page["next_cursor"]})
    assert [each["id"] for each in rest.json()["registrations"]] == [first["id"]]


# POST /facilitator/cancel/<event_id>


async def test_facilitator_cancels_own_event_and_its_bookings(
    shared_api: httpx.AsyncClient, john: Person, shared_people: People
) -> None:
    offered = await john.creates_event(price=25)
    ada = await shared_people.user()
    booking = await ada.books(offered["id"])
    answer = await john.post(f"/facilitator/cancel/{offered['id']}")
    assert answer.status_code == 200
    shape = {"message": "Event cancelled successfully", "refunds_processed": int, "total_refund_amount": NUMBER}
    assert not misfits(shape, answer.json())
    assert (await ada.get(f"/bookings/{booking['id']}")).json()["status"] == "cancelled"
    assert (await shared_api.get(f"/events/{offered['id']}")).json()["is_active"] is False
    [registered] = (await john.get(f"/facilitator/registrations/{offered['id']}")).json()["registrations"]
    assert registered["status"] == "cancelled"

    again = await john.post(f"/facilitator/cancel/{offered['id']}")
    assert (again.status_code, misfits(refused("Event is cancelled", "event_cancelled"), again.json())) == (400, [])


# Role management


OWN_EVENT = [
    ("PUT", "/events/{id}"),
    ("DELETE", "/events/{id}"),
    ("GET", "/facilitator/registrations/{id}"),
    ("POST", "/facilitator/cancel/{id}"),
]


@pytest.mark.parametrize(("method", "path"), OWN_EVENT)
async def test_only_the_facilitator_can_manage_an_event(
    shared_api: httpx.AsyncClient, shared_people: People, john: Person, ada: Person, method: str, path: str
) -> None:
    offered = await john.creates_event()
    here, body = path.format(id=offered["id"]), {"title": "Taken over"}
    other = await shared_people.facilitator("Somebody Else")
    for headers, status, refusal in [
        ({}, 401, UNAUTHENTICATED),
        ({"Authorization": "Bearer forged"}, 401, UNAUTHENTICATED),
        (ada.headers, 403, NOT_ALLOWED),
        (other.headers, 403, NOT_YOURS),
    ]:
        answer = await shared_api.request(method, here, headers=headers, json=body if method == "PUT" else None)
        assert (answer.status_code, misfits(refusal, answer.json())) == (status, [])
    assert (await john.get(f"/events/{offered['id']}")).json() == offered


@pytest.mark.parametrize(("method", "path"), OWN_EVENT)
@pytest.mark.parametrize("event_id", ["0", "-1", "01", "abc", "9223372036854775807", "9223372036854775808"])
async def test_unknown_event_returns_404(john: Person, method: str, path: str, event_id: str) -> None:
    body = {"title": "New"} if method == "PUT" else None
    answer = await john.api.request(method, path.format(id=event_id), headers=john.headers, json=body)
    assert (answer.status_code, misfits(NO_EVENT, answer.json())) == (404, [])


async def test_trailing_slashes_need_no_redirect(
    shared_api: httpx.AsyncClient, john: Person, shared_people: People
) -> None:
    ada, offered = await shared_people.user(), await john.creates_event()
    answers = [
        await john.put(f"/events/{offered['id']}/", {"title": "Slow Yoga"}),
        await ada.post("/bookings/", {"event_id": offered["id"]}),
        await ada.get("/bookings/"),
        await john.get(f"/facilitator/registrations/{offered['id']}/"),
        await john.post(f"/facilitator/cancel/{offered['id']}/"),
        await john.delete(f"/events/{offered['id']}/"),
    ]
    assert [answer.status_code for answer in answers] == [200, 201, 200, 200, 200, 200]


def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
