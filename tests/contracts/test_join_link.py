"""The link to join an event is for its facilitator, admins and people with a paid or free booking."""

from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.appointments import promoted
from tests.support.people import People, Person

LINK = "https://meet.google.com/abc-defg-hij"


@pytest.fixture
def api(shared_api: httpx.AsyncClient) -> httpx.AsyncClient:
    return shared_api


@pytest.fixture
def people(shared_people: People) -> People:
    return shared_people


@pytest.fixture
def database(shared_database: asyncpg.Connection) -> asyncpg.Connection:
    return shared_database


@pytest.fixture
async def john(people: People) -> Person:
    return await people.facilitator()


async def shown(api: httpx.AsyncClient, viewer: Person | None, event_id: int, facilitator: int) -> set[str | None]:
    """What the event's answers show to them: alone, in the list and in the filtered list."""
    headers = viewer.headers if viewer else {}
    found = {(await api.get(f"/events/{event_id}", headers=headers)).json()["virtual_link"]}
    for path in (f"/events?facilitator_id={facilitator}", "/events/filter?type=session"):
        listed: list[dict[str, Any]] = (await api.get(path, headers=headers)).json()["events"]
        found |= {each["virtual_link"] for each in listed if each["id"] == event_id}
    return found


@pytest.mark.parametrize("price", [0, 30])
async def test_public_and_other_users_see_no_link(
    api: httpx.AsyncClient, people: People, john: Person, price: int
) -> None:
    event = await john.creates_event(price=price, virtual_link=LINK)
    assert event["virtual_link"] == LINK
    for viewer in (None, await people.user(), await people.facilitator("Another")):
        assert await shown(api, viewer, event["id"], john.id) == {None}


async def test_facilitator_and_admins_see_the_link(
    api: httpx.AsyncClient, people: People, john: Person, database: asyncpg.Connection
) -> None:
    event = await john.creates_event(virtual_link=LINK)
    root = await promoted(await people.user("Root"), database)
    answer = await api.post("/auth/login", json={"email": root.email, "password": "password123"})
    admin = Person(api, root.id, root.name, root.email, answer.json()["access_token"], "")
    for viewer in (john, admin):
        assert await shown(api, viewer, event["id"], john.id) == {LINK}
    assert (await john.get("/facilitator/events")).json()["events"][0]["virtual_link"] == LINK
    changed = await john.put(f"/events/{event['id']}", json={"location": "Studio C"})
    assert changed.json()["event"]["virtual_link"] == LINK


async def test_free_booking_shows_the_link_until_it_is_cancelled(
    api: httpx.AsyncClient, people: People, john: Person
) -> None:
    event = await john.creates_event(price=0, virtual_link=LINK)
    ada = await people.user()
    booking = await ada.books(event["id"])
    assert await shown(api, ada, event["id"], john.id) == {LINK}
    assert (await ada.get(f"/bookings/{booking['id']}")).json()["event"]["virtual_link"] == LINK
    assert (await ada.post(f"/bookings/{booking['id']}/cancel")).status_code == 200
    assert await shown(api, ada, event["id"], john.id) == {None}
    assert (await ada.get(f"/bookings/{booking['id']}")).json()["event"]["virtual_link"] is None


@pytest.mark.parametrize(
    ("payment_status", "expected"), [("pending", None), ("failed", None), ("completed", LINK), ("not_required", LINK)]
)
async def test_priced_booking_shows_the_link_after_payment(
    api: httpx.AsyncClient,
    people: People,
    john: Person,
    database: asyncpg.Connection,
    payment_status: str,
    expected: str | None,
) -> None:
    event = await john.creates_event(virtual_link=LINK)
    ada = await people.user()
    booking = await ada.books(event["id"])
    await database.execute("UPDATE bookings SET payment_status = $2 WHERE id = $1", booking["id"], payment_status)
    assert await shown(api, ada, event["id"], john.id) == {expected}
    assert (await ada.get(f"/bookings/{booking['id']}")).json()["event"]["virtual_link"] == expected
    (listed,) = (await ada.get("/bookings")).json()["bookings"]
    assert listed["event"]["virtual_link"] == expected
    seen = (await john.get(f"/bookings/{booking['id']}")).json()
    assert seen["event"]["virtual_link"] == LINK


async def test_wrong_token_is_treated_as_no_token(api: httpx.AsyncClient, john: Person) -> None:
    event = await john.creates_event(virtual_link=LINK)
    answer = await api.get(f"/events/{event['id']}", headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, answer.json()["virtual_link"]) == (200, None)
