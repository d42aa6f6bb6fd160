"""The outbox over HTTP: for admins alone, with everything that an operator needs of it."""

from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from tests.support.messages import add_message
from tests.support.people import People, Person
from tests.support.rows import stored_row

UNKNOWN_ID = "01a0b1c2-d3e4-7f50-8a6b-7c8d9e0f1a2b"
CALLS = [
    ("GET", "/admin/outbox"),
    ("GET", f"/admin/outbox/{UNKNOWN_ID}"),
    ("POST", f"/admin/outbox/{UNKNOWN_ID}/replay"),
    ("POST", "/admin/outbox/replay"),
]


@pytest.fixture
async def root(shared_people: People, emptied_database: asyncpg.Connection) -> Person:
    """An admin."""
    person = await shared_people.user("Katherine Johnson")
    await emptied_database.execute("UPDATE users SET role = 'admin' WHERE id = $1", person.id)
    return person


async def dead(database: asyncpg.Connection, **about: Any) -> UUID:
    """A message that was refused once."""
    message_id = await add_message(database, **about)
    await database.execute(
        "UPDATE outbox SET status = 'dead', attempts = 1, settled_at = now(), last_error = '400' WHERE id = $1",
        message_id,
    )
    await database.execute(
        """INSERT INTO delivery_attempts (message_id, attempt, started_at, took_ms, result, status_code, detail, probe)
           VALUES ($1, 1, now(), 12, 'failed', 400, 'Bad Request', true)""",
        message_id,
    )
    return message_id


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [message["id"] for message in answer.json()["messages"]]


async def status_of(database: asyncpg.Connection, message_id: UUID) -> str:
    return str(await database.fetchval("SELECT status FROM outbox WHERE id = $1", message_id))


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_only_admins_have_access(
    shared_api: httpx.AsyncClient, shared_people: People, method: str, path: str
) -> None:
    body = {"destination": "crm"} if path.endswith("outbox/replay") else None
    answer = await shared_api.request(method, path, json=body)
    assert answer.status_code == 401
    for person in (await shared_people.user(), await shared_people.facilitator()):
        answer = await shared_api.request(method, path, headers=person.headers, json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_list_is_filtered_and_paginated_newest_first(root: Person, emptied_database: asyncpg.Connection) -> None:
    first, second = await dead(emptied_database), await dead(emptied_database)
    mail = await dead(emptied_database, destination="email")
    await add_message(emptied_database)
    assert ids(await root.get("/admin/outbox", params={"status": "dead"})) == [str(mail), str(second), str(first)]
    assert ids(await root.get("/admin/outbox", params={"status": "dead", "destination": "email"})) == [str(mail)]
    assert len(ids(await root.get("/admin/outbox"))) == 4
    assert ids(await root.get("/admin/outbox", params={"since": "2099-01-01T00:00:00Z"})) == []
    page = await root.get("/admin/outbox", params={"status": "dead", "limit": 2})
    assert ids(page) == [str(mail), str(second)]
    rest = await root.get("/admin/outbox", params={"status": "dead", "cursor": page.json()["next_cursor"]})
    assert ids(rest) == [str(first)]
    assert rest.json()["next_cursor"] is None


async def test_since_filters_by_time_of_the_message(root: Person, emptied_database: asyncpg.Connection) -> None:
    old, new = await dead(emptied_database), await dead(emptied_database)
    await emptied_database.execute("UPDATE outbox SET occurred_at = '2026-01-01T00:00:00Z' WHERE id = $1", old)
    assert ids(await root.get("/admin/outbox", params={"since": "2026-01-02"})) == [str(new)]
    assert ids(await root.get("/admin/outbox", params={"since": "1970-01-01"})) == [str(new), str(old)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "lost"),
        ("destination", "pigeon"),
        ("since", "yesterday"),
        ("since", "0001-01-01T00:00:00+23:59"),
        ("since", "1969-12-31T23:59:59Z"),
        ("since", "2100-01-01"),
        ("limit", "0"),
        ("limit", "many"),
        ("cursor", "first"),
    ],
)
async def test_invalid_filter_is_rejected_with_its_name(root: Person, name: str, value: str) -> None:
    answer = await root.get("/admin/outbox", params={name: value})
    assert answer.status_code == 400
    assert list(answer.json()["details"]) == [name]


