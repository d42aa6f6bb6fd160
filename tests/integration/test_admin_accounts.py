"""Administration of accounts over HTTP; the lock of admins, and the plans of the list, which only PostgreSQL shows."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import select

from application.accounts.ports.accounts import AccountFilter
from application.ports import PageRequest
from domain.accounts import LastAdmin, Role, UserId
from infrastructure import container
from infrastructure.postgres.accounts.queries import PostgresAccountQueries
from infrastructure.postgres.accounts.repository import PostgresUsers
from infrastructure.postgres.tables import UserRow
from tests.support.people import People, Person
from tests.support.plans import ExplainedDatabase
from tests.support.settings import settings_for

ACCOUNTS = 20_000


@pytest.fixture
async def root(shared_people: People, emptied_database: asyncpg.Connection) -> Person:
    """An admin."""
    person = await shared_people.user("Katherine Johnson")
    await emptied_database.execute("UPDATE users SET role = 'admin' WHERE id = $1", person.id)
    return person


def ids(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [user["id"] for user in answer.json()["users"]]


async def test_only_admins_have_access(shared_api: httpx.AsyncClient, shared_people: People) -> None:
    calls = [("GET", ""), ("POST", "/1/deactivate"), ("POST", "/1/activate"), ("POST", "/1/role")]
    for method, path in calls:
        body = {"role": "admin"} if path.endswith("role") else None
        answer = await shared_api.request(method, f"/admin/users{path}", json=body)
        assert answer.status_code == 401
        for person in (await shared_people.user(), await shared_people.facilitator()):
            answer = await shared_api.request(method, f"/admin/users{path}", json=body, headers=person.headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_accounts_are_searched_filtered_and_paginated(root: Person, shared_people: People) -> None:
    ada, emmy = await shared_people.user("Ada Lovelace"), await shared_people.facilitator("Emmy Noether")
    assert ids(await root.get("/admin/users")) == [emmy.id, ada.id, root.id]
    assert ids(await root.get("/admin/users", params={"q": "love"})) == [ada.id]
    assert ids(await root.get("/admin/users", params={"q": emmy.email})) == [emmy.id]
    assert ids(await root.get("/admin/users", params={"role": "admin", "active": "true"})) == [root.id]
    assert ids(await root.get("/admin/users", params={"verified": "true"})) == []
    page = await root.get("/admin/users", params={"limit": 2})
    assert ids(await root.get(page.links["next"]["url"])) == [root.id]
    [shown] = (await root.get("/admin/users", params={"q": "Lovelace"})).json()["users"]
    assert (shown["email"], shown["role"], shown["is_active"]) == (ada.email, "user", True)
    assert "password" not in str(shown)


@pytest.mark.parametrize(
    ("name", "value"),
    [("q", "@"), ("q", "a" * 101), ("role", "boss"), ("active", "maybe"), ("limit", "0"), ("cursor", "first")],
)
async def test_invalid_filter_is_rejected_with_its_name(root: Person, name: str, value: str) -> None:
    answer = await root.get("/admin/users", params={name: value})
    assert (answer.status_code, list(answer.json()["details"])) == (400, [name])


async def test_deactivation_ends_sessions_until_the_account_is_activated(
    root: Person, shared_people: People, emptied_database: asyncpg.Connection
) -> None:
    ada = await shared_people.user()
    answer = await root.post(f"/admin/users/{ada.id}/deactivate")
    assert (answer.status_code, answer.json()["is_active"]) == (200, False)
    assert (await ada.get("/profile")).status_code == 401
    assert (await root.post(f"/admin/users/{ada.id}/activate")).json()["is_active"]
    entries = await emptied_database.fetch(
        """SELECT action, actor_kind, actor_id FROM audit_log
           WHERE object_id = $1 AND action LIKE 'account.%' ORDER BY id""",
        str(ada.id),
    )
    assert [tuple(entry) for entry in entries][-2:] == [
        ("account.deactivated", "admin", str(root.id)),
        ("account.activated", "admin", str(root.id)),
    ]


async def test_role_is_changed(root: Person, shared_people: People) -> None:
    ada = await shared_people.user()
    answer = await root.post(f"/admin/users/{ada.id}/role", {"role": "facilitator"})
    assert (answer.status_code, answer.json()["role"]) == (200, "facilitator")
    wrong = await root.post(f"/admin/users/{ada.id}/role", {"role": "boss"})
    assert (wrong.status_code, list(wrong.json()["details"])) == (400, ["role"])


async def test_rules_are_answered_in_the_shape_of_contract_b(root: Person) -> None:
    for path, body, status, code in (
        (f"/admin/users/{root.id}/deactivate", None, 403, "own_account"),
        (f"/admin/users/{root.id}/role", {"role": "user"}, 403, "own_account"),
        ("/admin/users/999999/activate", None, 404, "user_not_found"),
        ("/admin/users/ada/role", {"role": "user"}, 404, "user_not_found"),
    ):
        answer = await root.post(path, body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert {"error", "request_id"} <= set(answer.json())


# The last admin


@pytest.fixture
async def parts(
    shared_database_url: str, redis_url: str, tmp_path: Any, emptied_database: asyncpg.Connection
) -> AsyncIterator[container.Container]:
    parts = container.build(settings_for(shared_database_url, redis_url, tmp_path))
    yield parts
    await parts.close()


async def demoted_at_once(parts: container.Container, database: asyncpg.Connection) -> list[Any]:
    """Two admins, each demoted while the other one is: both wait for a lock, and then run together."""
    rows = await database.fetch(
        """INSERT INTO users (email, name, role)
           SELECT n || '@example.com', 'Admin', 'admin' FROM generate_series(1, 2) n RETURNING id"""
    )
    demote = parts.administration.grant_role
    async with database.transaction():
        await database.execute("SELECT FROM users FOR UPDATE")
        changes = [asyncio.create_task(demote(UserId(row["id"]), role=Role.USER)) for row in rows]
        async with parts.database.connection() as watching:
            while await watching.fetchval(_WAITING) < 2:  # noqa: ASYNC110 (a state of the server)
                await asyncio.sleep(0.01)
    return [done for done in await asyncio.gather(*changes, return_exceptions=True) if isinstance(done, BaseException)]


_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_of_two_admins_one_stays(parts: container.Container, emptied_database: asyncpg.Connection) -> None:
    [refused] = await demoted_at_once(parts, emptied_database)
    assert isinstance(refused, LastAdmin)
    assert await emptied_database.fetchval("SELECT count(*) FROM users WHERE role = 'admin'") == 1


async def test_without_the_lock_none_would_stay(
    parts: container.Container, emptied_database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""

    async def unlocked(users: PostgresUsers, role: Role) -> Collection[UserId]:
        active = select(UserRow.id).where(UserRow.role == role, UserRow.is_active)
        return [UserId(each) for each in await users._session.scalars(active)]

    monkeypatch.setattr(PostgresUsers, "lock_active", unlocked)
    assert await demoted_at_once(parts, emptied_database) == []
    assert await emptied_database.fetchval("SELECT count(*) FROM users WHERE role = 'admin'") == 0


# Plans


@pytest.mark.parametrize(
    "wanted",
    [
        AccountFilter(),
        AccountFilter(role=Role.ADMIN),
        AccountFilter(active=False),
        AccountFilter(verified=False),
        AccountFilter(requested=True),
        AccountFilter(search="number19999"),
        AccountFilter(search="number19999@rare"),
    ],
    ids=str,
)
async def test_page_is_read_by_an_index(
    shared_database_url: str, emptied_database: asyncpg.Connection, wanted: AccountFilter
) -> None:
    await emptied_database.execute(
        """INSERT INTO users (email, name, role, is_active, is_verified, requested_role)
           SELECT 'number' || n || '@rare.example', 'Ada ' || n, CASE n % 1000 WHEN 0 THEN 'admin' ELSE 'user' END,
                  n % 1000 <> 1, n % 1000 <> 2, CASE n % 1000 WHEN 3 THEN 'facilitator' END
           FROM generate_series(1, $1::int) n""",
        ACCOUNTS,
    )
    await emptied_database.execute("ANALYZE users")
    database = ExplainedDatabase(shared_database_url)
    try:
        page = await PostgresAccountQueries(database).list(wanted, PageRequest(10))
        assert page.items
        database.asked = database.asked[-1:]
        assert await database.rows_read() <= 50
    finally:
        await database.close()
