"""Google login as the documents A to D promise it, with a provider that is not ours."""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from infrastructure.auth.oauth import WELL_KNOWN
from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.contracts.documents import uncalled
from tests.support.google import (
    CALLBACK,
    CLIENT_ID,
    CLIENT_SECRET,
    Browser,
    FakeGoogle,
    fake_google,
    mock_provider,
    query_of,
)
from tests.support.http import serving
from tests.support.settings import settings_for
from tests.support.shapes import Uuid, misfits

SUBJECT = "108204268033311374519"
USER_OF_B = {
    "id": int,
    "uuid": Uuid,
    "email": "ada@gmail.com",
    "name": "Ada Lovelace",
    "role": "user",
    "google_id": SUBJECT,
    "profile_picture": "https://lh3.googleusercontent.com/a/ada",
}
USER_OF_C = {"id": int, "uuid": Uuid, "email": "ada@gmail.com", "name": "Ada Lovelace", "role": "user"}


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with mock_provider() as address:
        claims = {name: USER_OF_B[name] for name in ("email", "name")}
        claims |= {"email_verified": True, "picture": USER_OF_B["profile_picture"]}
        httpx.put(f"{address}/users/{SUBJECT}", json=claims).raise_for_status()
        yield address


@pytest.fixture(scope="module")
def make_settings(
    shared_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Settings]:
    """All APIs here share one database: no test disturbs another."""
    return partial(settings_for, shared_database_url, redis_url, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
async def address(make_settings: Callable[..., Settings], provider: str) -> AsyncIterator[str]:
    settings = make_settings(
        google_client_id=CLIENT_ID, google_client_secret=CLIENT_SECRET, google_discovery_url=provider + WELL_KNOWN
    )
    async with serving(create_app(settings)) as address:
        yield address


@pytest.fixture
async def browser(address: str) -> AsyncIterator[Browser]:
    async with Browser(address) as browser:
        yield browser


async def consent(location: str, **form: str) -> str:
    """The query the provider's consent screen sends the browser back with."""
    async with httpx.AsyncClient() as screen:
        assert (await screen.get(location)).status_code == 200
        sent_back = await screen.post(location, data=form or {"sub": SUBJECT})
    assert sent_back.status_code == 302
    assert sent_back.headers["location"].startswith(f"{CALLBACK}?")
    return urlsplit(sent_back.headers["location"]).query


@pytest.mark.parametrize("path", ["/auth/google", "/auth/google/login", "/auth/google/login/"])
async def test_browser_is_redirected_to_google_and_returns_logged_in(
    browser: Browser, address: str, provider: str, path: str
) -> None:
    location = await browser.starts(path)
    assert location.startswith(f"{provider}/oauth2/authorize?")
    response = await browser.comes_back(await consent(location))
    assert response.status_code == 200
    assert misfits({"access_token": str, "refresh_token": str, "user": USER_OF_B}, response.json()) == []
    async with httpx.AsyncClient(base_url=address) as client:
        headers = {"Authorization": f"Bearer {response.json()['access_token']}"}
        profile = await client.get("/profile", headers=headers)
        assert (profile.status_code, profile.json()["email"]) == (200, "ada@gmail.com")
        assert profile.json()["is_verified"] is True
        headers = {"Authorization": f"Bearer {response.json()['refresh_token']}"}
        assert (await client.post("/auth/refresh", headers=headers)).status_code == 200


async def test_google_request_uses_code_flow_with_pkce_state_and_nonce(browser: Browser) -> None:
    first, second = query_of(await browser.starts()), query_of(await browser.starts())
    assert first["response_type"] == "code"
    assert first["client_id"] == CLIENT_ID
    assert first["redirect_uri"] == CALLBACK
    assert set(first["scope"].split()) == {"openid", "email", "profile"}
    assert first["code_challenge_method"] == "S256"
    for secret in ("state", "nonce", "code_challenge"):
        assert len(first[secret]) == 43
        assert first[secret] != second[secret]


async def test_redirect_uri_does_not_come_from_request_headers(address: str) -> None:
    async with httpx.AsyncClient(base_url=address) as client:
        response = await client.get(
            "/auth/google", headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
        )
    assert query_of(response.headers["location"])["redirect_uri"] == CALLBACK
    assert "evil" not in str(response.headers)


async def test_second_login_returns_the_same_account(browser: Browser, shared_database: asyncpg.Connection) -> None:
    first = await browser.comes_back(await consent(await browser.starts()))
    second = await browser.comes_back(await consent(await browser.starts()))
    assert first.json()["user"] == second.json()["user"]
    assert await shared_database.fetchval("SELECT count(*) FROM users WHERE google_id = $1", SUBJECT) == 1


async def test_denied_consent_returns_401(browser: Browser) -> None:
    response = await browser.comes_back(await consent(await browser.starts(), action="deny"))
    assert response.status_code == 401
    assert response.json()["error"] == "Google was not allowed to say who you are. Please start again"
    assert response.json()["code"] == "google_denied"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/auth/google"),
        ("GET", "/auth/google/login"),
        ("GET", "/auth/google/callback?code=c&state=s"),
        ("POST", "/api/auth/google"),
    ],
)
async def test_missing_google_client_returns_503_not_configured(
    shared_api: httpx.AsyncClient, method: str, path: str
) -> None:
    body = {"google_id": SUBJECT, "email": "ada@gmail.com", "name": "Ada", "id_token": "x.y.z"}
    response = await shared_api.request(method, path, json=body if method == "POST" else None)
    assert response.status_code == 503
    assert response.json()["error"] == "Google login is not configured"
    assert response.json()["code"] == "google_not_configured"
    assert "retry-after" not in response.headers


