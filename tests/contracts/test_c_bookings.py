"""Contract C on the booking API: bookings and what facilitators see, walked in the document's order."""

from typing import Any

import asyncpg
import pytest

from tests.contracts.documents import uncalled
from tests.contracts.sessions import (
    DASHBOARD,
    FACILITATOR_BOOKING,
    MY_BOOKING,
    NO_SESSION,
    OWN_SESSION,
    SESSION_BOOKING,
    books,
    creates,
    invalid,
    own_session,
    refused,
)
from tests.support.people import People, Person
from tests.support.shapes import misfits

# Create Booking


async def test_booking_returns_201_with_its_id(john: Person, ada: Person) -> None:
    session_id = await creates(john)
    answer = await ada.post("/api/bookings", json={"session_id": session_id, "notes": "Optional booking notes"})
    assert answer.status_code == 201
    assert not misfits({"message": "Booking created successfully", "booking_id": int}, answer.json())
    booking = (await ada.get(f"/bookings/{answer.json()['booking_id']}")).json()
    assert (booking["event"]["id"], booking["notes"]) == (session_id, "Optional booking notes")


async def test_each_reason_against_a_booking_returns_its_message(
    john: Person, ada: Person, shared_people: People, shared_database: asyncpg.Connection
) -> None:
    full, twice, cancelled, begun = [await creates(john, capacity=1) for _ in range(4)]
    await books(await shared_people.user(), full)
    await books(ada, twice)
    await john.post(f"/api/sessions/{cancelled}/cancel")
    await shared_database.execute("UPDATE events SET starts_at = now() WHERE id = $1", begun)
    for session_id, sentence, code in [
        (full, "Session is fully booked", "event_full"),
        (twice, "You have already booked this session", "already_booked"),
        (cancelled, "Session not available", "event_cancelled"),
        (begun, "Session not available", "event_started"),
    ]:
        answer = await ada.post("/api/bookings", json={"session_id": session_id})
        assert answer.status_code == 400
        assert not misfits(refused(sentence, code, message=sentence), answer.json())
    answer = await ada.post("/api/bookings", json={"session_id": 2**63 - 1})
    assert answer.status_code == 404
    assert not misfits(NO_SESSION, answer.json())


async def test_facilitator_can_book_and_invalid_notes_are_named(john: Person, shared_people: People) -> None:
    session_id = await creates(john)
    other = await shared_people.facilitator("Jane")
    answer = await other.post("/api/bookings", json={"session_id": session_id, "notes": "x" * 2001})
    assert answer.status_code == 400
    assert not misfits(invalid("notes"), answer.json())
    await books(other, session_id)


@pytest.mark.parametrize("body", [{}, {"event_id": 1, "session_id": 1}, {"session_id": None}, {"session_id": "one"}])
async def test_error_on_a_path_of_contracts_a_and_c_has_both_fields(ada: Person, body: dict[str, Any]) -> None:
    answer = await ada.post("/api/bookings", json=body)
    assert answer.status_code == 400
    assert not misfits(refused(str, "validation_error", message=str), answer.json())


# Get My Bookings


async def test_my_bookings_are_an_array_with_the_newest_first(john: Person, shared_people: People) -> None:
    eve = await shared_people.user("Eve")
    first, second = await creates(john), await creates(john)
    older = await books(eve, first, notes="Looking forward to this session")
    newer = await books(eve, second)
    await eve.delete(f"/api/bookings/{newer}")
    answer = await eve.get("/api/bookings/my")
    assert answer.status_code == 200
    assert not misfits([MY_BOOKING], answer.json())
    session = await own_session(john, first)
    brief = {name: session[name] for name in ("id", "title", "start_time", "end_time")} | {"facilitator": john.name}
    assert not misfits(
        MY_BOOKING
        | {
            "id": older,
            "session": brief,
            "booking_status": "confirmed",
            "notes": "Looking forward to this session",
        },
        answer.json()[1],
    )
    assert not misfits(MY_BOOKING | {"id": newer, "booking_status": "cancelled", "notes": None}, answer.json()[0])


# Get Facilitator Bookings


async def test_facilitator_lists_the_bookings_of_all_own_sessions(people: People) -> None:
    john, jane, ada = await people.facilitator(), await people.facilitator("Jane"), await people.user("Ada")
    first, second, foreign = await creates(john), await creates(john), await creates(jane)
    older = await books(ada, first, notes="User notes")
    newer = await books(ada, second)
    await books(ada, foreign)
    await ada.delete(f"/api/bookings/{newer}")
    answer = await john.get("/api/facilitator/bookings")
    assert answer.status_code == 200
    assert not misfits([FACILITATOR_BOOKING], answer.json())
    listed = [(each["id"], each["session"]["id"], each["booking_status"], each["notes"]) for each in answer.json()]
    assert listed == [(newer, second, "cancelled", None), (older, first, "confirmed", "User notes")]
    assert answer.json()[0]["user"] == {"id": ada.id, "name": "Ada", "email": ada.email}


# Get Facilitator Dashboard


async def test_dashboard_of_a_new_facilitator_has_zeros(shared_people: People) -> None:
    answer = await (await shared_people.facilitator()).get("/api/facilitator/dashboard")
    assert answer.status_code == 200
    metrics = {
        "total_sessions": 0,
        "active_sessions": 0,
        "total_bookings": 0,
        "total_revenue": 0.0,
        "currency": "INR",
        "revenue_by_currency": {},
        "upcoming_sessions": 0,
    }
    assert answer.json() == {"metrics": metrics, "recent_bookings": []}


