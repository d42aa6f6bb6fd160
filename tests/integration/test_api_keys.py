"""API keys over HTTP. The rules are in tests/application/test_api_keys.py; here are the transport, the guards, the
database, and connections that stay open."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest

from domain.api_keys import is_well_formed
from tests.support.callers import Address
from tests.support.followers import a_stream
from tests.support.people import People, Person

ALL = ["bookings:read", "bookings:write", "events:read", "events:write", "profile:read", "appointments:read"]
PATIENCE = 30


async def a_key(person: Person, *scopes: str, **more: Any) -> dict[str, Any]:
    answer = await person.post("/api-keys", json={"name": "CRM", "scopes": scopes or ALL, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def by(key: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['key']}"}


async def test_key_is_made_shown_once_used_and_revoked(api: httpx.AsyncClient, people: People) -> None:
    ada = await people.user()
    made = await a_key(ada, "profile:read", expires_at="2099-01-01T00:00:00Z")
    assert is_well_formed(made["key"])
    profile = await api.get("/profile", headers=by(made))
    assert (profile.status_code, profile.json()["id"]) == (200, ada.id)

    async with asyncio.timeout(PATIENCE):  # the use is stored in the background
        while (listed := (await ada.get("/api-keys")).json()["api_keys"])[0]["last_used_at"] is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert listed[0]["last_used_at"].endswith(":00Z")
    assert listed == [
        {name: value for name, value in made.items() if name != "key"} | {"last_used_at": listed[0]["last_used_at"]}
    ]
    assert made["key"].startswith(made["prefix"])

    assert (await ada.delete(f"/api-keys/{made['id']}")).status_code == 204
    assert (await ada.delete(f"/api-keys/{made['id']}")).status_code == 404
    assert (await api.get("/profile", headers=by(made))).status_code == 401
    assert (await ada.get("/api-keys")).json() == {"api_keys": [], "next_cursor": None}


async def test_secret_is_in_no_table(api: httpx.AsyncClient, people: People, database: asyncpg.Connection) -> None:
    """Nor as the answer to a request with an idempotency key."""
    ada = await people.user()
    answer = await ada.post("/api-keys", json={"name": "CRM", "scopes": ["profile:read"]}, key="one")
    secret = answer.json()["key"]
    assert (await api.get("/profile", headers={"Authorization": f"Bearer {secret}"})).status_code == 200
    tables = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        rows = await database.fetch(f"SELECT t::text FROM {table} t")
        assert not any(secret in row or secret.encode().hex() in row for (row,) in rows), table


@pytest.mark.parametrize(
    ("path", "field"), [("/bookings", "error"), ("/api/my-bookings", "error"), ("/api/bookings/my", "message")]
)
async def test_refused_keys_get_the_errors_of_the_path(
    api: httpx.AsyncClient, people: People, path: str, field: str
) -> None:
    ada = await people.user()
    made = await a_key(ada, "events:read")
    mistyped = {"Authorization": f"Bearer {made['key'][:-1]}{'0' if made['key'][-1] != '0' else '1'}"}
    unauthenticated, without_scope = await api.get(path, headers=mistyped), await api.get(path, headers=by(made))
    assert (unauthenticated.status_code, unauthenticated.json()["code"]) == (401, "invalid_token")
    assert unauthenticated.headers["WWW-Authenticate"] == "Bearer"
    assert unauthenticated.json().keys() == (await api.get(path)).json().keys()
    assert (without_scope.status_code, without_scope.json()["code"]) == (403, "insufficient_scope")
    assert "bookings:read" in json.dumps(without_scope.json())


async def test_public_route_shows_more_to_a_key_with_its_scope_only(api: httpx.AsyncClient, people: People) -> None:
    john = await people.facilitator()
    event = await john.creates_event(virtual_link="https://meet.example.com/yoga")
    path, shown = f"/events/{event['id']}", []
    for scope in ("events:read", "events:write", "bookings:read"):
        answer = await api.get(path, headers=by(await a_key(john, scope)))
        assert answer.status_code == 200
        shown.append(answer.json()["virtual_link"])
    assert shown == ["https://meet.example.com/yoga", None, None]


async def test_change_by_a_key_has_the_key_in_the_audit_log(
    api: httpx.AsyncClient, people: People, database: asyncpg.Connection
) -> None:
    john = await people.facilitator()
    made = await a_key(john, "events:write")
    event = await john.creates_event()
    assert (await api.delete(f"/events/{event['id']}", headers=by(made))).status_code == 200
    entries = await database.fetch("SELECT actor_kind, actor_id FROM audit_log WHERE action = 'event.cancelled'")
    assert [tuple(entry) for entry in entries] == [("key", made["id"])]
    made_by = await database.fetch("SELECT actor_kind, actor_id FROM audit_log WHERE action = 'api_key.created'")
    assert [tuple(entry) for entry in made_by] == [("account", str(john.id))]


async def test_key_ends_with_the_account_and_cannot_be_used_by_it_again(
    api: httpx.AsyncClient, people: People, database: asyncpg.Connection
) -> None:
    ada = await people.user()
    made = await a_key(ada, "profile:read")
    await database.execute("UPDATE users SET is_active = false WHERE id = $1", ada.id)
    assert (await api.get("/profile", headers=by(made))).status_code == 401


async def test_number_of_keys_holds_under_concurrent_requests(people: People) -> None:
    """What only a real database shows: the lock on the account."""
    ada = await people.user()
    request = {"name": "CRM", "scopes": ["profile:read"]}
    answers = await asyncio.gather(*(ada.post("/api-keys", json=request) for _ in range(25)))
    assert sorted(answer.status_code for answer in answers) == [201] * 20 + [400] * 5
    assert {answer.json()["code"] for answer in answers if answer.status_code == 400} == {"too_many_api_keys"}


async def test_live_connection_ends_when_its_key_is_revoked(people: People, api: httpx.AsyncClient) -> None:
    address: Address = api.base_url.host, api.base_url.port or 80
    john = await people.facilitator()
    made = await a_key(john, "bookings:read", "appointments:read")
    one_scope = await a_key(john, "bookings:read")
    assert (await api.get("/facilitator/feed", headers=by(one_scope))).status_code == 403
    async with a_stream(address, made["key"]) as stream:
        assert (await john.delete(f"/api-keys/{made['id']}")).status_code == 204
        assert await stream.ended()