@pytest.fixture(scope="module")
async def google() -> AsyncIterator[FakeGoogle]:
    async with fake_google() as google:
        yield google


@pytest.fixture(scope="module")
async def client(make_settings: Callable[..., Settings], google: FakeGoogle) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(make_settings(**google.settings))
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as client:
        yield client


def body_of_c(google: FakeGoogle, **changes: Any) -> dict[str, Any]:
    body = {"google_id": SUBJECT, "email": "ada@gmail.com", "name": "Ada Lovelace", "id_token": google.id_token()}
    return {name: value for name, value in (body | changes).items() if value is not None}


async def test_c_valid_google_token_logs_in(client: httpx.AsyncClient, google: FakeGoogle) -> None:
    response = await client.post("/api/auth/google", json=body_of_c(google, email="Ada@GMail.com"))
    assert response.status_code == 200
    assert misfits({"access_token": str, "user": USER_OF_C}, response.json()) == []
    headers = {"Authorization": f"Bearer {response.json()['access_token']}"}
    assert (await client.get("/profile", headers=headers)).status_code == 200


async def test_c_new_account_takes_the_given_name_if_the_token_has_none(
    client: httpx.AsyncClient, google: FakeGoogle
) -> None:
    token = google.id_token(name=None, sub="204", email="countess@gmail.com")
    body = body_of_c(google, id_token=token, google_id="204", email="countess@gmail.com")
    body["name"] = "Countess\tof\u2028Lovelace"
    response = await client.post("/api/auth/google", json=body)
    assert response.json()["user"]["name"] == "Countess of Lovelace"


@pytest.mark.parametrize("field", ["google_id", "email", "name", "id_token"])
async def test_c_missing_body_field_is_rejected(
    client: httpx.AsyncClient, google: FakeGoogle, field: str, shared_database: asyncpg.Connection
) -> None:
    before = await shared_database.fetchval("SELECT count(*) FROM logins")
    response = await client.post("/api/auth/google", json=body_of_c(google, **{field: None}))
    assert response.status_code == 400
    assert response.json()["error"] == "Missing required fields"
    assert set(response.json()["details"]) == {field}
    assert await shared_database.fetchval("SELECT count(*) FROM logins") == before


@pytest.mark.parametrize(("field", "value"), [("google_id", "1"), ("email", "eve@gmail.com"), ("email", "nobody")])
async def test_c_body_that_contradicts_the_token_is_rejected(
    client: httpx.AsyncClient, google: FakeGoogle, field: str, value: str, shared_database: asyncpg.Connection
) -> None:
    before = await shared_database.fetchval("SELECT count(*) FROM logins")
    response = await client.post("/api/auth/google", json=body_of_c(google, **{field: value}))
    assert response.status_code == 400
    assert set(response.json()["details"]) == {field}
    assert await shared_database.fetchval("SELECT count(*) FROM logins") == before


@pytest.mark.parametrize("token", ["x", "x.y.z", "", "a" * 30_000, "é.e.e"])
async def test_c_invalid_token_is_rejected(client: httpx.AsyncClient, google: FakeGoogle, token: str) -> None:
    response = await client.post("/api/auth/google", json=body_of_c(google, id_token=token))
    assert response.status_code == (401 if token else 400)


def test_every_endpoint_of_this_part_was_called() -> None:
    assert not uncalled(__name__)
