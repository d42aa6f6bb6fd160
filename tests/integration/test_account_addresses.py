"""Which addresses an account may have, and that accounts older than the rules stay."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.support.http import serving
from tests.support.people import PASSWORD

MARKS = "a" + "\u0301" * 15_800 + "\u0316" * 15_800
REGISTER = {
    "/auth/register": {"password": PASSWORD, "name": "Ada"},
    "/api/register": {"password": PASSWORD, "name": "Ada"},
    "/api/auth/register": {"password": PASSWORD, "name": "Ada"},
}
LOG_IN = ("/auth/login", "/api/login", "/api/auth/login")


async def register(api: httpx.AsyncClient, email: str, path: str = "/auth/register") -> httpx.Response:
    return await api.post(path, json={**REGISTER[path], "email": email})


async def log_in(api: httpx.AsyncClient, email: str, path: str = "/auth/login", **body: Any) -> httpx.Response:
    return await api.post(path, json={"email": email, "password": PASSWORD, **body})


@pytest.mark.parametrize("path", REGISTER)
@pytest.mark.parametrize(
    "email",
    ["jörg@example.com", "ﬁx@example.com", "ｋissa@example.com", "a" * 65 + "@example.com", MARKS + "@x.com"],
    ids=["umlaut", "ligature", "full width", "65 characters", "60 KB of combining marks"],
)
async def test_undeliverable_address_is_rejected(shared_api: httpx.AsyncClient, path: str, email: str) -> None:
    assert (await register(shared_api, email, path)).status_code == 400


@pytest.mark.parametrize("path", LOG_IN)
async def test_login_with_an_invalid_address_is_a_wrong_login(shared_api: httpx.AsyncClient, path: str) -> None:
    assert (await log_in(shared_api, MARKS + "@x.com", path)).status_code == 401
    assert (await log_in(shared_api, f"{uuid4().hex}@example.com", path, password=MARKS)).status_code == 401


async def test_one_address_is_one_account_in_every_spelling(shared_api: httpx.AsyncClient) -> None:
    name = uuid4().hex
    assert (await register(shared_api, f"{name}@faß.de")).status_code == 201
    for spelling in (f"{name.upper()}@FAß.DE", f"{name}@xn--fa-hia.de", f" {name}@faß.de "):
        assert (await register(shared_api, spelling)).status_code == 400
        assert (await log_in(shared_api, spelling)).status_code == 200
    assert (await register(shared_api, f"{name}@fass.de")).status_code == 201


async def test_accounts_older_than_the_rules_can_log_in_and_change(
    shared_api: httpx.AsyncClient, shared_database: asyncpg.Connection
) -> None:
    tag = uuid4().hex[:12]
    plain, wide, long = f"kissa{tag}@example.com", f"ｋissa{tag}@example.com", f"{tag}{'a' * 60}@example.com"
    assert (await register(shared_api, plain)).status_code == 201
    for older in (wide, long):
        await shared_database.execute(
            """INSERT INTO users (email, name, role, password_hash, created_at)
               SELECT $1, 'Older', role, password_hash, created_at FROM users WHERE email = $2""",
            older,
            plain,
        )
    for email in (plain, wide, long):
        answer = await log_in(shared_api, email)
        assert answer.status_code == 200
        assert answer.json()["user"]["email"] == email
        bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        changed = await shared_api.put("/profile", json={"name": "Changed"}, headers=bearer)
        assert changed.status_code == 200
        assert changed.json()["user"]["email"] == email


async def test_with_smtputf8_non_ascii_addresses_are_accepted(make_settings: Callable[..., Settings]) -> None:
    tag = uuid4().hex
    async with (
        serving(create_app(make_settings(mail_smtputf8="true"))) as address,
        httpx.AsyncClient(base_url=address) as api,
    ):
        assert (await register(api, f"jörg{tag}@example.com")).status_code == 201
        assert (await register(api, f"JO\u0308RG{tag}@example.com")).status_code == 400
        assert (await register(api, f"ﬁx{tag}@example.com")).status_code == 400