async def test_dashboard_counts_sessions_bookings_and_received_money(
    people: People, database: asyncpg.Connection
) -> None:
    john, ada, bob = await people.facilitator(), await people.user("Ada"), await people.user("Bob")
    cheap, euros, cancelled, over = [
        await creates(john, **changes)
        for changes in ({"price": 25.5}, {"price": 1000, "currency": "EUR"}, {"price": 5}, {"price": 7})
    ]
    foreign = await creates(await people.facilitator("Jane"), price=99)
    paid = [await books(ada, cheap), await books(bob, cheap), await books(bob, euros), await books(ada, foreign)]
    unpaid = await books(ada, over)
    given_back = await books(ada, cancelled)
    await john.post(f"/api/sessions/{cancelled}/cancel")
    await database.execute("UPDATE payments SET status = 'completed' WHERE booking_id = any($1)", paid)
    await database.execute(
        "UPDATE payments SET status = 'refunded', refunded = amount WHERE booking_id = $1", given_back
    )
    await database.execute("UPDATE payments SET status = 'failed' WHERE booking_id = $1", unpaid)
    await database.execute("UPDATE events SET starts_at = now() - '1 hour'::interval WHERE id = $1", over)

    answer = await john.get("/api/facilitator/dashboard")
    assert answer.status_code == 200
    assert not misfits(DASHBOARD, answer.json())
    assert answer.json()["metrics"] == {
        "total_sessions": 4,
        "active_sessions": 3,
        "total_bookings": 4,
        "total_revenue": 51.0,
        "currency": "INR",
        "revenue_by_currency": {"INR": 51.0, "EUR": 1000.0},
        "upcoming_sessions": 2,
    }
    recent = answer.json()["recent_bookings"]
    assert [each["id"] for each in recent] == [given_back, unpaid, paid[2], paid[1], paid[0]]
    assert (recent[0]["status"], recent[1]["status"]) == ("cancelled", "confirmed")
    assert recent[1]["user"] == {"id": ada.id, "name": "Ada", "email": ada.email}


async def test_dashboard_shows_the_last_ten_bookings(people: People) -> None:
    john, ada = await people.facilitator(), await people.user()
    made = [await books(ada, await creates(john)) for _ in range(12)]
    recent = (await john.get("/api/facilitator/dashboard")).json()["recent_bookings"]
    assert [each["id"] for each in recent] == made[:1:-1]


# Get Facilitator Sessions


async def test_facilitator_lists_all_own_sessions(people: People, database: asyncpg.Connection) -> None:
    john, ada, bob = await people.facilitator(), await people.user(), await people.user()
    ahead, cancelled, past = [await creates(john, in_days=day, capacity=10) for day in (1, 2, 3)]
    await creates(await people.facilitator("Jane"))
    for person in (ada, bob):
        await books(person, ahead)
    await john.post(f"/api/sessions/{cancelled}/cancel")
    await database.execute(
        "UPDATE events SET starts_at = now() - '2 days'::interval, ends_at = now() - '1 day'::interval WHERE id = $1",
        past,
    )
    answer = await john.get("/api/facilitator/sessions")
    assert answer.status_code == 200
    assert not misfits([OWN_SESSION], answer.json())
    listed = [(each["id"], each["status"], each["bookings_count"], each["available_spots"]) for each in answer.json()]
    assert listed == [(cancelled, "cancelled", 0, 10), (ahead, "active", 2, 8), (past, "active", 0, 10)]


# Get Session Bookings


async def test_facilitator_lists_the_bookings_of_a_session(john: Person, shared_people: People) -> None:
    session_id, other = await creates(john), await creates(john)
    ada, bob = await shared_people.user("Ada"), await shared_people.user("Bob")
    older = await books(ada, session_id, notes="Looking forward to this session")
    newer = await books(bob, session_id)
    await books(bob, other)
    await bob.delete(f"/api/bookings/{newer}")
    answer = await john.get(f"/api/facilitator/sessions/{session_id}/bookings")
    assert answer.status_code == 200
    assert not misfits([SESSION_BOOKING], answer.json())
    listed = [(each["id"], each["booking_status"], each["notes"]) for each in answer.json()]
    assert listed == [(newer, "cancelled", None), (older, "confirmed", "Looking forward to this session")]
    assert answer.json()[1]["user"] == {"id": ada.id, "name": "Ada", "email": ada.email}


# Paging


@pytest.fixture(scope="module")
async def crowded(shared_people: People) -> tuple[Person, Any]:
    """A facilitator with five bookings of own sessions, and the session with four more."""
    john = await shared_people.facilitator()
    own = [await creates(john) for _ in range(5)]
    for session_id in own:
        await books(john, session_id)
    for _ in range(4):
        await books(await shared_people.user(), own[0])
    return john, own[0]


@pytest.mark.parametrize(
    "path",
    [
        "/api/sessions",
        "/api/bookings/my",
        "/api/facilitator/bookings",
        "/api/facilitator/sessions",
        "/api/facilitator/sessions/{id}/bookings",
    ],
)
async def test_list_is_paginated_with_a_link_header(crowded: tuple[Person, Any], path: str) -> None:
    john, session_id = crowded
    here = path.format(id=session_id)
    whole = await john.get(here)
    assert len(whole.json()) >= 5
    assert "link" not in whole.headers
    seen: list[Any] = []
    following: str | None = f"{here}?limit=2"
    sizes = []
    while following:
        page = await john.get(following)
        assert page.status_code == 200
        seen += page.json()
        sizes.append(len(page.json()))
        following = page.links.get("next", {}).get("url")
    assert (max(sizes), seen) == (2, whole.json())


def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
