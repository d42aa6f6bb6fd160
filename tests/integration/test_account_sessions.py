"""Sessions over HTTP: what a client is shown, and that the tokens of an ended one are rejected."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from infrastructure.postgres.accounts.sessions import LIST
from infrastructure.postgres.pages import LAST_UUID
from tests.support.people import PASSWORD, People, Person
from tests.support.plans import nodes_of, rows_read

BROWSER = {"User-Agent": "Mozilla/5.0\t(X11)"}


@pytest.fixture
async def person(shared_people: People) -> Person:
    return await shared_people.user()


async def log_in(api: httpx.AsyncClient, person: Person, path: str = "/auth/login") -> dict[str, Any]:
    answer = await api.post(path, json={"email": person.email, "password": PASSWORD}, headers=BROWSER)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def sessions_of(person: Person) -> list[dict[str, Any]]:
    """The present one last. That of the fixture has a random id, so it is anywhere in the list."""
    answer = await person.get("/auth/sessions")
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()["sessions"]
    return sorted(listed, key=lambda session: session["current"])


@pytest.mark.parametrize("path", ["/auth/login", "/api/login", "/api/auth/login"])
async def test_login_by_each_contract_is_a_session(shared_api: httpx.AsyncClient, person: Person, path: str) -> None:
    await log_in(shared_api, person, path)
    new, present = await sessions_of(person)
    assert (new["network"], new["user_agent"], new["current"]) == ("127.0.0.1", "Mozilla/5.0 (X11)", False)
    assert new["created_at"] == new["last_used_at"]
    assert (present["network"], present["current"]) == ("127.0.0.1", True)


async def test_refresh_updates_its_session(shared_api: httpx.AsyncClient, person: Person) -> None:
    headers = {"Authorization": f"Bearer {person.refresh_token}", **BROWSER}
    assert (await shared_api.post("/auth/refresh", headers=headers)).status_code == 200
    (session,) = await sessions_of(person)
    assert (session["network"], session["user_agent"]) == ("127.0.0.1", "Mozilla/5.0 (X11)")
    assert session["last_used_at"] > session["created_at"]


async def test_ended_session_is_rejected_from_the_next_request_on(
    shared_api: httpx.AsyncClient, person: Person
) -> None:
    tokens = await log_in(shared_api, person)
    new, present = await sessions_of(person)
    ended = await person.delete(f"/auth/sessions/{new['id']}")
    assert (ended.status_code, ended.content) == (204, b"")
    for method, path, token in (("GET", "/profile", "access_token"), ("POST", "/auth/refresh", "refresh_token")):
        answer = await shared_api.request(method, path, headers={"Authorization": f"Bearer {tokens[token]}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    assert [session["id"] for session in await sessions_of(person)] == [present["id"]]
    assert (await person.delete(f"/auth/sessions/{present['id']}")).status_code == 204
    assert (await person.get("/profile")).status_code == 401


async def test_unknown_and_foreign_sessions_get_one_answer(person: Person, shared_people: People) -> None:
    stranger = await shared_people.user()
    (foreign,) = await sessions_of(stranger)
    answers = [
        await person.delete(f"/auth/sessions/{session_id}")
        for session_id in (foreign["id"], "00000000-0000-7000-8000-000000000000", "1", "x" * 1000)
    ]
    assert {(each.status_code, each.json()["error"], each.json()["code"]) for each in answers} == {
        (404, "Session not found", "session_not_found")
    }
    assert (await stranger.get("/profile")).status_code == 200


async def test_sessions_need_a_login(shared_api: httpx.AsyncClient) -> None:
    assert (await shared_api.get("/auth/sessions")).status_code == 401
    assert (await shared_api.delete("/auth/sessions/x")).status_code == 401


async def test_list_has_pages(shared_api: httpx.AsyncClient, person: Person) -> None:
    for _ in range(2):
        await log_in(shared_api, person)
    first = await person.get("/auth/sessions?limit=2")
    second = await person.get(f"/auth/sessions?limit=2&cursor={first.json()['next_cursor']}")
    ids = [session["id"] for page in (first, second) for session in page.json()["sessions"]]
    assert (len(set(ids)), second.json()["next_cursor"]) == (3, None)
    assert first.headers["link"].endswith('; rel="next"')


async def test_page_reads_few_rows_of_an_account_with_many_logins(
    shared_database: asyncpg.Connection, person: Person
) -> None:
    """A script that logs in every minute leaves tens of thousands."""
    await shared_database.execute(
        """INSERT INTO logins (user_id, started_at, last_used_at, ended_at)
           SELECT $1, now(), now(), CASE WHEN number % 2 = 0 THEN now() END FROM generate_series(1, 4000) number""",
        person.id,
    )
    await shared_database.execute("ANALYZE logins")
    assert len((await person.get("/auth/sessions?limit=50")).json()["sessions"]) == 50
    now = datetime.now(UTC)
    day_before = now - timedelta(days=1)
    plan = await shared_database.fetchval(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {LIST}", person.id, LAST_UUID, day_before, day_before, now, 51
    )
    read = [rows_read(node) for node in nodes_of(plan) if node.get("Relation Name") == "logins"]
    assert read == [51]