async def test_message_is_shown_with_its_attempts_and_not_cached(
    root: Person, emptied_database: asyncpg.Connection
) -> None:
    message_id = await dead(emptied_database)
    answer = await root.get(f"/admin/outbox/{message_id}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    shown = answer.json()
    assert (shown["id"], shown["status"], shown["last_error"]) == (str(message_id), "dead", "400")
    assert shown["snapshot"]["user"]["email"] == "ada@example.com"
    [made] = shown["attempts_made"]
    assert (made["attempt"], made["status_code"], made["probe"]) == (1, 400, True)


@pytest.mark.parametrize("wrong", [UNKNOWN_ID, "12", "not-an-id"])
async def test_unknown_message_is_not_found(root: Person, wrong: str) -> None:
    for answer in (await root.get(f"/admin/outbox/{wrong}"), await root.post(f"/admin/outbox/{wrong}/replay")):
        assert (answer.status_code, answer.json()["code"]) == (404, "message_not_found")


async def test_replay_makes_the_message_due_and_a_second_replay_is_rejected(
    root: Person, emptied_database: asyncpg.Connection
) -> None:
    message_id = await dead(emptied_database)
    answer = await root.post(f"/admin/outbox/{message_id}/replay")
    assert (answer.status_code, answer.json()) == (200, {"replayed": 1})
    kept = await stored_row(emptied_database, "SELECT id, status, attempts, due_at <= now() AS due FROM outbox")
    assert tuple(kept) == (message_id, "pending", 0, True)
    again = await root.post(f"/admin/outbox/{message_id}/replay")
    assert (again.status_code, again.json()["code"]) == (400, "message_not_dead")


async def test_messages_are_replayed_once_by_destination_and_time(
    root: Person, emptied_database: asyncpg.Connection
) -> None:
    message, mail, old = (
        await dead(emptied_database),
        await dead(emptied_database, destination="email"),
        await dead(emptied_database),
    )
    await emptied_database.execute("UPDATE outbox SET occurred_at = '2026-01-01T00:00:00Z' WHERE id = $1", old)
    order = {"destination": "crm", "since": "2026-01-02T00:00:00Z"}
    answer = await root.post("/admin/outbox/replay", json=order)
    assert (answer.status_code, answer.json()) == (200, {"replayed": 1})
    answer = await root.post("/admin/outbox/replay", json=order)
    kept = {(each["destination"], each["status"]) for each in answer.json().pop("kept")}
    assert (answer.status_code, answer.json()["replayed"]) == (200, 0)
    assert kept == {("crm", "pending"), ("crm", "dead"), ("email", "dead")}
    assert [await status_of(emptied_database, each) for each in (message, mail, old)] == ["pending", "dead", "dead"]
    answer = await root.post("/admin/outbox/replay", json={"since": "2025-01-01"})
    assert (answer.status_code, answer.json()) == (200, {"replayed": 2})


async def test_messages_delivered_to_the_crm_are_replayed_since_a_time(
    root: Person, emptied_database: asyncpg.Connection
) -> None:
    messages = [await add_message(emptied_database, destination=name) for name in ("crm", "crm", "email")]
    await emptied_database.execute(
        "UPDATE outbox SET status = 'delivered', settled_at = '2026-01-02T00:00:00Z', attempts = 2"
    )
    await emptied_database.execute("UPDATE outbox SET settled_at = '2026-01-01T00:00:00Z' WHERE id = $1", messages[0])
    for destination, count in (("email", 0), ("crm", 1)):
        answer = await root.post(
            "/admin/outbox/replay", json={"destination": destination, "since": "2026-01-01T00:00:01Z"}
        )
        assert (answer.status_code, answer.json()["replayed"]) == (200, count)
    assert [await status_of(emptied_database, each) for each in messages] == ["delivered", "pending", "delivered"]


@pytest.mark.parametrize(
    "body", [{}, {"destination": None}, {"destination": "pigeon"}, {"since": "yesterday"}, {"since": 5}]
)
async def test_replay_without_criteria_is_rejected(
    root: Person, emptied_database: asyncpg.Connection, body: dict[str, Any]
) -> None:
    message_id = await dead(emptied_database)
    answer = await root.post("/admin/outbox/replay", json=body)
    assert answer.status_code == 400
    assert await status_of(emptied_database, message_id) == "dead"
