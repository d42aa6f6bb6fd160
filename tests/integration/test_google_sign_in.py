"""A sign-in belongs to one browser, is finished once, within ten minutes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from uuid import uuid4

import asyncpg
import httpx
import pytest

from application.accounts import external_identity
from infrastructure.settings import Settings, SettingsError, load_settings
from interfaces.http.app import create_app
from tests.support.google import Browser, FakeGoogle, fake_google, query_of
from tests.support.http import serving
from tests.support.process_harness import LONG_RUN
from tests.support.receivers import answer
from tests.support.settings import settings_for

UNKNOWN = (
    "This sign-in was not started in this browser, has been used already or is older than 10 minutes. "
    "Please start again"
)


@pytest.fixture(scope="module")
async def google() -> AsyncIterator[FakeGoogle]:
    async with fake_google() as google:
        yield google


@pytest.fixture(scope="module")
async def address(
    google: FakeGoogle, shared_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    data = tmp_path_factory.mktemp("data")
    async with serving(create_app(settings_for(shared_database_url, redis_url, data, **google.settings))) as address:
        yield address


@pytest.fixture
async def browser(address: str) -> AsyncIterator[Browser]:
    async with Browser(address) as browser:
        yield browser


@pytest.fixture
async def other_browser(address: str) -> AsyncIterator[Browser]:
    async with Browser(address) as browser:
        yield browser


def assert_unknown(response: httpx.Response) -> None:
    assert (response.status_code, response.json()["code"]) == (400, "sign_in_unknown")
    assert response.json()["error"] == UNKNOWN


async def test_login_is_completed_once(browser: Browser, google: FakeGoogle) -> None:
    query = google.consent(await browser.starts())
    assert (await browser.comes_back(query)).status_code == 200
    assert_unknown(await browser.comes_back(query))


async def test_of_concurrent_completions_of_one_login_one_succeeds(browser: Browser, google: FakeGoogle) -> None:
    location = await browser.starts()
    queries = [google.consent(location) for _ in range(8)]
    responses = await asyncio.gather(*(browser.comes_back(query) for query in queries))
    assert sorted(response.status_code for response in responses) == [200] + [400] * 7


async def test_another_browser_cannot_complete_or_use_up_a_login(
    browser: Browser, other_browser: Browser, google: FakeGoogle
) -> None:
    query = google.consent(await browser.starts())
    await other_browser.starts()
    assert_unknown(await other_browser.comes_back(query))
    assert (await browser.comes_back(query)).status_code == 200


async def test_cookie_of_another_login_does_not_complete_it(
    browser: Browser, other_browser: Browser, google: FakeGoogle
) -> None:
    query = google.consent(await browser.starts())
    await other_browser.starts()
    (mine,), (theirs,) = list(browser.cookies.jar), list(other_browser.cookies.jar)
    other_browser.cookies.set(mine.name, theirs.value or "", domain=mine.domain)
    assert_unknown(await other_browser.comes_back(query))


async def test_two_tabs_of_one_browser_log_in_independently(browser: Browser, google: FakeGoogle) -> None:
    first, second = await browser.starts(), await browser.starts()
    assert (await browser.comes_back(google.consent(first))).status_code == 200
    assert (await browser.comes_back(google.consent(second))).status_code == 200
    assert list(browser.cookies.jar) == []


@pytest.mark.parametrize(("minutes", "status"), [(9, 200), (11, 400)])
async def test_login_must_be_completed_within_ten_minutes(
    browser: Browser, google: FakeGoogle, shared_database: asyncpg.Connection, minutes: int, status: int
) -> None:
    query = google.consent(await browser.starts())
    await shared_database.execute(
        "UPDATE oauth_attempts SET started_at = started_at - make_interval(mins => $1)", minutes
    )
    assert (await browser.comes_back(query)).status_code == status


async def test_expired_attempts_are_deleted(browser: Browser, shared_database: asyncpg.Connection) -> None:
    for _ in range(3):
        await browser.starts()
    await shared_database.execute("UPDATE oauth_attempts SET started_at = started_at - interval '11 minutes'")
    await browser.starts()
    assert await shared_database.fetchval("SELECT count(*) FROM oauth_attempts") == 1


async def test_stored_attempt_contains_no_secret(browser: Browser, shared_database: asyncpg.Connection) -> None:
    asked = query_of(await browser.starts())
    (cookie,) = browser.cookies.jar
    rows = [str(dict(row)) for row in await shared_database.fetch("SELECT * FROM oauth_attempts")]
    assert rows
    assert not any(secret in row for row in rows for secret in (asked["state"], cookie.value or ""))


@pytest.mark.parametrize("state", ["", "state=", "state=unknown", "state=%F0%9F%98%80"])
async def test_code_without_its_state_is_rejected(browser: Browser, google: FakeGoogle, state: str) -> None:
    code = query_of("?" + google.consent(await browser.starts()))["code"]
    assert_unknown(await browser.comes_back(f"code={code}&{state}"))
    assert code in google.codes


@pytest.mark.parametrize(
    ("answered", "status", "code"),
    [
        ("", 400, "google_refused"),
        ("code=", 400, "google_refused"),
        ("code=unknown", 400, "google_refused"),
        ("code=" + "a" * 5_000, 400, "google_refused"),
        ("error=invalid_scope&error_description=%3Cscript%3E", 400, "google_refused"),
        ("error=access_denied", 401, "google_denied"),
        ("error=access_denied&code=c", 401, "google_denied"),
        ("error=server_error", 503, "google_away"),
        ("error=temporarily_unavailable", 503, "google_away"),
    ],
)
async def test_invalid_callback_is_rejected_and_ends_the_login(
    browser: Browser, google: FakeGoogle, answered: str, status: int, code: str
) -> None:
    location = await browser.starts()
    state = f"state={query_of(location)['state']}"
    response = await browser.comes_back(f"{answered}&{state}")
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert "script" not in response.text
    assert_unknown(await browser.comes_back(google.consent(location)))


async def test_code_of_another_login_is_rejected(browser: Browser, google: FakeGoogle) -> None:
    """An attacker's code in a victim's own sign-in: the verifier does not fit (RFC 9700, 4.5)."""
    mine, theirs = await browser.starts(), await browser.starts()
    code = query_of("?" + google.consent(theirs))["code"]
    response = await browser.comes_back(f"code={code}&state={query_of(mine)['state']}")
    assert (response.status_code, response.json()["code"]) == (400, "google_refused")


async def test_token_of_another_login_is_rejected(browser: Browser, google: FakeGoogle) -> None:
    response = await browser.signs_in(google, nonce="of another sign-in")
    assert (response.status_code, response.json()["code"]) == (401, "google_identity_not_proven")
    assert response.json()["error"] == "What Google sent does not prove who you are. Please start again"


@pytest.mark.parametrize("path", ["/token", "/keys"])
async def test_unavailable_google_returns_503(
    google: FakeGoogle, make_settings: Callable[..., Settings], path: str
) -> None:
    async with serving(create_app(make_settings(**google.settings))) as address, Browser(address) as browser:
        google.instead[path] = answer(500, b"<html>")
        try:
            response = await browser.signs_in(google)
        finally:
            google.instead.clear()
        assert (response.status_code, response.json()["code"]) == (503, "google_away")
        assert response.json()["error"] == "Google cannot be reached just now. Please try again shortly"
        assert response.headers["retry-after"] == "5"
        assert (await browser.signs_in(google)).status_code == 200


async def test_login_starts_of_one_address_are_limited(
    google: FakeGoogle, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = replace(external_identity.STARTS_PER_ADDRESS, name=f"test-{uuid4()}")
    limit = limit if LONG_RUN else replace(limit, times=3)
    monkeypatch.setattr(external_identity, "STARTS_PER_ADDRESS", limit)
    settings = make_settings(rate_limit_enabled="true", **google.settings)
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address) as client:
        statuses = [(await client.get("/auth/google")).status_code for _ in range(limit.times + 1)]
    assert statuses == [302] * limit.times + [429]


async def test_cookie_is_limited_to_this_browser_and_host(browser: Browser, address: str) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        header = (await client.get("/auth/google")).headers["set-cookie"]
    name, *attributes = [part.strip() for part in header.split(";")]
    assert name.startswith("convene-sign-in-")
    assert {part.lower() for part in attributes} == {"httponly", "max-age=600", "path=/", "samesite=lax"}


async def test_cookie_is_secure_with_https(google: FakeGoogle, make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(public_url="https://book.example/api", **google.settings)
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address) as client:
        response = await client.get("/auth/google")
        name, *attributes = [part.strip() for part in response.headers["set-cookie"].split(";")]
        assert name.startswith("__Host-convene-sign-in-")
        assert {part.lower() for part in attributes} >= {"secure", "httponly", "path=/", "samesite=lax"}
        location = response.headers["location"]
        assert query_of(location)["redirect_uri"] == "https://book.example/api/auth/google/callback"
        query = google.consent(location)
        finished = await client.get(f"/auth/google/callback?{query}", headers={"Cookie": name})
    assert finished.status_code == 200
    assert "max-age=0" in finished.headers["set-cookie"].lower()


GIVEN = {
    "DATABASE_URL": "postgresql://u@db/convene",
    "REDIS_URL": "redis://redis",
    "CONVENE_EMBEDDED": "1",
    "JWT_SECRET_KEY": "j" * 32,
    "CRM_BEARER_TOKEN": "c" * 32,
    "BACKEND_SERVICE_TOKEN": "b" * 32,
}


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"GOOGLE_CLIENT_ID": "id"}, "GOOGLE_CLIENT_SECRET"),
        ({"GOOGLE_CLIENT_SECRET": "a secret"}, "GOOGLE_CLIENT_ID"),
        ({"GOOGLE_DISCOVERY_URL": "accounts.google.com"}, "GOOGLE_DISCOVERY_URL"),
    ],
)
def test_incomplete_google_client_stops_the_start(given: dict[str, str], missing: str) -> None:
    with pytest.raises(SettingsError, match=f"^{missing} is ") as refusal:
        load_settings(GIVEN | given)
    assert "a secret" not in str(refusal.value)


def test_client_secret_is_not_printed() -> None:
    settings = load_settings(GIVEN | {"GOOGLE_CLIENT_ID": "id", "GOOGLE_CLIENT_SECRET": "a secret"})
    assert "a secret" not in repr(settings)
