"""Finding a coach: who is in the public list, what it shows, its pages and its errors."""

from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.appointments import at, books, uuid_of
from tests.support.people import People, Person, event

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
ANY_HOURS = [{"start": "10:00", "end": "12:00"}]


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
async def jane(people: People) -> Person:
    return await people.facilitator("Jane Smith")


async def listed(api: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    """All coaches by their uuid, three a page."""
    found: list[dict[str, Any]] = []
    path = "/coaches?limit=3"
    while path:
        answer = await api.get(path)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert len(body["coaches"]) == 3 or body["next_cursor"] is None
        found += body["coaches"]
        path = answer.links["next"]["url"] if body["next_cursor"] else ""
    by_uuid = {coach["uuid"]: coach for coach in found}
    assert len(by_uuid) == len(found)
    return by_uuid


async def sets(coach: Person, **hours: Any) -> None:
    answer = await coach.put("/coach/availability", json=hours)
    assert answer.status_code == 200, answer.text


async def test_client_finds_a_coach_and_books_an_appointment(
    api: httpx.AsyncClient, people: People, jane: Person
) -> None:
    ada = await people.user()
    found = (await listed(api))[await uuid_of(jane)]
    assert found == {
        "uuid": await uuid_of(jane),
        "name": "Jane Smith",
        "bio": None,
        "specialization": None,
        "rating": None,
        "price_per_hour": 0,
        "currency": "INR",
        "timezone": "UTC",
    }
    assert (await api.get(f"/coaches/{found['uuid']}")).json() == found
    booked = await books(ada, found["uuid"], at(9))
    assert booked["coach_id"] == found["uuid"]


async def test_coach_has_profile_price_and_time_zone(
    api: httpx.AsyncClient, jane: Person, database: asyncpg.Connection
) -> None:
    await sets(jane, timezone="Asia/Kolkata", price_per_hour=1500, currency="INR")
    await database.execute(
        """UPDATE facilitator_profiles SET bio = 'Coach', specialization = 'Careers', rating_sum = 14, rating_count = 3
        WHERE user_id = $1""",
        jane.id,
    )
    uuid = await uuid_of(jane)
    shown = (await api.get(f"/coaches/{uuid}")).json()
    assert shown == {
        "uuid": uuid,
        "name": "Jane Smith",
        "bio": "Coach",
        "specialization": "Careers",
        "rating": 4.67,
        "price_per_hour": 1500,
        "currency": "INR",
        "timezone": "Asia/Kolkata",
    }
    assert (await listed(api))[uuid] == shown


@pytest.mark.parametrize(
    ("hours", "offered"),
    [
        ({"weekly_hours": {}}, False),
        ({"weekly_hours": {day: [] for day in DAYS}}, False),
        ({"weekly_hours": {"sunday": ANY_HOURS}}, True),
        ({"weekly_hours": {}, "date_overrides": {"2099-12-31": ANY_HOURS}}, True),
        ({"weekly_hours": {}, "date_overrides": {"2099-12-31": []}}, False),
        ({"weekly_hours": {}, "date_overrides": {"1999-12-31": ANY_HOURS}}, False),
    ],
)
async def test_coaches_without_hours_offer_no_appointments(
    api: httpx.AsyncClient, jane: Person, hours: dict[str, Any], offered: bool
) -> None:
    await sets(jane, **hours)
    uuid = await uuid_of(jane)
    assert (uuid in await listed(api)) is offered
    assert (await api.get(f"/coaches/{uuid}")).status_code == (200 if offered else 404)


@pytest.mark.parametrize("change", ["is_active = false", "role = 'user'", "role = 'admin'"])
async def test_only_active_facilitators_are_coaches(
    api: httpx.AsyncClient, jane: Person, database: asyncpg.Connection, change: str
) -> None:
    uuid = await uuid_of(jane)
    assert uuid in await listed(api)
    await database.execute(f"UPDATE users SET {change} WHERE id = $1", jane.id)
    assert uuid not in await listed(api)
    assert (await api.get(f"/coaches/{uuid}")).status_code == 404


@pytest.mark.parametrize("uuid", ["00000000-0000-0000-0000-000000000000", "7", "nobody"])
async def test_unknown_coach_is_not_found(api: httpx.AsyncClient, uuid: str) -> None:
    answer = await api.get(f"/coaches/{uuid}")
    assert answer.status_code == 404
    body = answer.json()
    assert (body["detail"], body["code"]) == ("Coach not found", "coach_not_found")


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"cursor": "x"}, {"skip": "1"}, {"curser": "x"}]
)
async def test_invalid_parameters_return_the_error_shape_of_contract_e(
    api: httpx.AsyncClient, query: dict[str, str]
) -> None:
    answer = await api.get("/coaches", params=query)
    assert answer.status_code == 400
    (name,) = query
    assert name in answer.json()["details"]
    assert isinstance(answer.json()["detail"], str)


async def test_page_has_twenty_coaches_by_default(api: httpx.AsyncClient, database: asyncpg.Connection) -> None:
    await database.execute(
        """WITH people AS (INSERT INTO users (email, name, role)
               SELECT 'coach' || n || '@example.net', 'Coach ' || n, 'facilitator' FROM generate_series(1, 120) n
               RETURNING id)
           INSERT INTO facilitator_profiles (user_id) SELECT id FROM people"""
    )
    assert len((await api.get("/coaches")).json()["coaches"]) == 20
    assert len((await api.get("/coaches?limit=100")).json()["coaches"]) == 100
    assert len(await listed(api)) >= 120


async def test_facilitator_of_an_event_has_a_uuid_beside_the_id(
    api: httpx.AsyncClient, people: People, jane: Person
) -> None:
    made = await jane.creates_event(**event(price=0))
    uuid = await uuid_of(jane)
    assert (made["facilitator"]["id"], made["facilitator"]["uuid"]) == (jane.id, uuid)
    shown = (await api.get(f"/events/{made['id']}")).json()
    assert shown["facilitator"]["uuid"] == uuid
    assert [
        each["facilitator"]["uuid"] for each in (await api.get(f"/events?facilitator_id={jane.id}")).json()["events"]
    ] == [uuid]
